"""Who a container's first process is: told from the process itself, and made exact where the engine would add groups.

The engine adds the groups that an image's /etc/group has for a user unless a primary group is named. So
``supplementalGroupsPolicy: Strict`` (KEP-3619) is the user with the primary group that the image's /etc/passwd has.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from node.cri_docker.refusal import Refused
from protos.cri.runtime.v1 import api_pb2 as cri


def is_strict(security: cri.LinuxContainerSecurityContext) -> bool:
    return security.supplemental_groups_policy == cri.Strict and not security.HasField("run_as_group")


def with_group(user: str, layers: Iterable[str]) -> str:
    """``uid:gid`` of a user (a name, a number, or "" for root) whose image has these layers, the uppermost first.

    Raises Refused for a name that the image does not know.
    """
    name, _, group = user.partition(":")
    if group:
        return user
    for row in _passwd(layers):
        fields = row.split(":")
        if len(fields) > 3 and (name or "0") in (fields[0], fields[2]):
            return f"{fields[2]}:{fields[3]}"
    if name and not name.isdigit():
        raise Refused(f"user {name!r} is not in the image's /etc/passwd")
    return f"{name or 0}:0"


def _passwd(layers: Iterable[str]) -> list[str]:
    for layer in layers:
        path = f"{layer}/etc/passwd"
        try:
            mode = os.lstat(path).st_mode
        except OSError:
            continue
        return Path(path).read_text(errors="replace").splitlines() if stat.S_ISREG(mode) else []  # else a whiteout
    return []


def identity(pid: int) -> cri.LinuxContainerUser | None:
    """The user and groups of a process; None when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    rows = {name: [int(n) for n in rest.split()] for name, rest in _rows(status)}
    groups = sorted({*rows["Groups"], rows["Gid"][1]})
    return cri.LinuxContainerUser(uid=rows["Uid"][1], gid=rows["Gid"][1], supplemental_groups=groups)


def _rows(status: str) -> Iterable[tuple[str, str]]:
    for line in status.splitlines():
        name, _, rest = line.partition(":")
        if name in ("Uid", "Gid", "Groups"):
            yield name, rest
