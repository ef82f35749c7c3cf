"""``kubeto get``: show objects as a table, JSON, YAML or by a template; ``-w`` follows changes."""

from typing import Annotated

import typer

from cli import printers
from cli.api import TABLE, Object
from cli.resources import Target, targets
from cli.session import AllNamespaces, FieldSelector, Namespace, Output, Selector, Session, selection


def get(
    words: Annotated[list[str], typer.Argument(metavar="TYPE[/NAME] [NAME...]")],
    namespace: Namespace = "",
    everywhere: AllNamespaces = False,
    selector: Selector = "",
    field_selector: FieldSelector = "",
    output: Output = "",
    watch: Annotated[bool, typer.Option("--watch", "-w", help="Go on showing changes.")] = False,
    no_headers: Annotated[bool, typer.Option("--no-headers", help="Leave the header line out.")] = False,
    show_labels: Annotated[bool, typer.Option("--show-labels", help="A last column with the labels.")] = False,
) -> None:
    """Show objects: 'kubeto get pods -A -o wide', 'kubeto get deploy/web -o yaml', 'kubeto get nodes -w'."""
    session = Session(namespace)
    wanted = targets(session.resources, words)
    query = selection(selector, field_selector)
    if output in ("", "wide"):
        view = _View(session, everywhere, output == "wide", no_headers, show_labels)
        view.tables(wanted, query, watch)
    else:
        _documents(session, wanted, query, everywhere, output)


class _View:
    """Tables of one ``get``."""

    def __init__(self, session: Session, everywhere: bool, wide: bool, no_headers: bool, labels: bool) -> None:
        self._session, self._everywhere = session, everywhere
        self._wide, self._header, self._labels = wide, not no_headers, labels

    def tables(self, wanted: list[Target], query: dict[str, str], watch: bool) -> None:
        shown = 0
        for target in wanted:
            printer = printers.TablePrinter(
                wide=self._wide,
                namespaces=self._everywhere and target.resource.namespaced,
                kinds=len(wanted) > 1,
                labels=self._labels,
                header=self._header,
            )
            shown += self._one(target, query, watch, printer, blank=shown > 0 and len(wanted) > 1)
        if not shown and not watch:
            where = "" if self._everywhere else f" in {self._session.namespace} namespace"
            namespaced = any(t.resource.namespaced for t in wanted)
            typer.echo(f"No resources found{where if namespaced else ''}.", err=True)

    def _one(
        self, target: Target, query: dict[str, str], watch: bool, printer: printers.TablePrinter, *, blank: bool
    ) -> int:
        path = self._session.path(target.resource, everywhere=self._everywhere)
        rows, version = 0, ""
        for name in target.names or ("",):
            answer = self._session.api.get(f"{path}/{name}" if name else path, query, TABLE)
            version = answer.get("metadata", {}).get("resourceVersion", "")
            if answer["rows"]:
                if blank and not rows:
                    print()
                printer.show(answer, target.resource)
            rows += len(answer["rows"])
        if watch:
            by_name = {"fieldSelector": f"metadata.name={target.names[0]}"} if target.names else {}
            for event in self._session.api.watch(path, {**query, **by_name, "resourceVersion": version}, TABLE):
                if event["type"] != "BOOKMARK":
                    printer.show(event["object"], target.resource)
        return rows


def _documents(session: Session, wanted: list[Target], query: dict[str, str], everywhere: bool, output: str) -> None:
    items: list[Object] = []
    for target in wanted:
        path = session.path(target.resource, everywhere=everywhere)
        if target.names:
            items += [session.api.get(f"{path}/{name}") for name in target.names]
            continue
        kind = {"apiVersion": target.resource.api_version, "kind": target.resource.kind}
        items += [{**kind, **item} for item in session.api.get_list(path, query)]
    if output == "name":
        for item in items:
            print(f"{session.resources.of_object(item).label}/{item['metadata']['name']}")
        return
    single = len(items) == 1 and len(wanted) == 1 and len(wanted[0].names) == 1
    document = items[0] if single else {"apiVersion": "v1", "kind": "List", "items": items}
    printers.show(document, output)
