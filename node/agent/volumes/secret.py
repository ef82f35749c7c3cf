"""``secret`` volumes: the object's keys as files, kept up to date."""

from node.agent.pod_state import Object
from node.agent.volumes.projection import default_mode, project, secret_files
from node.agent.volumes.volume import VolumeContext


async def prepare(volume: Object, context: VolumeContext) -> str:
    source = volume["secret"]
    files = await secret_files(source, default_mode(source), context)
    return await project(context.folder("secret", volume["name"]), files, context)
