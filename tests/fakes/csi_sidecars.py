"""What external-provisioner, -attacher and -resizer do, for the driver of ``csi_driver``: a loop over all there is.

``python -m tests.fakes.csi_sidecars --kubeconfig F --name N --state DIR``. Which volume is attached where is kept in
``DIR/attached``; attaching one that is attached elsewhere is refused, as a disk would.
"""

import argparse
import asyncio
import shutil
from pathlib import Path
from typing import Any

from apimachinery.client.api import ApiClient
from apimachinery.config import load_kubeconfig
from apimachinery.csi import VOLUME_ATTACHMENTS
from apimachinery.errors import ApiError
from apimachinery.meta import Object, annotations_of, is_deleting, name_of, namespace_of, uid_of
from apimachinery.persistent_volumes import PROVISIONED_BY, SELECTED_NODE, STORAGE_CLASSES, claim_reference, class_of
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS as CLAIMS
from apimachinery.scheme import PERSISTENT_VOLUMES as VOLUMES

ASKED = "volume.kubernetes.io/storage-provisioner"
FINALIZER = "external-attacher/test"


class Sidecars:
    def __init__(self, client: ApiClient, name: str, state: Path) -> None:
        self.client, self.name, self.state = client, name, state
        (state / "attached").mkdir(parents=True, exist_ok=True)
        (state / "volumes").mkdir(exist_ok=True)

    async def run(self) -> None:
        while True:
            for step in (self.provision, self.reclaim, self.attach, self.resize):
                try:
                    await step()
                except ApiError as error:
                    print(f"{step.__name__}: {error}", flush=True)
            await asyncio.sleep(0.2)

    async def provision(self) -> None:
        for claim in (await self.client.list(CLAIMS)).items:
            if claim["spec"].get("volumeName") or annotations_of(claim).get(ASKED) != self.name:
                continue
            about = await self.client.get(STORAGE_CLASSES, class_of(claim))
            if about.get("volumeBindingMode") == "WaitForFirstConsumer" and SELECTED_NODE not in annotations_of(claim):
                continue
            handle = f"pvc-{uid_of(claim)}"
            (self.state / "volumes" / handle).mkdir(exist_ok=True)
            spec = {
                "capacity": claim["spec"]["resources"]["requests"], "accessModes": claim["spec"]["accessModes"],
                "persistentVolumeReclaimPolicy": about["reclaimPolicy"], "storageClassName": name_of(about),
                "volumeMode": claim["spec"].get("volumeMode"), "claimRef": claim_reference(claim),
                "csi": {"driver": self.name, "volumeHandle": handle, "fsType": "ext4"},
            }  # fmt: skip
            meta = {"name": handle, "annotations": {PROVISIONED_BY: self.name}}
            await self.client.create(VOLUMES, {"metadata": meta, "spec": spec})

    async def reclaim(self) -> None:
        for volume in (await self.client.list(VOLUMES)).items:
            ours = annotations_of(volume).get(PROVISIONED_BY) == self.name
            if ours and volume["status"].get("phase") == "Released" and not is_deleting(volume):
                if list((self.state / "attached").glob(f"{name_of(volume)}@*")):
                    continue
                shutil.rmtree(self.state / "volumes" / name_of(volume))
                await self.client.delete(VOLUMES, name_of(volume))

    async def attach(self) -> None:
        for one in (await self.client.list(VOLUME_ATTACHMENTS)).items:
            if one["spec"]["attacher"] != self.name:
                continue
            volume, node = one["spec"]["source"]["persistentVolumeName"], one["spec"]["nodeName"]
            mark, finalizers = self.state / "attached" / f"{volume}@{node}", one["metadata"].get("finalizers") or []
            if is_deleting(one):
                mark.unlink(missing_ok=True)
                await self._set(one, [f for f in finalizers if f != FINALIZER])
            elif not one["status"].get("attached"):
                one = one if FINALIZER in finalizers else await self._set(one, [*finalizers, FINALIZER])
                elsewhere = [p for p in mark.parent.glob(f"{volume}@*") if p != mark]
                status: Object = {"attached": not elsewhere, "attachmentMetadata": {"disk": volume}}
                if elsewhere:
                    status["attachError"] = {"message": f"{volume} is at {elsewhere[0].name}"}
                else:
                    mark.touch()
                await self.client.update(VOLUME_ATTACHMENTS, one | {"status": status}, subresource="status")

    async def _set(self, one: Object, finalizers: list[str]) -> Object:
        return await self.client.update(
            VOLUME_ATTACHMENTS, one | {"metadata": one["metadata"] | {"finalizers": finalizers}}
        )

    async def resize(self) -> None:
        for claim in (await self.client.list(CLAIMS)).items:
            status: Any = claim.get("status") or {}
            wanted = claim["spec"]["resources"]["requests"]["storage"]
            if annotations_of(claim).get(ASKED) != self.name or status.get("phase") != "Bound":
                continue
            if wanted == status["capacity"]["storage"] or status.get("conditions"):
                continue
            patch = {"spec": {"capacity": {"storage": wanted}}}
            await self.client.patch(VOLUMES, claim["spec"]["volumeName"], "", patch)
            pending = {"status": {"conditions": [{"type": "FileSystemResizePending", "status": "True"}]}}
            await self.client.patch(CLAIMS, name_of(claim), namespace_of(claim), pending, subresource="status")


async def _main() -> None:
    parser = argparse.ArgumentParser()
    for flag in ("kubeconfig", "name", "state"):
        parser.add_argument(f"--{flag}", required=True)
    args = parser.parse_args()
    client = await ApiClient.connect(load_kubeconfig(args.kubeconfig), user_agent="csi-sidecars")
    await Sidecars(client, args.name, Path(args.state)).run()


if __name__ == "__main__":
    asyncio.run(_main())
