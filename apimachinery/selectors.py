"""Label and field selectors: the text of a query, the JSON of a ``LabelSelector``, and what they match.

Source: ``k8s.io/apimachinery/pkg/labels/selector.go``, ``.../fields/selector.go`` and
``.../apis/meta/v1/helpers.go`` (LabelSelectorAsSelector).
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery import validation
from apimachinery.errors import BadRequest
from apimachinery.memo import memo

Labels = Mapping[str, str]
_TOKEN = re.compile(r"\s*(?:(==|=|!=|!|,|\(|\)|<|>)|([^\s,()!=<>]+))")
_OPERATORS = {"=": "In", "==": "In", "!=": "NotIn", "in": "In", "notin": "NotIn", ">": "Gt", "<": "Lt"}
_FROM_JSON = {"In": "In", "NotIn": "NotIn", "Exists": "Exists", "DoesNotExist": "DoesNotExist"}
_TEXT = {"In": "in", "NotIn": "notin"}


@dataclass(frozen=True, slots=True)
class Requirement:
    """One comma-separated part. ``operator`` is In, NotIn, Exists, DoesNotExist, Gt or Lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, labels: Labels) -> bool:
        have = labels.get(self.key)
        match self.operator:
            case "In":
                return have is not None and have in self.values
            case "NotIn":
                return have is None or have not in self.values
            case "Exists":
                return have is not None
            case "DoesNotExist":
                return have is None
        return have is not None and self._compares(have)

    def _compares(self, have: str) -> bool:
        (bound,) = self.values
        try:
            return int(have) > int(bound) if self.operator == "Gt" else int(have) < int(bound)
        except ValueError:
            return False

    def __str__(self) -> str:
        if self.operator in ("Exists", "DoesNotExist"):
            return self.key if self.operator == "Exists" else f"!{self.key}"
        values = sorted(self.values)
        if self.operator in ("Gt", "Lt"):
            return f"{self.key}{'>' if self.operator == 'Gt' else '<'}{values[0]}"
        if len(values) == 1:
            return f"{self.key}{'=' if self.operator == 'In' else '!='}{values[0]}"
        return f"{self.key} {_TEXT[self.operator]} ({','.join(values)})"


@dataclass(frozen=True, slots=True)
class LabelSelector:
    """Requirements that must all hold; none of them selects everything, ``nothing`` selects no object."""

    requirements: tuple[Requirement, ...] = ()
    nothing: bool = False

    def matches(self, labels: Labels | None) -> bool:
        have = labels or {}
        return not self.nothing and all(r.matches(have) for r in self.requirements)

    @property
    def everything(self) -> bool:
        return not self.nothing and not self.requirements

    def __str__(self) -> str:
        return ",".join(str(r) for r in self.requirements)


EVERYTHING = LabelSelector()
NOTHING = LabelSelector(nothing=True)


@memo(1024)
def parse_labels(text: str) -> LabelSelector:
    """A ``labelSelector`` query parameter. Raises BadRequest with upstream's beginning of the message."""
    tokens = _Tokens(text)
    requirements = []
    while tokens.peek():
        requirements.append(_requirement(tokens))
        if (sign := tokens.peek()) and tokens.next() != ",":
            raise BadRequest(f"found '{sign}', expected: ',' or 'end of string'")
        if not tokens.peek() and text.rstrip().endswith(","):
            raise tokens.error("found '', expected: identifier after ','")
    return LabelSelector(tuple(requirements))


def from_object(selector: Mapping[str, Any] | None) -> LabelSelector:
    """A ``metav1.LabelSelector``: None selects nothing, an empty one everything. Raises BadRequest."""
    if selector is None:
        return NOTHING
    pairs = (selector.get("matchLabels") or {}).items()
    parts = [Requirement(key, "In", frozenset((value,))) for key, value in sorted(pairs)]
    for expression in selector.get("matchExpressions") or ():
        operator = _FROM_JSON.get(expression.get("operator", ""))
        if operator is None:
            raise BadRequest(f'"{expression.get("operator", "")}" is not a valid label selector operator')
        parts.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return LabelSelector(tuple(parts))


def from_map(labels: Mapping[str, str] | None) -> LabelSelector:
    """The plain selector of a Service or ReplicationController; empty or None selects nothing, as their controllers
    take it."""
    if not labels:
        return NOTHING
    return LabelSelector(tuple(Requirement(k, "In", frozenset((v,))) for k, v in sorted(labels.items())))


class _Tokens:
    """The words and signs of a selector, with one of look-ahead."""

    def __init__(self, text: str) -> None:
        self.text = text
        self._tokens = list(self._split())
        self._at = 0

    def _split(self) -> Iterator[str]:
        position = 0
        end = len(self.text.rstrip())
        while position < end:
            match = _TOKEN.match(self.text, position)
            if match is None:
                raise self.error(f"unexpected character at {position}")
            yield match[1] or match[2]
            position = match.end()

    def peek(self) -> str:
        return self._tokens[self._at] if self._at < len(self._tokens) else ""

    def next(self) -> str:
        token = self.peek()
        self._at += 1
        return token

    def error(self, why: str) -> BadRequest:
        return BadRequest(f"unable to parse requirement: {why} in selector {self.text!r}")


def _requirement(tokens: _Tokens) -> Requirement:
    if tokens.peek() == "!":
        tokens.next()
        return Requirement(_key(tokens), "DoesNotExist")
    key = _key(tokens)
    if tokens.peek() in ("", ","):
        return Requirement(key, "Exists")
    word = tokens.next()
    operator = _OPERATORS.get(word)
    if operator is None:
        raise tokens.error(f"found {word!r}, expected: in, notin, =, ==, !=, >, <")
    values = _set(tokens) if word in ("in", "notin") else frozenset((_value(tokens),))
    if operator in ("Gt", "Lt") and not all(re.fullmatch("[+-]?[0-9]+", v) for v in values):
        raise tokens.error("for 'Gt', 'Lt' operators, the value must be an integer")
    return Requirement(key, operator, values)


def _key(tokens: _Tokens) -> str:
    key = tokens.next()
    problems = validation.qualified_name(key)
    if problems:
        raise BadRequest(f'unable to parse requirement: <nil>: Invalid value: "{key}": {"; ".join(problems)}')
    return key


def _value(tokens: _Tokens) -> str:
    value = "" if tokens.peek() in ("", ",", ")") else tokens.next()
    problems = validation.label_value(value)
    if problems:
        raise BadRequest(
            f'unable to parse requirement: values[0][{value}]: Invalid value: "{value}": {"; ".join(problems)}'
        )
    return value


def _set(tokens: _Tokens) -> frozenset[str]:
    if tokens.next() != "(":
        raise tokens.error("expected '('")
    values = [_value(tokens)]
    while (sign := tokens.next()) == ",":
        values.append(_value(tokens))
    if sign != ")":
        raise tokens.error(f"found {sign!r}, expected: ',' or ')'")
    return frozenset(values)


@dataclass(frozen=True, slots=True)
class FieldTerm:
    field: str
    value: str
    equal: bool = True


@dataclass(frozen=True, slots=True)
class FieldSelector:
    """Terms that must all hold. Which fields exist is the kind's matter: see ``Strategy.field_labels``."""

    terms: tuple[FieldTerm, ...] = ()

    def matches(self, value_of: Callable[[str], str]) -> bool:
        """``value_of`` gives a field's text; an absent field is ``""``."""
        return all((value_of(t.field) == t.value) == t.equal for t in self.terms)

    def required(self, field: str) -> str | None:
        """The only value this field may have, or None: lets a reader go straight to one object."""
        return next((t.value for t in self.terms if t.field == field and t.equal), None)

    def __str__(self) -> str:
        return ",".join(f"{t.field}{'=' if t.equal else '!='}{_escape(t.value)}" for t in self.terms)


def _escape(value: str) -> str:
    return re.sub(r"([\\,=])", r"\\\1", value)


@memo(1024)
def parse_fields(text: str) -> FieldSelector:
    """A ``fieldSelector`` query parameter. Raises BadRequest."""
    return FieldSelector(tuple(_field_term(part, text) for part in _split_terms(text) if part))


def _split_terms(text: str) -> list[str]:
    return [part.strip() for part in re.split(r"(?<!\\)(?:(?<=\\\\))?,", text)]


def _field_term(part: str, text: str) -> FieldTerm:
    match = re.match(r"((?:[^\\=!]|\\.)+)(!=|==|=)(.*)$", part, re.DOTALL)
    if match is None:
        raise BadRequest(f"invalid selector: '{text}'; can't understand '{part}'")
    field, sign, value = match.groups()
    if re.search(r"(?<!\\)=", value.replace("\\\\", "")):
        raise BadRequest(f"invalid field selector: {value}: unescaped '='")
    return FieldTerm(field, re.sub(r"\\([\\,=])", r"\1", value), sign != "!=")
