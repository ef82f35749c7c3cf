"""Objects in files: YAML or JSON, one or many documents, Lists unrolled, folders and standard input."""

import sys
from collections.abc import Iterator
from pathlib import Path

import yaml

from cli.api import Object
from cli.refusal import Refusal

_SUFFIXES = (".yaml", ".yml", ".json")


class BadManifest(Refusal):
    """A file that is not there or not a manifest; the message names it and the line."""


def read(names: list[str]) -> list[Object]:
    """Every object in the files, in order. Raises BadManifest."""
    if not names:
        raise BadManifest("name a file with -f, or - for standard input")
    found = [document for name in names for source, text in _texts(name) for document in _objects(source, text)]
    if not found:
        raise BadManifest(f"no objects in {', '.join(names)}")
    return found


def _texts(name: str) -> Iterator[tuple[str, str]]:
    if name == "-":
        yield "standard input", sys.stdin.read()
        return
    path = Path(name)
    try:
        files = sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES) if path.is_dir() else [path]
        for file in files:
            yield str(file), file.read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise BadManifest(f"cannot read {name}: {error}") from error


def _objects(source: str, text: str) -> Iterator[Object]:
    try:
        documents = list(yaml.load_all(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))
    except yaml.YAMLError as error:
        raise BadManifest(f"{source} is not YAML: {error}") from error
    for document in documents:
        if document is None:
            continue
        if not isinstance(document, dict) or "kind" not in document or "apiVersion" not in document:
            raise BadManifest(f"{source}: an object needs apiVersion and kind")
        if document["kind"] == "List":
            yield from document.get("items", [])
        else:
            yield document
