"""Files out of config maps, secrets, the pod's own fields and tokens: what four kinds of volumes share.

Source: ``pkg/volume/{configmap,secret,downwardapi,projected}`` of Kubernetes.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

from apimachinery.errors import ApiError
from node.agent.downward import ConfigError, PodFacts, field_value, resource_value
from node.agent.environment import config_map_data, secret_data
from node.agent.pod_state import Object, init_containers, regular_containers
from node.agent.volumes import atomic_writer
from node.agent.volumes.volume import File, VolumeContext, VolumeError

DEFAULT_MODE: Final = 0o644
_TOKEN_SECONDS: Final = 3600


async def project(folder: str, payload: Mapping[str, File], context: VolumeContext) -> str:
    """Write the files off the event loop; the folder's path."""
    try:
        await asyncio.to_thread(atomic_writer.write, folder, payload, context.fs_group)
    except OSError as error:
        raise VolumeError(f"writing {folder}: {error}") from error
    return folder


async def config_map_files(ref: Object, mode: int, context: VolumeContext) -> dict[str, File]:
    try:
        data = await config_map_data(context.source, context.namespace, ref, binary=True)
    except ConfigError as error:
        raise VolumeError(str(error)) from error
    return _select(data or {}, ref, mode, "configmap references non-existent config key: {key}")


async def secret_files(ref: Object, mode: int, context: VolumeContext) -> dict[str, File]:
    try:
        data = await secret_data(context.source, context.namespace, ref)
    except ConfigError as error:
        raise VolumeError(str(error)) from error
    return _select(data or {}, ref, mode, "references non-existent secret key: {key}")


def _select(data: Mapping[str, bytes], ref: Object, mode: int, missing: str) -> dict[str, File]:
    """All keys as files, or those that ``items`` names, at their paths."""
    items = ref.get("items")
    if not items:
        return {key: File(content, mode) for key, content in data.items()}
    out: dict[str, File] = {}
    for item in items:
        if item["key"] in data:
            out[safe_path(item["path"])] = File(data[item["key"]], _mode(item, mode))
        elif not ref.get("optional"):
            raise VolumeError(missing.format(key=item["key"]))
    return out


def downward_files(items: list[Object], mode: int, facts: PodFacts) -> dict[str, File]:
    out: dict[str, File] = {}
    for item in items:
        try:
            if item.get("fieldRef"):
                text = field_value(facts, item["fieldRef"]["fieldPath"])
            else:
                text = resource_value(facts, item["resourceFieldRef"])
        except ConfigError as error:
            raise VolumeError(str(error)) from error
        out[safe_path(item["path"])] = File(text.encode(), _mode(item, mode))
    return out


async def token_files(ref: Object, mode: int, context: VolumeContext) -> dict[str, File]:
    """A service-account token; readable by its user only where one user runs all the pod's containers."""
    seconds = int(ref.get("expirationSeconds") or _TOKEN_SECONDS)
    try:
        token = await context.tokens.token(context.pod, ref.get("audience", ""), seconds)
    except ApiError as error:
        raise VolumeError(f"failed to fetch token: {error}") from error
    user = _only_user(context.pod)
    if user is not None or context.fs_group is not None:
        mode = 0o600
    return {safe_path(ref["path"]): File(token.encode(), mode, user)}


def _only_user(pod: Object) -> int | None:
    """The one uid that all containers are told to run as; None when there is not exactly one."""
    pod_user = (pod["spec"].get("securityContext") or {}).get("runAsUser")
    users = {
        (c.get("securityContext") or {}).get("runAsUser", pod_user)
        for c in (*init_containers(pod), *regular_containers(pod))
    }
    only = users.pop() if len(users) == 1 else None
    return None if only is None else int(only)


def _mode(item: Object, default: int) -> int:
    return default if item.get("mode") is None else int(item["mode"])


def default_mode(source: Object) -> int:
    return DEFAULT_MODE if source.get("defaultMode") is None else int(source["defaultMode"])


def safe_path(path: str) -> str:
    """A relative path that stays where it is put. Raises VolumeError."""
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or parts[0].startswith("..") or not path:
        raise VolumeError(f"invalid path: {path}")
    return "/".join(part for part in parts if part not in ("", "."))
