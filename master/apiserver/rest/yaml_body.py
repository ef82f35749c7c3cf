"""YAML bodies, read as the JSON that they stand for: keys are text, times too; aliases may not blow up.

Source: ``sigs.k8s.io/yaml``.
"""

from typing import Any

import yaml

from apimachinery.errors import BadRequest

MAX_VALUES = 100_000
"""How many values a document may have once its aliases are written out. A 3 MiB object has fewer."""


def parse_yaml(raw: bytes) -> Any:
    """Raises BadRequest."""
    return _construct(raw)[0]


def parse_strictly(raw: bytes) -> tuple[Any, list[str]]:
    """Also ``line 6: key "a" already set in map`` for each key that a mapping gives again. Raises BadRequest."""
    return _construct(raw)


def _construct(raw: bytes) -> tuple[Any, list[str]]:
    try:
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
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise BadRequest(f"error converting YAML to JSON: {error}") from error


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML as JSON."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[str, Any]:
        self.flatten_mapping(node)
        if any(not isinstance(key, yaml.ScalarNode) for key, _ in node.value):
            raise yaml.constructor.ConstructorError(None, None, "a key must be a scalar", node.start_mark)
        return {key.value: self.construct_object(value, deep=deep) for key, value in node.value}


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
