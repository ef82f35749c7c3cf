"""``kubeto describe``: one object in words, with what happened to it."""

import datetime
from typing import Annotated, Any

import typer

from cli.api import Object
from cli.printers import table
from cli.resources import Resource, targets
from cli.session import AllNamespaces, Namespace, Selector, Session, selection

_HIDDEN = {"managedFields", "name", "namespace", "labels", "annotations", "selfLink", "resourceVersion", "generation"}
_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_WIDTH = 20


def describe(
    words: Annotated[list[str], typer.Argument(metavar="TYPE[/NAME] [NAME...]")],
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    selector: Selector = "",
) -> None:
    """Tell everything about objects, with their events: 'kubeto describe pod web-0'."""
    session = Session(namespace)
    texts: list[str] = []
    for target in targets(session.resources, words):
        path = session.path(target.resource, everywhere=everywhere)
        found = [session.api.get(f"{path}/{name}") for name in target.names]
        items = found or session.api.get_list(path, selection(selector))
        texts += ["\n".join([*text(i, target.resource), *_events(session, i, target.resource)]) for i in items]
    print("\n\n\n".join(texts))


def text(item: Object, resource: Resource) -> list[str]:
    """The lines that describe an object, without its events."""
    metadata = item["metadata"]
    lines = [_line("Name", metadata["name"])]
    if resource.namespaced:
        lines.append(_line("Namespace", metadata.get("namespace", "")))
    lines += _pairs("Labels", metadata.get("labels", {}), "=")
    annotations = {k: v for k, v in metadata.get("annotations", {}).items() if k != _APPLIED}
    lines += _pairs("Annotations", annotations, ": ")
    lines += [_line("Created", metadata.get("creationTimestamp", ""))]
    lines += [line for k, v in metadata.items() if k not in {*_HIDDEN, "creationTimestamp"} for line in _tree(k, v, 0)]
    secret = resource.full_name == "secrets"
    for key, value in item.items():
        if key in ("apiVersion", "kind", "metadata", "status"):
            continue
        shown = {k: f"{len(v)} bytes (base64)" for k, v in value.items()} if secret and key == "data" else value
        lines += _tree(key, shown, 0)
    status = dict(item.get("status") or {})
    conditions = status.pop("conditions", [])
    lines += _tree("status", status, 0) if status else []
    return lines + _conditions(conditions)


def _line(title: str, value: object) -> str:
    return f"{title + ':':{_WIDTH}}{value}"


def _pairs(title: str, pairs: dict[str, str], between: str) -> list[str]:
    shown = [f"{k}{between}{v}" for k, v in sorted(pairs.items())] or ["<none>"]
    return [_line(title, shown[0])] + [" " * _WIDTH + more for more in shown[1:]]


def _title(key: str) -> str:
    words = "".join(f" {c}" if c.isupper() else c for c in key)
    return words[:1].upper() + words[1:]


def _tree(key: str, value: Any, depth: int) -> list[str]:
    indent = "  " * depth
    if isinstance(value, dict) and value:
        return [f"{indent}{_title(key)}:", *(line for k, v in value.items() for line in _tree(k, v, depth + 1))]
    if isinstance(value, list) and value:
        if not any(isinstance(v, dict) for v in value):
            return [f"{indent}{_line(_title(key), ', '.join(map(str, value)))}"]
        lines = [f"{indent}{_title(key)}:"]
        for position, entry in enumerate(value):
            label = (
                entry.get("name") or entry.get("type") or str(position) if isinstance(entry, dict) else str(position)
            )
            rest = {k: v for k, v in entry.items() if k != "name"} if isinstance(entry, dict) else entry
            lines += _tree(label, rest, depth + 1)
        return lines
    shown = "<none>" if value in (None, {}, []) else value
    return [f"{indent}{_line(_title(key), shown)}"]


def _conditions(conditions: list[Object]) -> list[str]:
    if not conditions:
        return []
    rows = [
        (
            c.get("type", ""),
            c.get("status", ""),
            c.get("reason", ""),
            c.get("lastTransitionTime") or "",
            c.get("message", ""),
        )
        for c in conditions
    ]
    shown = table(("TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"), rows)
    return ["Conditions:", *(f"  {line}" for line in shown.splitlines())]


def _events(session: Session, item: Object, resource: Resource) -> list[str]:
    metadata = item["metadata"]
    wanted = {"involvedObject.name": metadata["name"], "involvedObject.kind": resource.kind}
    if uid := metadata.get("uid"):
        wanted["involvedObject.uid"] = uid if resource.full_name != "nodes" else metadata["name"]
        if resource.full_name == "nodes":
            del wanted["involvedObject.uid"]
    query = {"fieldSelector": ",".join(f"{k}={v}" for k, v in wanted.items())}
    namespace = metadata.get("namespace", "default") if resource.namespaced else ""
    events = session.api.get_list(session.resources.one("events").path(namespace), query)
    if not events:
        return [_line("Events", "<none>")]
    events.sort(key=_last_seen)
    rows = [
        (
            e.get("type", ""),
            e.get("reason", ""),
            _age(e),
            e.get("source", {}).get("component") or e.get("reportingComponent", ""),
            e.get("message", "").strip(),
        )
        for e in events
    ]
    shown = table(("TYPE", "REASON", "AGE", "FROM", "MESSAGE"), rows)
    return ["Events:", *(f"  {line}" for line in shown.splitlines())]


def _last_seen(event: Object) -> str:
    series = event.get("series") or {}
    return str(
        series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
        or event["metadata"].get("creationTimestamp") or ""
    )  # fmt: skip


def _age(event: Object) -> str:
    try:
        seen = datetime.datetime.fromisoformat(_last_seen(event).replace("Z", "+00:00"))
    except ValueError:
        return "<unknown>"
    seconds = max(0, int((datetime.datetime.now(datetime.UTC) - seen).total_seconds()))
    count = (event.get("series") or {}).get("count") or event.get("count") or 1
    age = f"{seconds}s" if seconds < 120 else f"{seconds // 60}m" if seconds < 7200 else f"{seconds // 3600}h"
    return f"{age} (x{count})" if count > 1 else age
