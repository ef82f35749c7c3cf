"""CRI configurations as the body of the engine's ``POST /containers/create``. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from node.cri_docker import naming, resources, security
from node.cri_docker.records import SandboxRecord
from node.cri_docker.refusal import Refused
from node.cri_docker.security import EngineLimits
from protos.cri.runtime.v1 import api_pb2 as cri

_LOG_SIZE = "32m"
_LOG_FILES = "3"
_PAUSE_OOM_SCORE = -998
_PROPAGATION = {
    cri.PROPAGATION_PRIVATE: "",  # the engine chooses: private, or rslave for a source that holds its own folder
    cri.PROPAGATION_HOST_TO_CONTAINER: "rslave",
    cri.PROPAGATION_BIDIRECTIONAL: "rshared",
}


@dataclass(frozen=True, slots=True)
class SandboxShape:
    """What a node decides about its sandboxes."""

    node: str
    image: str
    host_network_container: str = ""
    """The container whose network namespace is the node's; "" when it is the engine's."""
    hostname: str = ""
    """Of sandboxes that ask for none: the node's, as on containerd. The engine would invent one."""
    unshare: Sequence[str] = field(default=())
    """The pause command that makes its own network namespace; () leaves that to the engine."""


def sandbox(config: cri.PodSandboxConfig, handler: str, shape: SandboxShape, limits: EngineLimits) -> dict[str, Any]:
    if handler and handler not in limits.runtimes:
        raise Refused(f"unknown runtime handler {handler!r}; this engine has {', '.join(limits.runtimes)}")
    namespaces = config.linux.security_context.namespace_options
    if namespaces.HasField("userns_options") and namespaces.userns_options.mode != cri.NODE:
        raise Refused("user namespaces are not supported on Docker")
    body: dict[str, Any] = {
        "Image": shape.image,
        "Labels": naming.sandbox_labels(shape.node, config, handler),
        "Healthcheck": _no_healthcheck(),
        "HostConfig": _sandbox_host_config(config, handler, shape, limits),
    }
    if namespaces.network != cri.NODE:
        body["Hostname"] = config.hostname or shape.hostname
    if _unshares(config, shape):
        body |= {"Entrypoint": list(shape.unshare), "Cmd": []}
    context = config.linux.security_context
    if context.HasField("run_as_user") and not _unshares(config, shape):
        group = f":{context.run_as_group.value}" if context.HasField("run_as_group") else ""
        body["User"] = f"{context.run_as_user.value}{group}"
    return body


def _unshares(config: cri.PodSandboxConfig, shape: SandboxShape) -> bool:
    """The engine makes a network namespace by a hook that costs 80 ms; the pause process does it in none.

    Not where the engine has to do more: settings of the network namespace, an init that reaps for all.
    """
    namespaces = config.linux.security_context.namespace_options
    plain = namespaces.network == cri.POD and namespaces.pid != cri.POD
    return bool(shape.unshare) and plain and not any(name.startswith("net.") for name in config.linux.sysctls)


def _sandbox_host_config(
    config: cri.PodSandboxConfig, handler: str, shape: SandboxShape, limits: EngineLimits
) -> dict[str, Any]:
    linux = config.linux
    context, namespaces = linux.security_context, linux.security_context.namespace_options
    unshares = _unshares(config, shape)
    host: dict[str, Any] = {
        "NetworkMode": "host" if unshares else _sandbox_network(namespaces, shape),
        "IpcMode": "host" if namespaces.ipc == cri.NODE else "shareable",
        "PidMode": "host" if namespaces.pid == cri.NODE else "",
        "Init": namespaces.pid == cri.POD,
        "Sysctls": dict(linux.sysctls),
        "CgroupParent": linux.cgroup_parent,
        "OomScoreAdj": limits.clamp_oom_score(_PAUSE_OOM_SCORE),
        "LogConfig": {"Type": "none"},
        "SecurityOpt": ["no-new-privileges"],
        "CapAdd": ["SYS_ADMIN"] if unshares else [],
        "ReadonlyRootfs": context.readonly_rootfs,
        "GroupAdd": [str(group) for group in context.supplemental_groups],
        "CpuShares": 2,
    }
    if handler:
        host["Runtime"] = handler
    return host


def _sandbox_network(namespaces: cri.NamespaceOption, shape: SandboxShape) -> str:
    if namespaces.network != cri.NODE:
        return "none"
    return f"container:{shape.host_network_container}" if shape.host_network_container else "host"


def container(
    config: cri.ContainerConfig,
    pod: SandboxRecord,
    node: str,
    limits: EngineLimits,
    read_profile: Callable[[str], str],
    image_mounts: Mapping[str, str],
) -> dict[str, Any]:
    """``image_mounts``: container path -> folder with the image's content, for mounts of images."""
    if config.CDI_devices:
        raise Refused("CDI devices are not supported on Docker")
    body: dict[str, Any] = {
        "Image": config.image.image,
        "Labels": naming.container_labels(node, pod.id, config, pod.config),
        "Healthcheck": _no_healthcheck(),
        "Env": [f"{env.key}={env.value}" for env in config.envs],
        "Tty": config.tty,
        "OpenStdin": config.stdin,
        "StdinOnce": config.stdin_once,
        "HostConfig": _container_host_config(config, pod, limits, read_profile, image_mounts),
    }
    optional = {
        "Entrypoint": list(config.command),
        "Cmd": list(config.args),
        "WorkingDir": config.working_dir,
        "User": security.user(config.linux.security_context),
        "StopSignal": stop_signal(config.stop_signal),
    }
    return body | {name: value for name, value in optional.items() if value}


def _container_host_config(
    config: cri.ContainerConfig,
    pod: SandboxRecord,
    limits: EngineLimits,
    read_profile: Callable[[str], str],
    image_mounts: Mapping[str, str],
) -> dict[str, Any]:
    context = config.linux.security_context
    host: dict[str, Any] = {
        "NetworkMode": f"container:{pod.id}",
        "IpcMode": "host" if context.namespace_options.ipc == cri.NODE else f"container:{pod.id}",
        "PidMode": _pid_mode(context.namespace_options, pod),
        "CgroupParent": pod.config.linux.cgroup_parent,
        "LogConfig": _log_config(bool(config.log_path and pod.config.log_directory)),
        "Mounts": [_mount(mount, image_mounts) for mount in config.mounts],
        **security.host_config(context, limits, read_profile),
        **resources.host_config(config.linux.resources, limits),
    }
    if pod.handler:
        host["Runtime"] = pod.handler
    devices = [_device(device) for device in config.devices]
    host["Devices"] = devices + [d for d in host.get("Devices", []) if d["PathInContainer"] not in _paths(devices)]
    return host


def _pid_mode(namespaces: cri.NamespaceOption, pod: SandboxRecord) -> str:
    if namespaces.pid == cri.NODE:
        return "host"
    if namespaces.pid == cri.TARGET:
        return f"container:{namespaces.target_id}"
    return f"container:{pod.id}" if namespaces.pid == cri.POD else ""


def _log_config(wanted: bool) -> dict[str, Any]:
    """The engine's log is where ours is copied from: small files suffice."""
    if not wanted:
        return {"Type": "none"}
    return {"Type": "json-file", "Config": {"max-size": _LOG_SIZE, "max-file": _LOG_FILES}}


def _mount(mount: cri.Mount, image_mounts: Mapping[str, str]) -> dict[str, Any]:
    if mount.recursive_read_only:
        raise Refused(f"mount {mount.container_path}: recursive read-only mounts are not supported on Docker")
    if mount.uidMappings or mount.gidMappings:
        raise Refused(f"mount {mount.container_path}: id-mapped mounts are not supported on Docker")
    from_image = mount.HasField("image") and mount.image.image
    return {
        "Type": "bind",
        "Source": image_mounts[mount.container_path] if from_image else mount.host_path,
        "Target": mount.container_path,
        "ReadOnly": mount.readonly,
        "BindOptions": {"Propagation": _PROPAGATION[mount.propagation]},
    }


def _device(device: cri.Device) -> dict[str, str]:
    return {
        "PathOnHost": device.host_path,
        "PathInContainer": device.container_path or device.host_path,
        "CgroupPermissions": device.permissions or "rwm",
    }


def _paths(devices: Sequence[Mapping[str, str]]) -> set[str]:
    return {device["PathInContainer"] for device in devices}


def stop_signal(signal: cri.Signal) -> str:
    """``SIGRTMINPLUS3`` is the engine's ``SIGRTMIN+3``; "" for the default."""
    if signal == cri.RUNTIME_DEFAULT:
        return ""
    return cri.Signal.Name(signal).replace("MINPLUS", "MIN+").replace("MAXMINUS", "MAX-")


def _no_healthcheck() -> dict[str, Any]:
    """An image's own HEALTHCHECK would run beside the kubelet's probes."""
    return {"Test": ["NONE"]}
