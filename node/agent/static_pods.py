"""Pods from files of a folder of the node, and their mirrors in the API server.

A static pod belongs to its file: it runs while the file is there, whatever becomes of the mirror, by which others see
it. Its uid is a hash of the file's content, so a changed file is another pod. A mirror that is deleted, or that tells
of an older file, is made anew. Source: kubelet ``config/file.go``, ``config/common.go``, ``pod/mirror_client.go``.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable
from typing import Final, Protocol

import yaml

from apimachinery.client.api import ApiClient
from apimachinery.errors import AlreadyExists, ApiError, NotFound
from apimachinery.logging import get_logger
from apimachinery.meta import annotations_of, is_deleting, key_of, name_of, namespace_of, now_time, owner_reference
from apimachinery.scheme import NODES, PODS
from node.agent.pod_state import MIRROR_HASH, Object, uid_of

_log = get_logger(__name__)
_LOOK_SECONDS: Final = 1.0
_SOURCE, _HASH, _SEEN = "kubernetes.io/config.source", "kubernetes.io/config.hash", "kubernetes.io/config.seen"


class RunningPods(Protocol):
    """What static pods need of the node's pods."""

    def put(self, pod: Object) -> None: ...
    def drop(self, uid: str) -> None: ...


class StaticPods:
    """``node`` gives the Node object, which owns the mirrors."""

    def __init__(self, folder: str, client: ApiClient, node: Callable[[], Object], pods: RunningPods) -> None:
        self._folder, self._client, self._node, self._pods = folder, client, node, pods
        self._static: dict[str, Object] = {}
        self._mirrors: dict[tuple[str, str], Object] = {}
        self._wake = asyncio.Event()

    def load(self) -> None:
        """Read the folder, and run what is new and end what is gone. A file that cannot be read changes nothing."""
        found = {uid_of(p): p for p in _read(self._folder, name_of(self._node()))} if self._folder else {}
        for uid in self._static.keys() - found.keys():
            _log.info("Static pod is gone", pod=key_of(self._static[uid]))
            self._pods.drop(uid)
            self._wake.set()
        for uid in found.keys() - self._static.keys():
            _log.info("Static pod found", pod=key_of(found[uid]))
            self._pods.put(found[uid])
            self._wake.set()
        self._static = found

    def on_mirror(self, mirror: Object, gone: bool) -> None:
        """A mirror pod of this node has changed in the API server."""
        if gone:
            self._mirrors.pop(key_of(mirror), None)
        else:
            self._mirrors[key_of(mirror)] = mirror
            if uid_of(mirror) in self._static and not is_deleting(mirror):
                self._pods.put(mirror)
        self._wake.set()

    async def run(self) -> None:
        """Keep folder, pods and mirrors in step until cancelled."""
        while True:
            try:
                async with asyncio.timeout(_LOOK_SECONDS if self._folder else None):
                    await self._wake.wait()
            except TimeoutError:
                self.load()
            if self._wake.is_set():
                self._wake.clear()
                await self._keep_mirrors()

    async def _keep_mirrors(self) -> None:
        wanted = {key_of(p): p for p in self._static.values()}
        for key, mirror in list(self._mirrors.items()):
            static = wanted.get(key)
            if static is None or is_deleting(mirror) or uid_of(mirror) != uid_of(static):
                await self._delete(mirror)
        for key in wanted.keys() - self._mirrors.keys():
            await self._create(wanted[key])

    async def _delete(self, mirror: Object) -> None:
        uid = mirror["metadata"]["uid"]
        try:
            await self._client.delete(PODS, name_of(mirror), namespace_of(mirror), uid=uid, grace_period_seconds=0)
        except NotFound:
            self._mirrors.pop(key_of(mirror), None)
        except ApiError as error:
            self._later("Mirror pod not deleted", mirror, error)

    async def _create(self, static: Object) -> None:
        meta = {k: v for k, v in static["metadata"].items() if k != "uid"}
        node = self._node()
        if "uid" not in node["metadata"]:  # not registered yet
            asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._wake.set)
            return
        owner = owner_reference(node, NODES)
        notes = {**annotations_of(static), MIRROR_HASH: uid_of(static)}
        try:
            await self._client.create(
                PODS, {**static, "metadata": {**meta, "annotations": notes, "ownerReferences": [owner]}}
            )
        except AlreadyExists:
            _log.debug("Mirror pod is there already", pod=key_of(static))
        except ApiError as error:
            self._later("Mirror pod not made", static, error)

    def _later(self, what: str, pod: Object, error: ApiError) -> None:
        _log.warning(what, pod=key_of(pod), error=error.message)
        asyncio.get_running_loop().call_later(_LOOK_SECONDS, self._wake.set)


def _read(folder: str, node: str) -> list[Object]:
    """The pods of a folder's files; what is no pod is told and left out."""
    out = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        path = os.path.join(folder, name)
        if name.startswith(".") or not os.path.isfile(path):
            continue
        try:
            with open(path, "rb") as file:
                content = file.read()
            out.append(static_pod(yaml.safe_load(content), content, node))
        except (OSError, yaml.YAMLError, ValueError) as error:
            _log.warning("Not a static pod", file=path, error=str(error))
    return out


def static_pod(parsed: object, content: bytes, node: str) -> Object:
    """The pod that a file describes, as it runs on ``node``. Raises ValueError."""
    if not isinstance(parsed, dict) or (parsed.get("apiVersion"), parsed.get("kind")) != ("v1", "Pod"):
        raise ValueError("not a v1 Pod")
    meta, spec = dict(parsed.get("metadata") or {}), dict(parsed.get("spec") or {})
    if not meta.get("name") or not spec.get("containers"):
        raise ValueError("a pod needs a name and containers")
    if any(v.get("secret") or v.get("configMap") or v.get("persistentVolumeClaim") for v in spec.get("volumes") or ()):
        raise ValueError("static pods may not refer to API objects")
    uid = hashlib.sha256(node.encode() + b"\0" + content).hexdigest()[:32]
    notes = {**(meta.get("annotations") or {}), _SOURCE: "file", _HASH: uid, _SEEN: now_time()}
    meta |= {"name": f"{meta['name']}-{node}", "namespace": meta.get("namespace") or "default", "uid": uid}
    spec |= {"nodeName": node, "enableServiceLinks": False}
    spec["tolerations"] = [*(spec.get("tolerations") or ()), {"operator": "Exists", "effect": "NoExecute"}]
    return {**parsed, "metadata": meta | {"annotations": notes}, "spec": spec}
