"""The config maps and secrets that this node's pods refer to, and only those, each watched by name.

A watch begins with the first pod that refers to the object and ends with the last. Pods are woken when an object that
they mount changes. While the API server is away, what was read last is used. Source: kubelet ``util/manager``.
"""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final

from apimachinery.client.api import ApiClient
from apimachinery.client.informer import Informer
from apimachinery.errors import ServiceUnavailable
from apimachinery.scheme import CONFIG_MAPS, SECRETS, Kind
from node.agent.pod_state import Object, ephemeral_containers, init_containers, regular_containers, uid_of

_SYNC_SECONDS: Final = 10.0
_Ref = tuple[str, str, str]  # plural resource, namespace, name
_KINDS: Final[dict[str, Kind]] = {"configmaps": CONFIG_MAPS, "secrets": SECRETS}


class WatchedObjects:
    """An ``ObjectSource`` fed by watches. ``changed`` gets the uid of a pod that refers to a changed object."""

    def __init__(self, client: ApiClient, changed: Callable[[str], None]) -> None:
        self._client, self._changed = client, changed
        self._informers: dict[_Ref, Informer] = {}
        self._users: dict[_Ref, set[str]] = {}

    def track(self, pod: Object) -> None:
        """Watch what a pod refers to. Safe to repeat."""
        for ref in references(pod):
            self._users.setdefault(ref, set()).add(uid_of(pod))
            self._informer(ref)

    def untrack(self, uid: str) -> None:
        """A pod is gone: stop watching what no other pod refers to."""
        for ref in [r for r, users in self._users.items() if uid in users]:
            self._users[ref].discard(uid)
            if not self._users[ref]:
                del self._users[ref]
                informer = self._informers.pop(ref, None)
                if informer is not None:
                    informer.stop()

    def _informer(self, ref: _Ref) -> Informer:
        informer = self._informers.get(ref)
        if informer is None:
            resource, namespace, name = ref
            selector = f"metadata.name={name}"
            informer = Informer(self._client, _KINDS[resource], namespace=namespace, field_selector=selector)
            informer.add_handler(lambda event, old, new: self._notify(ref))
            informer.start()
            self._informers[ref] = informer
        return informer

    def _notify(self, ref: _Ref) -> None:
        informer = self._informers.get(ref)
        if informer is not None and informer.synced:
            for uid in list(self._users.get(ref, ())):
                self._changed(uid)

    async def config_map(self, namespace: str, name: str) -> Object | None:
        return await self._get(("configmaps", namespace, name))

    async def secret(self, namespace: str, name: str) -> Object | None:
        return await self._get(("secrets", namespace, name))

    async def _get(self, ref: _Ref) -> Object | None:
        """Raises ServiceUnavailable when the object has never been read and cannot be now."""
        informer = self._informer(ref)
        if not informer.synced:
            try:
                async with asyncio.timeout(_SYNC_SECONDS):
                    await informer.wait_synced()
            except TimeoutError as error:
                raise ServiceUnavailable(f"{ref[0]} {ref[1]}/{ref[2]} could not be read yet") from error
        return informer.store.get(ref[1], ref[2])


def references(pod: Object) -> set[_Ref]:
    """Every config map and secret that a pod's volumes and environment name."""
    namespace = pod["metadata"].get("namespace", "")
    found = set(_volume_references(pod))
    found |= {("secrets", ref["name"]) for ref in pod["spec"].get("imagePullSecrets") or ()}
    for spec in (*init_containers(pod), *regular_containers(pod), *ephemeral_containers(pod)):
        found |= set(_container_references(spec))
    return {(resource, namespace, name) for resource, name in found}


def _volume_references(pod: Object) -> Iterator[tuple[str, str]]:
    for volume in pod["spec"].get("volumes") or ():
        for source in (volume, *((volume.get("projected") or {}).get("sources") or ())):
            if source.get("configMap"):
                yield "configmaps", source["configMap"]["name"]
            if source.get("secret"):
                yield "secrets", source["secret"].get("secretName") or source["secret"]["name"]


def _container_references(spec: Object) -> Iterator[tuple[str, str]]:
    for entry in spec.get("envFrom") or ():
        if entry.get("configMapRef"):
            yield "configmaps", entry["configMapRef"]["name"]
        if entry.get("secretRef"):
            yield "secrets", entry["secretRef"]["name"]
    for entry in spec.get("env") or ():
        ref = entry.get("valueFrom") or {}
        if ref.get("configMapKeyRef"):
            yield "configmaps", ref["configMapKeyRef"]["name"]
        if ref.get("secretKeyRef"):
            yield "secrets", ref["secretKeyRef"]["name"]
