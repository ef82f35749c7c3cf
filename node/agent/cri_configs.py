"""Pod and container specs as CRI configurations. Pure.

Labels and annotations are the kubelet's, so that tools such as crictl read them and a restarted agent finds its pods.
Source: kubelet ``kuberuntime/kuberuntime_{sandbox,container}.go``, ``labels.go``.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.agent.downward import ConfigError
from node.agent.expansion import expand
from node.agent.names import Resolver, cri_dns, sandbox_hostname
from node.agent.paths import NodePaths
from node.agent.pod_state import (
    CONTAINER_HASH,
    CONTAINER_NAME,
    GRACE_PERIOD,
    POD_NAME,
    POD_NAMESPACE,
    POD_UID,
    RESTART_COUNT,
    TERMINATION_PATH,
    TERMINATION_POLICY,
    Object,
    ephemeral_containers,
    init_containers,
    regular_containers,
    uid_of,
)
from node.agent.resources import cri_resources
from node.agent.security import container_security, namespace_options, sandbox_security
from protos.cri.runtime.v1 import api_pb2 as pb

DEFAULT_TERMINATION_PATH = "/dev/termination-log"
_PROTOCOLS = {"TCP": pb.TCP, "UDP": pb.UDP, "SCTP": pb.SCTP}
_PROPAGATION = {
    "HostToContainer": pb.PROPAGATION_HOST_TO_CONTAINER,
    "Bidirectional": pb.PROPAGATION_BIDIRECTIONAL,
}


def container_hash(spec: Object) -> str:
    """Changes when the container must be made anew: of a running pod only the image can change."""
    text = f"{spec['name']}\0{spec.get('image', '')}"
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def hashes(pod: Object) -> dict[str, str]:
    specs = (*init_containers(pod), *regular_containers(pod), *ephemeral_containers(pod))
    return {spec["name"]: container_hash(spec) for spec in specs}


def pod_labels(pod: Object) -> dict[str, str]:
    meta = pod["metadata"]
    own = {POD_NAME: meta["name"], POD_NAMESPACE: meta.get("namespace", ""), POD_UID: uid_of(pod)}
    return {**(meta.get("labels") or {}), **own}


def sandbox_config(
    pod: Object, attempt: int, paths: NodePaths, resolver: Resolver, cluster_domain: str, cgroup_parent: str = ""
) -> pb.PodSandboxConfig:
    meta = pod["metadata"]
    namespace, uid = meta.get("namespace", ""), uid_of(pod)
    sysctls = (pod["spec"].get("securityContext") or {}).get("sysctls") or ()
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=meta["name"], namespace=namespace, uid=uid, attempt=attempt),
        hostname=sandbox_hostname(pod, cluster_domain),
        log_directory=paths.pod_logs(namespace, meta["name"], uid),
        dns_config=cri_dns(resolver),
        port_mappings=[] if pod["spec"].get("hostNetwork") else list(_port_mappings(pod)),
        labels=pod_labels(pod),
        annotations=meta.get("annotations") or {},
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=cgroup_parent,
            security_context=sandbox_security(pod),
            sysctls={s["name"]: s["value"] for s in sysctls},
        ),
    )


def _port_mappings(pod: Object) -> Sequence[pb.PortMapping]:
    containers = (*regular_containers(pod), *init_containers(pod))
    return [
        pb.PortMapping(
            protocol=_PROTOCOLS[port.get("protocol") or "TCP"],
            container_port=port["containerPort"],
            host_port=port["hostPort"],
            host_ip=port.get("hostIP", ""),
        )
        for container in containers
        for port in container.get("ports") or ()
        if port.get("hostPort")
    ]


@dataclass(frozen=True, slots=True)
class ContainerParts:
    """What a container's configuration is made of besides its spec. ``target_id`` is the container it debugs."""

    attempt: int
    environment: Mapping[str, str]
    mounts: Sequence[pb.Mount]
    image: pb.Image | None
    memory_capacity: int
    target_id: str = ""
    devices: Sequence[pb.Device] = ()
    stop_signals: bool = True


def container_config(pod: Object, spec: Object, parts: ContainerParts) -> pb.ContainerConfig:
    """Raises ConfigError when the security context or the stop signal cannot be kept."""
    signal = (spec.get("lifecycle") or {}).get("stopSignal")
    if signal and not parts.stop_signals:
        raise ConfigError(f"stopSignal {signal} is not supported by the runtime")
    security = container_security(pod, spec, parts.image)
    if parts.target_id:
        options = namespace_options(pod)
        options.pid, options.target_id = pb.TARGET, parts.target_id
        security.namespace_options.CopyFrom(options)
    env = parts.environment
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name=spec["name"], attempt=parts.attempt),
        image=pb.ImageSpec(image=parts.image.id if parts.image else spec["image"], user_specified_image=spec["image"]),
        command=[expand(word, env) for word in spec.get("command") or ()],
        args=[expand(word, env) for word in spec.get("args") or ()],
        working_dir=spec.get("workingDir", ""),
        envs=[pb.KeyValue(key=name, value=value) for name, value in env.items()],
        mounts=parts.mounts,
        devices=parts.devices,
        labels={
            POD_NAME: pod["metadata"]["name"],
            POD_NAMESPACE: pod["metadata"].get("namespace", ""),
            POD_UID: uid_of(pod),
            CONTAINER_NAME: spec["name"],
        },
        annotations=_annotations(pod, spec, parts.attempt),
        log_path=f"{spec['name']}/{parts.attempt}.log",
        stop_signal=signal or "RUNTIME_DEFAULT",
        stdin=bool(spec.get("stdin")),
        stdin_once=bool(spec.get("stdinOnce")),
        tty=bool(spec.get("tty")),
        linux=pb.LinuxContainerConfig(
            resources=cri_resources(pod, spec, parts.memory_capacity), security_context=security
        ),
    )


def _annotations(pod: Object, spec: Object, attempt: int) -> dict[str, str]:
    return {
        CONTAINER_HASH: container_hash(spec),
        RESTART_COUNT: str(attempt),
        TERMINATION_PATH: spec.get("terminationMessagePath") or DEFAULT_TERMINATION_PATH,
        TERMINATION_POLICY: spec.get("terminationMessagePolicy") or "File",
        GRACE_PERIOD: str(grace_period(pod)),
    }


def grace_period(pod: Object) -> int:
    """Seconds between TERM and KILL: of the deletion that is under way, else of the spec."""
    given = pod["metadata"].get("deletionGracePeriodSeconds")
    if given is None or not pod["metadata"].get("deletionTimestamp"):
        given = pod["spec"].get("terminationGracePeriodSeconds")
    return 30 if given is None else int(given)


def volume_mount(mount: Object, host_path: str, read_only: bool, recursive: bool) -> pb.Mount:
    """``recursive``: whether the runtime can do it. Raises ConfigError when it has to and cannot (KEP-3857)."""
    wanted = mount.get("recursiveReadOnly") or "Disabled"
    if wanted == "Enabled" and not recursive:
        about = "requested recursive read-only mode, but it is not supported by the runtime"
        raise ConfigError(f'volume "{mount["name"]}" {about}')
    return pb.Mount(
        container_path=mount["mountPath"],
        host_path=host_path,
        readonly=read_only or bool(mount.get("readOnly")),
        recursive_read_only=recursive and wanted != "Disabled",
        propagation=_PROPAGATION.get(mount.get("mountPropagation") or "", pb.PROPAGATION_PRIVATE),
    )
