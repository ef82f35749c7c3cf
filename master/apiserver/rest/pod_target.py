"""Which container on which node a log, exec, attach or port-forward is about, and upstream's refusals. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass

from apimachinery import meta, pods, scheme
from apimachinery.errors import BadRequest, NotFound

from ..registry.reader import Object, Reader

DEFAULT_CONTAINER = "kubectl.kubernetes.io/default-container"


@dataclass(frozen=True, slots=True)
class PodTarget:
    """``node`` is "" for a pod that is not bound yet."""

    node: str
    namespace: str
    pod: str
    uid: str
    container: str = ""


async def find_pod(reader: Reader, namespace: str, name: str) -> Object:
    """Raises NotFound."""
    pod = reader.get(scheme.PODS, namespace, name) or await reader.get_consistent(scheme.PODS, namespace, name)
    if pod is None:
        raise NotFound(f'pods "{name}" not found', name=name, kind="pods")
    return pod


def target(pod: Object, container: str = "") -> PodTarget:
    return PodTarget(pods.node_name(pod), meta.namespace_of(pod), meta.name_of(pod), meta.uid_of(pod), container)


def container_target(pod: Object, asked: str) -> PodTarget:
    """The target with its container. Raises BadRequest where none was asked for and there are several, or none has
    the name that was asked for."""
    name, spec = meta.name_of(pod), pod.get("spec") or {}
    if not asked:
        return target(pod, _only_container(pod, name, spec))
    if asked not in _names(spec, "containers", "initContainers", "ephemeralContainers"):
        raise BadRequest(f"container {asked} is not valid for pod {name}")
    return target(pod, asked)


def _only_container(pod: Object, name: str, spec: Object) -> str:
    containers = list(_names(spec, "containers"))
    if len(containers) == 1:
        return containers[0]
    if not containers:
        raise BadRequest(f"a container name must be specified for pod {name}")
    default = meta.annotations_of(pod).get(DEFAULT_CONTAINER)
    if default in containers:
        return default
    message = f"a container name must be specified for pod {name}, choose one of: [{' '.join(containers)}]"
    if init := list(_names(spec, "initContainers")):
        message += f" or one of the init containers: [{' '.join(init)}]"
    raise BadRequest(message)


def running_target(pod: Object, found: PodTarget) -> PodTarget:
    """The same target, if there is a node to ask. Raises BadRequest as upstream: not scheduled, or ended."""
    if not found.node:
        raise BadRequest(f"pod {found.pod} does not have a host assigned")
    if pods.is_finished(pod):
        raise BadRequest(f"cannot exec into a container in a completed pod; current phase is {pods.phase(pod)}")
    return found


def _names(spec: Object, *keys: str) -> Iterator[str]:
    for key in keys:
        for container in spec.get(key) or ():
            yield container["name"]
