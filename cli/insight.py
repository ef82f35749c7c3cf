"""``kubeto top`` and ``kubeto why``: what uses the machines, and why a pod is where it is."""

from decimal import Decimal
from typing import Annotated

import typer

from apimachinery import quantity
from cli.api import Object
from cli.printers import table
from cli.session import AllNamespaces, Namespace, Selector, Session, selection

_METRICS = "/apis/metrics.k8s.io/v1beta1"
_MEBIBYTE = 1024 * 1024


def top(
    what: Annotated[str, typer.Argument(metavar="node|pod")],
    name: Annotated[str, typer.Argument(metavar="[NAME]")] = "",
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    selector: Selector = "",
) -> None:
    """CPU and memory in use now: 'kubeto top nodes', 'kubeto top pods -A'."""
    session = Session(namespace)
    if what in ("node", "nodes", "no"):
        print(_nodes(session, name, selector))
    elif what in ("pod", "pods", "po"):
        print(_pods(session, name, selector, everywhere))
    else:
        raise typer.BadParameter(f"{what}: top shows nodes or pods")


def _measured(session: Session, path: str, name: str, selector: str) -> list[Object]:
    return [session.api.get(f"{path}/{name}")] if name else session.api.get_list(path, selection(selector))


def _nodes(session: Session, name: str, selector: str) -> str:
    capacity = {n["metadata"]["name"]: n["status"]["allocatable"] for n in session.api.get_list("/api/v1/nodes")}
    rows = []
    for item in _measured(session, f"{_METRICS}/nodes", name, selector):
        node = item["metadata"]["name"]
        cpu, memory = _usage(item["usage"])
        of = capacity.get(node, {"cpu": "1", "memory": "1"})
        share = [f"{used / quantity.parse(of[key]) * 100:.0f}%" for key, used in (("cpu", cpu), ("memory", memory))]
        rows.append((node, _millicores(cpu), share[0], _mebibytes(memory), share[1]))
    return table(("NAME", "CPU(cores)", "CPU(%)", "MEMORY(bytes)", "MEMORY(%)"), rows)


def _pods(session: Session, name: str, selector: str, everywhere: bool) -> str:
    path = f"{_METRICS}/pods" if everywhere else f"{_METRICS}/namespaces/{session.namespace}/pods"
    rows = []
    for item in _measured(session, path, name, selector):
        used = [_usage(c["usage"]) for c in item["containers"]]
        row = (
            item["metadata"]["name"],
            _millicores(sum((c for c, _ in used), Decimal())),
            _mebibytes(sum((m for _, m in used), Decimal())),
        )
        rows.append((item["metadata"]["namespace"], *row) if everywhere else row)
    header = ("NAME", "CPU(cores)", "MEMORY(bytes)")
    return table(("NAMESPACE", *header) if everywhere else header, rows)


def _usage(usage: dict[str, str]) -> tuple[Decimal, Decimal]:
    return quantity.parse(usage["cpu"]), quantity.parse(usage["memory"])


def _millicores(cores: Decimal) -> str:
    return f"{round(cores * 1000)}m"


def _mebibytes(size: Decimal) -> str:
    return f"{size / _MEBIBYTE:.0f}Mi"


def why(
    pod: Annotated[str, typer.Argument(metavar="POD")],
    namespace: Namespace = "",
) -> None:
    """Why a pod is where it is, or nowhere: what each node lacks, and the smallest change that would let it in."""
    session = Session(namespace)
    told = session.api.get(f"/kubeto/v1/namespaces/{session.namespace}/pods/{pod}/explain")
    print(f"{pod}: {told.get('state', '')}{' on ' + told['node'] if told.get('node') else ''}")
    if told.get("summary"):
        print(told["summary"])
    nodes = told.get("nodes", [])
    refused = [
        (n["node"], n.get("plugin", ""), n.get("reason", ""), n.get("detail", ""), n.get("remedy", ""))
        for n in nodes
        if not n.get("feasible")
    ]
    scored = sorted((n for n in nodes if n.get("feasible")), key=lambda n: -float(n.get("score", 0)))
    if scored:
        rows = [(n["node"], f"{float(n.get('score', 0)):.0f}", _scores(n)) for n in scored]
        print("\n" + table(("NODE", "SCORE", "FROM"), rows))
    if refused:
        print("\n" + table(("NODE", "REFUSED BY", "BECAUSE", "BY HOW MUCH", "WOULD FIT IF"), refused))


def _scores(node: Object) -> str:
    return ", ".join(f"{plugin} {float(score):.0f}" for plugin, score in sorted(node.get("scores", {}).items()))
