"""CRI security contexts as the engine's HostConfig. Pure.

Where the engine cannot start a privileged container (its bounding set lacks a capability), one is built from
its parts: every capability there is, no seccomp, no hidden paths, all devices.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from node.cri_docker.refusal import Refused
from protos.cri.runtime.v1 import api_pb2 as cri


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """What this engine on this machine can do. Read by ``limits.py``."""

    capabilities: frozenset[str] = frozenset()
    """Names without CAP_ that the engine may hand out."""
    can_privileged: bool = True
    min_oom_score: int = -1000
    cgroup_v2: bool = False
    apparmor: bool = False
    seccomp: bool = True
    runtimes: tuple[str, ...] = ()
    devices: tuple[str, ...] = field(default=())
    """Device files a privileged container gets."""
    root_dir: str = "/var/lib/docker"
    version: str = ""
    cgroup_driver: str = "cgroupfs"

    def clamp_oom_score(self, score: int) -> int:
        return max(score, self.min_oom_score)


def host_config(
    security: cri.LinuxContainerSecurityContext, limits: EngineLimits, read_profile: Callable[[str], str]
) -> dict[str, Any]:
    """HostConfig fields of a container's security context.

    ``read_profile`` gives the text of a seccomp profile file. Raises Refused for what the engine cannot do.
    """
    _refuse_unsupported(security)
    out: dict[str, Any] = {
        "ReadonlyRootfs": security.readonly_rootfs,
        "GroupAdd": [str(group) for group in security.supplemental_groups],
    }
    if security.privileged:
        return out | _privileged(limits)
    add, drop = _capabilities(security.capabilities, limits)
    # Empty lists are what a kubelet asks for with ``procMount: Unmasked``; the engine's own would come without any.
    paths = {"MaskedPaths": list(security.masked_paths), "ReadonlyPaths": list(security.readonly_paths)}
    return out | paths | {"CapAdd": add, "CapDrop": drop, "SecurityOpt": _options(security, limits, read_profile)}


def user(security: cri.LinuxContainerSecurityContext) -> str | None:
    """``uid[:gid]`` or ``name[:gid]``; None leaves it to the image."""
    name = str(security.run_as_user.value) if security.HasField("run_as_user") else security.run_as_username
    if not security.HasField("run_as_group"):
        return name or None
    if not name:
        raise Refused("run_as_group is given without a user")
    return f"{name}:{security.run_as_group.value}"


def seccomp_option(
    profile: cri.SecurityProfile | None, legacy_path: str, read_profile: Callable[[str], str]
) -> str | None:
    """The engine's option; None for its default profile. Without any profile a container is unconfined (CRI)."""
    if profile is not None:
        kind, reference = profile.profile_type, profile.localhost_ref
    elif legacy_path in ("runtime/default", "docker/default"):
        kind, reference = cri.SecurityProfile.RuntimeDefault, ""
    elif legacy_path.startswith("localhost/"):
        kind, reference = cri.SecurityProfile.Localhost, legacy_path.removeprefix("localhost/")
    elif legacy_path in ("", "unconfined"):
        kind, reference = cri.SecurityProfile.Unconfined, ""
    else:
        raise Refused(f"unknown seccomp profile {legacy_path!r}")
    if kind == cri.SecurityProfile.RuntimeDefault:
        return None
    if kind == cri.SecurityProfile.Unconfined:
        return "seccomp=unconfined"
    return "seccomp=" + read_profile(reference)


def _options(
    security: cri.LinuxContainerSecurityContext, limits: EngineLimits, read_profile: Callable[[str], str]
) -> list[str]:
    options = []
    if limits.seccomp:
        profile = security.seccomp if security.HasField("seccomp") else None
        options.append(seccomp_option(profile, security.seccomp_profile_path, read_profile))
    if security.no_new_privs:
        options.append("no-new-privileges")
    options.append(_apparmor_option(security, limits))
    label = security.selinux_options
    parts = {"user": label.user, "role": label.role, "type": label.type, "level": label.level}
    options += [f"label={part}:{value}" for part, value in parts.items() if value]
    return [option for option in options if option]


def _apparmor_option(security: cri.LinuxContainerSecurityContext, limits: EngineLimits) -> str | None:
    if security.HasField("apparmor"):
        kind, name = security.apparmor.profile_type, security.apparmor.localhost_ref
        unconfined = kind == cri.SecurityProfile.Unconfined
        name = name if kind == cri.SecurityProfile.Localhost else ""
    else:
        unconfined = security.apparmor_profile == "unconfined"
        name = security.apparmor_profile.removeprefix("localhost/") if "localhost/" in security.apparmor_profile else ""
    if name and not limits.apparmor:
        raise Refused(f"AppArmor profile {name!r}: AppArmor is not enabled on this machine")
    if unconfined and limits.apparmor:
        return "apparmor=unconfined"
    return f"apparmor={name}" if name else None


def _capabilities(asked: cri.Capability, limits: EngineLimits) -> tuple[list[str], list[str]]:
    """ALL becomes what the engine really has: it would otherwise ask for more than the kernel gives."""
    add, drop = _names(asked.add_capabilities), _names(asked.drop_capabilities)
    if "ALL" in add:
        wanted = [name for name in sorted(limits.capabilities) if name not in drop]
        return wanted + [name for name in add if name != "ALL" and name not in wanted], ["ALL"]
    if "ALL" in drop:
        return add, ["ALL"]
    return [name for name in add if name not in drop], drop


def _names(capabilities: Iterable[str]) -> list[str]:
    return [name.upper().removeprefix("CAP_") for name in capabilities]


def _privileged(limits: EngineLimits) -> dict[str, Any]:
    if limits.can_privileged:
        return {"Privileged": True}
    options = ["seccomp=unconfined"] if limits.seccomp else []
    return {
        "CapAdd": sorted(limits.capabilities),
        "SecurityOpt": options + (["apparmor=unconfined"] if limits.apparmor else []),
        "MaskedPaths": [],
        "ReadonlyPaths": [],
        "DeviceCgroupRules": ["a *:* rwm"],
        "Devices": [
            {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rwm"} for path in limits.devices
        ],
    }


def _refuse_unsupported(security: cri.LinuxContainerSecurityContext) -> None:
    if security.capabilities.add_ambient_capabilities:
        raise Refused("ambient capabilities are not supported on Docker")
    namespaces = security.namespace_options
    if namespaces.HasField("userns_options") and namespaces.userns_options.mode != cri.NODE:
        raise Refused("user namespaces are not supported on Docker")
