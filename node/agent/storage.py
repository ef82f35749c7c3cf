"""Which PersistentVolume is behind a pod's claim. A binding does not change, so each is asked for once a pod."""

from collections.abc import Callable

from apimachinery.client.api import ApiClient
from apimachinery.errors import ApiError
from apimachinery.meta import Object, controller_of, name_of, namespace_of, uid_of
from apimachinery.persistent_volumes import is_for
from apimachinery.placement import matches_selector
from apimachinery.scheme import PERSISTENT_VOLUME_CLAIMS, PERSISTENT_VOLUMES
from node.agent.volumes.volume import VolumeError


class BoundVolumes:
    """``node`` gives the Node object as it is now."""

    def __init__(self, client: ApiClient, node: Callable[[], Object]) -> None:
        self._client, self._node = client, node
        self._known: dict[tuple[str, str], Object] = {}

    async def volume(self, pod: Object, claim_name: str, *, owned: bool = False) -> Object:
        """The volume that the claim is bound to; ``owned``: the claim must be the pod's. Raises VolumeError."""
        key = (uid_of(pod), claim_name)
        if key not in self._known:
            self._known[key] = await self._find(pod, claim_name, owned)
        return self._known[key]

    def known(self, pod: Object, claim_name: str) -> Object | None:
        """The volume, if it was asked for before."""
        return self._known.get((uid_of(pod), claim_name))

    def forget(self, uid: str) -> None:
        """A pod is gone."""
        for key in [k for k in self._known if k[0] == uid]:
            del self._known[key]

    async def _find(self, pod: Object, name: str, owned: bool) -> Object:
        try:
            claim = await self._client.get(PERSISTENT_VOLUME_CLAIMS, name, namespace_of(pod))
            if owned and (controller_of(claim) or {}).get("uid") != uid_of(pod):
                raise VolumeError(f'PVC "{namespace_of(pod)}/{name}" was not created for this pod')
            volume_name = claim["spec"].get("volumeName")
            if not volume_name or (claim.get("status") or {}).get("phase") != "Bound":
                raise VolumeError(f'PVC "{name}" is not bound')
            volume = await self._client.get(PERSISTENT_VOLUMES, volume_name)
        except ApiError as error:
            raise VolumeError(f"error processing PVC {namespace_of(pod)}/{name}: {error.message}") from error
        self._check(volume, claim)
        return volume

    def _check(self, volume: Object, claim: Object) -> None:
        if not is_for(volume, claim) or not volume["spec"]["claimRef"].get("uid"):
            raise VolumeError(f"volume {name_of(volume)} is not bound to claim {name_of(claim)}")
        required = (volume["spec"].get("nodeAffinity") or {}).get("required")
        if required is not None and not matches_selector(required, self._node()):
            raise VolumeError(f"volume {name_of(volume)}: storage node affinity check failed")
