"""``projected`` volumes: several sources in one folder; later ones win. Every pod's token is in one."""

from node.agent.pod_state import Object
from node.agent.volumes.projection import (
    config_map_files,
    default_mode,
    downward_files,
    project,
    secret_files,
    token_files,
)
from node.agent.volumes.volume import File, UnsupportedVolume, VolumeContext


async def prepare(volume: Object, context: VolumeContext) -> str:
    mode = default_mode(volume["projected"])
    files: dict[str, File] = {}
    for source in volume["projected"].get("sources") or ():
        files |= await _files(source, mode, context)
    return await project(context.folder("projected", volume["name"]), files, context)


async def _files(source: Object, mode: int, context: VolumeContext) -> dict[str, File]:
    if source.get("configMap"):
        return await config_map_files(source["configMap"], mode, context)
    if source.get("secret"):
        return await secret_files(source["secret"], mode, context)
    if source.get("downwardAPI"):
        return downward_files(source["downwardAPI"].get("items") or [], mode, context.facts)
    if source.get("serviceAccountToken"):
        return await token_files(source["serviceAccountToken"], mode, context)
    raise UnsupportedVolume(f"projected volume source {', '.join(source)} is not supported")
