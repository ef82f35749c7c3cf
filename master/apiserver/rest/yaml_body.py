"""YAML bodies, read as the JSON that they stand for: keys are text, times too; aliases may not blow up.

Source: ``sigs.k8s.io/yaml``.
"""

import asyncio
from typing import Any

import orjson
import yaml

from apimachinery.errors import BadRequest
from apimachinery.schema import duplicate_fields

MAX_VALUES = 100_000
"""How many values a document may have once its aliases are written out. A 3 MiB object has fewer."""
MAX_DEPTH = 1_000
"""As deep as JSON may be."""
_IN_A_THREAD = 32 * 1024


async def parse_yaml(raw: bytes) -> tuple[Any, list[str]]:
    """What the text stands for, and ``line 6: key "a" already set in map`` for each key that a mapping gives again.

    Raises BadRequest. Most bodies are JSON, which is YAML; all else takes a second for a megabyte, and in a thread.
    """
    try:
        parsed = orjson.loads(raw)
        if not duplicate_fields(raw, parsed):
            return parsed, []
    except orjson.JSONDecodeError:
        pass
    return await asyncio.to_thread(construct, raw) if len(raw) > _IN_A_THREAD else construct(raw)


def construct(raw: bytes) -> tuple[Any, list[str]]:
    """Raises BadRequest."""
    try:
        _refuse_excess(raw)
        loader = _Loader(raw)
        try:
            node = loader.get_single_node()
            if node is None:
                return None, []
            if _size(node, {}) > MAX_VALUES:
                raise BadRequest("error converting YAML to JSON: document contains excessive aliasing")
            return loader.construct_document(node), _duplicates(node)
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError) as error:
        # The last two are how the library's constructors fail on what a tag says wrongly, such as "!!bool x".
        raise BadRequest(f"error converting YAML to JSON: {error}") from error


def _refuse_excess(raw: bytes) -> None:
    """libyaml's composer recurses in C and knows no end, and a short text can be many values. Raises BadRequest.

    Blocks are as deep as the longest line at most, and flows as there are brackets: most documents need no second look.
    """
    depth_bound = max(map(len, raw.splitlines()), default=0) + raw.count(b"[") + raw.count(b"{")
    if depth_bound < MAX_DEPTH and len(raw) < MAX_VALUES:
        return
    depth = 0
    for number, event in enumerate(yaml.parse(raw, _Loader)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise BadRequest("error converting YAML to JSON: yaml: exceeded max depth")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if number > 3 * MAX_VALUES:  # with their keys, and with the ends of collections
            raise BadRequest("error converting YAML to JSON: the document has too many values")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as JSON."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        if any(not isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", node.start_mark)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int | float:
    """A number, as in JSON: what has no 64 bits is a float. Raises ValueError."""
    value: int = yaml.constructor.SafeConstructor.construct_yaml_int(loader, node)
    try:
        return value if -(1 << 63) <= value < 1 << 64 else float(value)
    except OverflowError as error:
        raise ValueError("a number is out of range") from error


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in _Loader.yaml_implicit_resolvers.items()
}


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [value for _, value in node.value]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """Values with aliases written out."""
    if id(node) not in known:
        known[id(node)] = MAX_VALUES + 1  # what a node that contains itself comes to
        known[id(node)] = 1 + sum(_size(child, known) for child in _children(node))
    return known[id(node)]


def _duplicates(root: yaml.Node) -> list[str]:
    found: list[tuple[int, str]] = []
    todo, met = [root], set()
    while todo:
        node = todo.pop()
        if id(node) in met:
            continue
        met.add(id(node))
        todo += _children(node)
        if isinstance(node, yaml.MappingNode):
            found += _repeated(node)
    return [told for _, told in sorted(found)]


def _repeated(node: yaml.MappingNode) -> list[tuple[int, str]]:
    seen: set[str] = set()
    found = []
    for key, _ in node.value:
        line = key.start_mark.line + 1
        if key.value in seen:
            found.append((line, f'line {line}: key "{key.value}" already set in map'))
        seen.add(key.value)
    return found
