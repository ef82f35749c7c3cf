"""``configMap`` volumes: the object's keys as files, kept up to date."""

from node.agent.pod_state import Object
from node.agent.volumes.projection import config_map_files, default_mode, project
from node.agent.volumes.volume import VolumeContext


async def prepare(volume: Object, context: VolumeContext) -> str:
    source = volume["configMap"]
    files = await config_map_files(source, default_mode(source), context)
    return await project(context.folder("configmap", volume["name"]), files, context)
