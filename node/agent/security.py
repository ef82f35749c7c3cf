"""``securityContext`` of pod and container as CRI fields.

A container's settings win over its pod's. Source: kubelet ``kuberuntime/security_context.go``, ``pkg/securitycontext``.
"""

from typing import Final

from node.agent.downward import ConfigError
from node.agent.pod_state import Object
from protos.cri.runtime.v1 import api_pb2 as pb

# What the default /proc mount hides and keeps unwritable; dropped for procMount: Unmasked.
MASKED_PATHS: Final = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
READONLY_PATHS: Final = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_SECCOMP_ROOT: Final = "/var/lib/kubelet/seccomp"


def namespace_options(pod: Object) -> pb.NamespaceOption:
    spec = pod["spec"]
    pid = pb.CONTAINER
    if spec.get("hostPID"):
        pid = pb.NODE
    elif spec.get("shareProcessNamespace"):
        pid = pb.POD
    return pb.NamespaceOption(
        network=pb.NODE if spec.get("hostNetwork") else pb.POD,
        ipc=pb.NODE if spec.get("hostIPC") else pb.POD,
        pid=pid,
    )


def _profile(profile: Object | None, default: "pb.SecurityProfile.ProfileType") -> pb.SecurityProfile:
    kind = (profile or {}).get("type")
    if kind == "Localhost":
        name = (profile or {}).get("localhostProfile", "")
        return pb.SecurityProfile(profile_type=pb.SecurityProfile.Localhost, localhost_ref=f"{_SECCOMP_ROOT}/{name}")
    kinds = {"RuntimeDefault": pb.SecurityProfile.RuntimeDefault, "Unconfined": pb.SecurityProfile.Unconfined}
    return pb.SecurityProfile(profile_type=kinds.get(kind or "", default))


def _selinux(options: Object | None) -> pb.SELinuxOption | None:
    return pb.SELinuxOption(**options) if options else None


def apparmor_profiles(pod: Object) -> set[str]:
    """The types of profile that its containers ask for."""
    spec, common = pod["spec"], _apparmor(pod["spec"])
    containers = [c for kind in ("initContainers", "containers", "ephemeralContainers") for c in spec.get(kind) or ()]
    return {p["type"] for c in containers if (p := _apparmor(c) or common)}


def _apparmor(about: Object) -> Object | None:
    profile: Object | None = (about.get("securityContext") or {}).get("appArmorProfile")
    return profile


def _apparmor_fields(profile: Object | None) -> Object:
    """As the CRI has it now, and as containerd before 2.0 reads it."""
    if not profile:
        return {}
    kind, name = profile["type"], profile.get("localhostProfile") or ""
    old = {"RuntimeDefault": "runtime/default", "Unconfined": "unconfined", "Localhost": f"localhost/{name}"}
    made = pb.SecurityProfile(profile_type=kind, localhost_ref=name if kind == "Localhost" else "")
    return {"apparmor": made, "apparmor_profile": old[kind]}


def _int64(value: int | None) -> pb.Int64Value | None:
    return None if value is None else pb.Int64Value(value=value)


def sandbox_security(pod: Object) -> pb.LinuxSandboxSecurityContext:
    context = pod["spec"].get("securityContext") or {}
    containers = [*(pod["spec"].get("containers") or ()), *(pod["spec"].get("initContainers") or ())]
    return pb.LinuxSandboxSecurityContext(
        namespace_options=namespace_options(pod),
        run_as_user=_int64(context.get("runAsUser")),
        run_as_group=_int64(context.get("runAsGroup")) if context.get("runAsUser") is not None else None,
        supplemental_groups=_groups(context),
        supplemental_groups_policy=_groups_policy(context),
        privileged=any((c.get("securityContext") or {}).get("privileged") for c in containers),
        selinux_options=_selinux(context.get("seLinuxOptions")),
        seccomp=pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault),
    )


def _groups(context: Object) -> list[int]:
    groups = list(context.get("supplementalGroups") or ())
    return [*groups, context["fsGroup"]] if context.get("fsGroup") is not None else groups


def _groups_policy(context: Object) -> pb.SupplementalGroupsPolicy:
    return pb.Strict if context.get("supplementalGroupsPolicy") == "Strict" else pb.Merge


def container_security(pod: Object, container: Object, image: pb.Image | None) -> pb.LinuxContainerSecurityContext:
    """Raises ConfigError when ``runAsNonRoot`` cannot be kept."""
    pod_context = pod["spec"].get("securityContext") or {}
    context = pod_context | (container.get("securityContext") or {})
    privileged = bool(context.get("privileged"))
    user, group, name = context.get("runAsUser"), context.get("runAsGroup"), ""
    if user is None and image is not None:
        user, name = (image.uid.value, "") if image.HasField("uid") else (None, image.username)
    if user is None and not name:
        user = 0
    _check_non_root(context, container, user, name)
    unmasked = privileged or context.get("procMount") == "Unmasked"
    return pb.LinuxContainerSecurityContext(
        capabilities=_capabilities(context.get("capabilities") or {}),
        privileged=privileged,
        namespace_options=namespace_options(pod),
        run_as_user=_int64(user),
        run_as_username=name,
        run_as_group=_int64(group) if user is not None or name else None,
        readonly_rootfs=bool(context.get("readOnlyRootFilesystem")),
        supplemental_groups=_groups(pod_context),
        supplemental_groups_policy=_groups_policy(pod_context),
        no_new_privs=context.get("allowPrivilegeEscalation") is False,
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
        selinux_options=_selinux(context.get("seLinuxOptions")),
        seccomp=_profile(context.get("seccompProfile"), pb.SecurityProfile.Unconfined),
        **_apparmor_fields(context.get("appArmorProfile")),
    )


def _capabilities(given: Object) -> pb.Capability:
    return pb.Capability(add_capabilities=given.get("add") or (), drop_capabilities=given.get("drop") or ())


def _check_non_root(context: Object, container: Object, user: int | None, name: str) -> None:
    if not context.get("runAsNonRoot"):
        return
    about = container["name"]
    if name:
        message = f"container has runAsNonRoot and image has non-numeric user ({name}), cannot verify user is non-root"
        raise ConfigError(f"{message} (container: {about})")
    if user == 0 and context.get("runAsUser") is None:
        raise ConfigError(f"container has runAsNonRoot and image will run as root (container: {about})")
    if user == 0:
        raise ConfigError(f"container's runAsUser breaks non-root policy (container: {about})")
