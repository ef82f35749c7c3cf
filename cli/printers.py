"""How objects are shown: the server's tables, JSON, YAML, names, JSONPath and custom columns."""

import sys
from collections.abc import Sequence
from typing import Any

import orjson
import yaml

from cli import jsonpath
from cli.api import Object
from cli.refusal import Refusal
from cli.resources import Resource

_GAP = "   "


class BadOutput(Refusal):
    """An output format that does not exist."""


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Left-aligned columns three spaces apart, as kubectl prints them."""
    lines = [list(header), *map(list, rows)] if header else [list(r) for r in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))] if lines else []
    return "\n".join(_GAP.join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip() for line in lines)


class TablePrinter:
    """Prints tables that the server made; keeps column widths steady while watching."""

    def __init__(self, *, wide: bool, namespaces: bool, kinds: bool, labels: bool, header: bool = True) -> None:
        self._wide, self._namespaces, self._kinds, self._labels = wide, namespaces, kinds, labels
        self._header = header
        self._widths: list[int] = []

    def show(self, answer: Object, resource: Resource) -> None:
        """Print one server-made Table; the header only the first time."""
        columns = [i for i, c in enumerate(answer["columnDefinitions"]) if self._wide or not c.get("priority")]
        header = [answer["columnDefinitions"][i]["name"].upper() for i in columns]
        rows = [self._row(row, columns, resource) for row in answer["rows"]]
        if self._namespaces:
            header.insert(0, "NAMESPACE")
        if self._labels:
            header.append("LABELS")
        self._print(header if self._header else [], rows)
        self._header = False

    def _row(self, row: Object, columns: list[int], resource: Resource) -> list[str]:
        cells = [_cell(row["cells"][i]) for i in columns]
        metadata = row.get("object", {}).get("metadata", {})
        if self._kinds:
            cells[0] = f"{resource.label}/{cells[0]}"
        if self._namespaces:
            cells.insert(0, metadata.get("namespace", ""))
        if self._labels:
            cells.append(",".join(f"{k}={v}" for k, v in sorted(metadata.get("labels", {}).items())) or "<none>")
        return cells

    def _print(self, header: list[str], rows: list[list[str]]) -> None:
        lines = [header, *rows] if header else rows
        for line in lines:
            self._widths += [0] * (len(line) - len(self._widths))
            self._widths = [max(w, len(c)) for w, c in zip(self._widths, line, strict=True)]
        for line in lines:
            print(_GAP.join(c.ljust(w) for c, w in zip(line, self._widths, strict=True)).rstrip(), flush=True)


def _cell(value: Any) -> str:
    return "<none>" if value is None else str(value)


def show(document: Object, output: str) -> None:
    """Print an object or a List as ``json``, ``yaml``, ``name``, ``jsonpath=…`` or ``custom-columns=…``."""
    form, _, argument = output.partition("=")
    if form == "json":
        sys.stdout.write(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode() + "\n")
    elif form == "yaml":
        sys.stdout.write(yaml.safe_dump(document, sort_keys=False, allow_unicode=True))
    elif form == "jsonpath":
        sys.stdout.write(jsonpath.render(argument, document))
    elif form == "custom-columns":
        print(_custom_columns(document, argument))
    else:
        raise BadOutput(f'unknown output format "{output}": json, yaml, name, wide, jsonpath=…, custom-columns=…')


def _custom_columns(document: Object, argument: str) -> str:
    items = document.get("items", [document])
    columns = [column.partition(":") for column in argument.split(",")]
    rows = [[jsonpath.render(path, item) or "<none>" for _, _, path in columns] for item in items]
    return table([name for name, _, _ in columns], rows)
