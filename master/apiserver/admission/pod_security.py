"""The Pod Security Standards: what the levels baseline and restricted find wrong with a pod's spec. Pure.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/ (as of v1.36)
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Spec = Mapping[str, Any]
Check = Callable[[Spec], Iterator[str]]

_CAPABILITIES = """AUDIT_WRITE CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP
SETUID SYS_CHROOT"""
_SYSCTLS = """kernel.shm_rmid_forced net.ipv4.ip_local_port_range net.ipv4.ip_local_reserved_ports
net.ipv4.ip_unprivileged_port_start net.ipv4.ping_group_range net.ipv4.tcp_fin_timeout net.ipv4.tcp_keepalive_intvl
net.ipv4.tcp_keepalive_probes net.ipv4.tcp_keepalive_time net.ipv4.tcp_rmem net.ipv4.tcp_syncookies net.ipv4.tcp_wmem"""
_VOLUMES = "configMap csi downwardAPI emptyDir ephemeral image persistentVolumeClaim projected secret"

BASELINE_CAPABILITIES = frozenset(_CAPABILITIES.split())
SAFE_SYSCTLS = frozenset(_SYSCTLS.split())
RESTRICTED_VOLUMES = frozenset(_VOLUMES.split())
SELINUX_TYPES = frozenset(("", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"))
_SECCOMP = frozenset(("RuntimeDefault", "Localhost"))


def violations(level: str, spec: Spec) -> list[str]:
    """What ``level`` (privileged, baseline or restricted) forbids in a pod's spec, in upstream's words."""
    checks: Sequence[Check] = {"baseline": _BASELINE, "restricted": _BASELINE + _RESTRICTED}.get(level, ())
    return [problem for check in checks for problem in check(spec)]


def _containers(spec: Spec) -> Iterator[Spec]:
    for key in ("initContainers", "containers", "ephemeralContainers"):
        yield from spec.get(key) or ()


def _context(part: Spec) -> Spec:
    return part.get("securityContext") or {}


def _windows(spec: Spec) -> bool:
    return (spec.get("os") or {}).get("name") == "windows"


def _named(containers: Sequence[Spec]) -> str:
    names = ", ".join(f'"{c.get("name", "")}"' for c in containers)
    return f"container{'s' if len(containers) > 1 else ''} {names}"


def _offenders(spec: Spec, wrong: Callable[[Spec], bool]) -> list[Spec]:
    return [c for c in _containers(spec) if wrong(c)]


def _host_namespaces(spec: Spec) -> Iterator[str]:
    used = [f"{key}=true" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
    if used:
        yield f"host namespaces ({', '.join(used)})"


def _privileged(spec: Spec) -> Iterator[str]:
    if found := _offenders(spec, lambda c: bool(_context(c).get("privileged"))):
        yield f"privileged ({_named(found)} must not set securityContext.privileged=true)"


def _capabilities(spec: Spec) -> Iterator[str]:
    def wrong(container: Spec) -> bool:
        return not set((_context(container).get("capabilities") or {}).get("add") or ()) <= BASELINE_CAPABILITIES

    if found := _offenders(spec, wrong):
        yield f"non-default capabilities ({_named(found)} must not add capabilities beyond the default set)"


def _host_path(spec: Spec) -> Iterator[str]:
    names = [f'"{v.get("name", "")}"' for v in spec.get("volumes") or () if v.get("hostPath")]
    if names:
        yield f"hostPath volumes (volume{'s' if len(names) > 1 else ''} {', '.join(names)})"


def _host_ports(spec: Spec) -> Iterator[str]:
    if found := _offenders(spec, lambda c: any(p.get("hostPort") for p in c.get("ports") or ())):
        ports = sorted({p["hostPort"] for c in found for p in c["ports"] if p.get("hostPort")})
        text = f"hostPort{'s' if len(ports) > 1 else ''} {', '.join(map(str, ports))}"
        yield f"hostPort ({_named(found)} uses {text})"


def _app_armor(spec: Spec) -> Iterator[str]:
    def wrong(part: Spec) -> bool:
        return (_context(part).get("appArmorProfile") or {}).get("type") == "Unconfined"

    if wrong(spec) or _offenders(spec, wrong):
        yield "forbidden AppArmor profile (must not be Unconfined)"


def _selinux(spec: Spec) -> Iterator[str]:
    for part in (spec, *_containers(spec)):
        options = _context(part).get("seLinuxOptions") or {}
        if options.get("type", "") not in SELINUX_TYPES or options.get("user") or options.get("role"):
            yield "seLinuxOptions (set forbidden securityContext.seLinuxOptions)"
            return


def _proc_mount(spec: Spec) -> Iterator[str]:
    if found := _offenders(spec, lambda c: _context(c).get("procMount", "Default") != "Default"):
        yield f"procMount ({_named(found)} must not set securityContext.procMount)"


def _seccomp_unconfined(spec: Spec) -> Iterator[str]:
    def wrong(part: Spec) -> bool:
        return (_context(part).get("seccompProfile") or {}).get("type") == "Unconfined"

    if wrong(spec) or _offenders(spec, wrong):
        yield 'seccompProfile (must not set securityContext.seccompProfile.type to "Unconfined")'


def _sysctls(spec: Spec) -> Iterator[str]:
    names = [s["name"] for s in _context(spec).get("sysctls") or () if s["name"] not in SAFE_SYSCTLS]
    if names:
        yield f"forbidden sysctls ({', '.join(names)})"


def _host_process(spec: Spec) -> Iterator[str]:
    def wrong(part: Spec) -> bool:
        return bool((_context(part).get("windowsOptions") or {}).get("hostProcess"))

    if wrong(spec) or _offenders(spec, wrong):
        yield "hostProcess (must not set securityContext.windowsOptions.hostProcess=true)"


def _volume_types(spec: Spec) -> Iterator[str]:
    bad = [v for v in spec.get("volumes") or () if not (set(v) - {"name"}) <= RESTRICTED_VOLUMES]
    if bad:
        names, types = [f'"{v["name"]}"' for v in bad], sorted({t for v in bad for t in set(v) - {"name"}})
        kinds = ", ".join(f'"{t}"' for t in types)
        which = f"volume{'s' if len(bad) > 1 else ''} {', '.join(names)}"
        yield f"restricted volume types ({which} uses restricted volume type {kinds})"


def _escalation(spec: Spec) -> Iterator[str]:
    found = _offenders(spec, lambda c: _context(c).get("allowPrivilegeEscalation") is not False)
    if found and not _windows(spec):
        yield (
            f"allowPrivilegeEscalation != false ({_named(found)} must set "
            "securityContext.allowPrivilegeEscalation=false)"
        )


def _non_root(spec: Spec) -> Iterator[str]:
    by_pod = _context(spec).get("runAsNonRoot")

    def wrong(container: Spec) -> bool:
        own = _context(container).get("runAsNonRoot")
        return (own if own is not None else by_pod) is not True

    if found := _offenders(spec, wrong):
        yield f"runAsNonRoot != true (pod or {_named(found)} must set securityContext.runAsNonRoot=true)"


def _root_user(spec: Spec) -> Iterator[str]:
    if _context(spec).get("runAsUser") == 0:
        yield "runAsUser=0 (pod must not set runAsUser=0)"
    if found := _offenders(spec, lambda c: _context(c).get("runAsUser") == 0):
        yield f"runAsUser=0 ({_named(found)} must not set runAsUser=0)"


def _seccomp_set(spec: Spec) -> Iterator[str]:
    by_pod = (_context(spec).get("seccompProfile") or {}).get("type")

    def wrong(container: Spec) -> bool:
        return ((_context(container).get("seccompProfile") or {}).get("type") or by_pod) not in _SECCOMP

    found = _offenders(spec, wrong)
    if found and not _windows(spec):
        yield (
            f"seccompProfile (pod or {_named(found)} must set securityContext.seccompProfile.type to "
            '"RuntimeDefault" or "Localhost")'
        )


def _drop_all(spec: Spec) -> Iterator[str]:
    def wrong(container: Spec) -> bool:
        capabilities = _context(container).get("capabilities") or {}
        drops = "ALL" in (capabilities.get("drop") or ())
        return not drops or not set(capabilities.get("add") or ()) <= {"NET_BIND_SERVICE"}

    found = _offenders(spec, wrong)
    if found and not _windows(spec):
        yield f'unrestricted capabilities ({_named(found)} must set securityContext.capabilities.drop=["ALL"])'


_BASELINE: tuple[Check, ...] = (
    _host_namespaces,
    _privileged,
    _capabilities,
    _host_path,
    _host_ports,
    _app_armor,
    _selinux,
    _proc_mount,
    _seccomp_unconfined,
    _sysctls,
    _host_process,
)
_RESTRICTED: tuple[Check, ...] = (_volume_types, _escalation, _non_root, _root_user, _seccomp_set, _drop_all)
