"""``downwardAPI`` volumes: fields of the pod as files, kept up to date."""

from node.agent.pod_state import Object
from node.agent.volumes.projection import default_mode, downward_files, project
from node.agent.volumes.volume import VolumeContext


async def prepare(volume: Object, context: VolumeContext) -> str:
    source = volume["downwardAPI"]
    files = downward_files(source.get("items") or [], default_mode(source), context.facts)
    return await project(context.folder("downward-api", volume["name"]), files, context)
