"""Which volumes are to be attached to one node, and which may be detached from it. Pure. See ``attach_detach``.

Source: ``pkg/controller/volume/attachdetach/reconciler/reconciler.go``.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from apimachinery.csi import attachment_name, unique_name
from apimachinery.meta import Object, is_deleting, name_of

DETACH_ANYWAY: Final = timedelta(minutes=6)
"""How long a node that is not healthy may keep a volume that no pod of it needs."""
_MADE_HERE: Final = re.compile(r"csi-[0-9a-f]{64}")
_UNIQUE: Final = re.compile(r"kubernetes\.io/csi/([^^]*)\^(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Needed:
    """A volume that ``pods`` of the node need. ``busy``: it may be on one node only, and is on another."""

    volume: Object
    pods: tuple[Object, ...]
    busy: bool = False

    @property
    def driver(self) -> str:
        return str(self.volume["spec"]["csi"]["driver"])

    @property
    def unique(self) -> str:
        return unique_name(self.driver, self.volume["spec"]["csi"]["volumeHandle"])


@dataclass(slots=True)
class AttachPlan:
    """``shown`` is what ``status.volumesAttached`` has to say, before anything is detached. ``wake``: look again then,
    for a volume that is kept by a node that may be dead."""

    attach: list[tuple[str, Needed]] = field(default_factory=list)
    blocked: list[Needed] = field(default_factory=list)
    detach: list[Object] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    unneeded: dict[str, datetime] = field(default_factory=dict)
    wake: datetime | None = None


def plan(
    node_name: str,
    node: Object | None,
    needed: Mapping[str, Needed],
    attachments: Iterable[Object],
    unneeded: Mapping[str, datetime],
    now: datetime,
    *,
    dead: bool,
    healthy: bool,
) -> AttachPlan:
    """``needed`` and ``unneeded`` (since when) go by the attachments' names; ``dead``: the node is out of service."""
    out, there = AttachPlan(), {name_of(a): a for a in attachments}
    in_use = {_attachment(unique, node_name) for unique in _listed(node, "volumesInUse")}
    for name, one in needed.items():
        if name in there:
            continue
        if one.busy:
            out.blocked.append(one)
        else:
            out.attach.append((name, one))
    for name in sorted(there.keys() - needed.keys()):
        if not _MADE_HERE.fullmatch(name) or is_deleting(there[name]):
            continue
        since = out.unneeded[name] = unneeded.get(name, now)
        if name not in in_use or node is None or dead or (not healthy and now - since >= DETACH_ANYWAY):
            out.detach.append(there[name])
        elif not healthy:
            out.wake = min(since + DETACH_ANYWAY, out.wake or since + DETACH_ANYWAY)
    names = {_attachment(unique, node_name): unique for unique in _listed(node, "volumesAttached")}
    names |= {name: one.unique for name, one in needed.items()}
    going = {name_of(a) for a in out.detach}
    stays = [n for n, a in there.items() if n in names and n not in going and is_attached(a)]
    out.shown = sorted(names[name] for name in stays)
    return out


def is_attached(attachment: Object) -> bool:
    return bool((attachment.get("status") or {}).get("attached")) and not is_deleting(attachment)


def one_node_only(volume: Object) -> bool:
    return not {"ReadWriteMany", "ReadOnlyMany"} & set(volume["spec"].get("accessModes") or ())


def _listed(node: Object | None, key: str) -> list[str]:
    listed = ((node or {}).get("status") or {}).get(key) or ()
    return [v["name"] if isinstance(v, dict) else v for v in listed]


def _attachment(unique: str, node: str) -> str:
    """The name of the attachment that a unique name stands for; "" for what is not CSI's."""
    found = _UNIQUE.fullmatch(unique)
    return attachment_name(found[1], found[2], node) if found else ""
