"""What an agent remembers of CSI volumes on disk, so that whoever comes after it can take them away.

A record is written before a driver is called, and deleted when the driver has undone the call: what has no record has
no trace in a driver. The files are those of the kubelet, ``vol_data.json``, beside each mount. Which volumes are in
use on the node follows from them alone.
"""

import contextlib
import glob
import hashlib
import json
import os
from dataclasses import dataclass
from typing import Final

from apimachinery import whole_file
from apimachinery.csi import unique_name
from node.agent.paths import NodePaths

_FILE: Final = "vol_data.json"
_PLUGIN: Final = "kubernetes.io~csi"


@dataclass(frozen=True, slots=True)
class Record:
    """A volume that is staged in ``folder``, or published in it for one pod.

    ``attachment`` names its VolumeAttachment, "" if there is none. ``staged`` is the staging path, "" without one.
    A ``block`` volume is published as a device, a file that is its driver's to make; others as a folder.
    """

    folder: str
    driver: str
    handle: str
    attachment: str = ""
    lifecycle: str = ""
    staged: str = ""
    block: bool = False

    @property
    def mount(self) -> str:
        return os.path.join(self.folder, "dev" if self.block else "mount")

    @property
    def volume(self) -> tuple[str, str]:
        return self.driver, self.handle


class Records:
    """The records under one agent's root. All methods touch the disk."""

    def __init__(self, root: str) -> None:
        self._paths = NodePaths(root)

    def pod_folder(self, uid: str, name: str, *, block: bool = False) -> str:
        return os.path.join(self._paths.pod(uid), "volumeDevices" if block else "volumes", _PLUGIN, name)

    def stage_folder(self, driver: str, handle: str) -> str:
        """Of a volume, whichever pods use it."""
        return os.path.join(self._paths.csi, driver, hashlib.sha256(handle.encode()).hexdigest())

    def write(self, record: Record) -> None:
        """Raises OSError."""
        content = {
            "driverName": record.driver,
            "volumeHandle": record.handle,
            "attachmentID": record.attachment,
            "volumeLifecycleMode": record.lifecycle,
            "stagingTargetPath": record.staged,
            "volumeMode": "Block" if record.block else "Filesystem",
        }
        whole_file.replace(os.path.join(record.folder, _FILE), json.dumps(content).encode())

    def remove(self, record: Record) -> None:
        """The record and the folders that it was about; not what is in them. Raises OSError."""
        for path in (record.mount, record.staged if record.staged.startswith(record.folder) else ""):
            if path and os.path.isdir(path):
                os.rmdir(path)
            elif path and os.path.lexists(path):
                os.unlink(path)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(record.folder, _FILE))
        if os.path.isdir(record.folder):
            os.rmdir(record.folder)

    def of_pod(self, uid: str) -> list[Record]:
        return self._read(os.path.join(glob.escape(self._paths.pod(uid)), "volume*", _PLUGIN, "*"))

    def of_pods(self) -> list[Record]:
        return self._read(os.path.join(glob.escape(self._paths.pods), "*", "volume*", _PLUGIN, "*"))

    def of_stages(self) -> list[Record]:
        return self._read(os.path.join(glob.escape(self._paths.csi), "*", "*"))

    def unused_stages(self) -> list[Record]:
        """What is staged and published to no pod."""
        used = {record.volume for record in self.of_pods()}
        return [stage for stage in self.of_stages() if stage.volume not in used]

    def in_use(self) -> frozenset[str]:
        """The unique names of attached volumes on which something still depends."""
        records = (*self.of_pods(), *self.of_stages())
        return frozenset(unique_name(r.driver, r.handle) for r in records if r.attachment)

    def _read(self, folders: str) -> list[Record]:
        return [record for path in glob.glob(os.path.join(folders, _FILE)) if (record := _parse(path))]


def _parse(path: str) -> Record | None:
    try:
        with open(path, "rb") as file:
            found = json.load(file)
    except FileNotFoundError:
        return None
    return Record(
        folder=os.path.dirname(path),
        driver=found["driverName"],
        handle=found["volumeHandle"],
        attachment=found.get("attachmentID") or "",
        lifecycle=found.get("volumeLifecycleMode") or "",
        staged=found.get("stagingTargetPath") or "",
        block=found.get("volumeMode") == "Block",
    )
