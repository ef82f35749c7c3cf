"""``audit.k8s.io/v1`` Policy: which requests are recorded, and how much of them. Pure but for ``load``."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

import yaml

from ..auth.authorizer import RequestAttributes

Object = Mapping[str, Any]


class Level(IntEnum):
    """How much is recorded; each has what the one before it has."""

    none, metadata, request, request_response = range(4)

    @property
    def text(self) -> str:
        return _LEVELS[self]


_LEVELS = ("None", "Metadata", "Request", "RequestResponse")
STAGES = ("RequestReceived", "ResponseStarted", "ResponseComplete", "Panic")
_POLICY_FIELDS = {"apiVersion", "kind", "metadata", "rules", "omitStages", "omitManagedFields"}
_LISTS = {"users", "userGroups", "verbs", "namespaces", "nonResourceURLs", "omitStages"}
_RULE_FIELDS = _LISTS | {"level", "resources", "omitManagedFields"}
_RESOURCE_FIELDS = {"group", "resources", "resourceNames"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is recorded of a request."""

    level: Level
    omitted: frozenset[str] = frozenset()
    omit_managed_fields: bool = False


NOTHING = Verdict(Level.none)


class Policy:
    def __init__(self, document: Object) -> None:
        """Raises ValueError for what is not a policy."""
        _check(document)
        self._rules: Sequence[Object] = document["rules"]
        self._omitted = frozenset(document.get("omitStages") or ())
        self._omit_managed = bool(document.get("omitManagedFields"))

    @classmethod
    def load(cls, path: str) -> "Policy":
        """Raises OSError, ValueError."""
        try:
            return cls(yaml.safe_load(Path(path).read_text()))
        except yaml.YAMLError as error:
            raise ValueError(f"{path}: {error}") from error
        except ValueError as error:
            raise ValueError(f"--audit-policy-file {path}: {error}") from error

    def verdict(self, a: RequestAttributes) -> Verdict:
        """The first rule that matches decides; nothing is recorded where none does."""
        for rule in self._rules:
            if matches(rule, a):
                managed = rule.get("omitManagedFields")
                omitted = self._omitted | frozenset(rule.get("omitStages") or ())
                level = Level(_LEVELS.index(rule["level"]))
                return Verdict(level, omitted, self._omit_managed if managed is None else managed)
        return NOTHING


def matches(rule: Object, a: RequestAttributes) -> bool:
    """Whether a rule is about a request: all of what it names must fit."""
    users, groups, verbs = rule.get("users"), rule.get("userGroups"), rule.get("verbs")
    if (users and a.user.name not in users) or (verbs and a.verb not in verbs):
        return False
    if groups and not any(group in groups for group in a.user.groups):
        return False
    if rule.get("namespaces") or rule.get("resources"):
        return bool(a.resource) and _resource(rule, a)
    if urls := rule.get("nonResourceURLs"):
        return not a.resource and any(
            url in ("*", a.path) or (url.endswith("*") and a.path.startswith(url[:-1])) for url in urls
        )
    return True


def _resource(rule: Object, a: RequestAttributes) -> bool:
    namespaces, wanted = rule.get("namespaces"), rule.get("resources")
    if namespaces and a.namespace not in namespaces:
        return False
    return not wanted or any(_group(part, a) for part in wanted)


def _group(part: Object, a: RequestAttributes) -> bool:
    if part.get("group", "") != a.group:
        return False
    names, resources = part.get("resourceNames"), part.get("resources")
    if names and a.name not in names:
        return False
    full = f"{a.resource}/{a.subresource}" if a.subresource else a.resource
    among = ("*", full, f"*/{a.subresource}", f"{a.resource}/*") if a.subresource else ("*", full)
    return not resources or any(resource in among for resource in resources)


def _check(document: object) -> None:
    if not isinstance(document, dict) or document.get("apiVersion") != "audit.k8s.io/v1":
        raise ValueError("expected a Policy of audit.k8s.io/v1")
    if document.get("kind") != "Policy" or not isinstance(document.get("rules"), list) or not document["rules"]:
        raise ValueError("expected a Policy with rules")
    _known_only("policy", document, _POLICY_FIELDS)
    _stages("policy", document.get("omitStages") or ())
    for index, rule in enumerate(document["rules"]):
        _check_rule(f"rules[{index}]", rule)


def _check_rule(where: str, rule: Object) -> None:
    _known_only(where, rule, _RULE_FIELDS)
    if rule.get("level") not in _LEVELS:
        raise ValueError(f"{where}.level: {rule.get('level')!r} is none of {', '.join(_LEVELS)}")
    if any(not isinstance(rule.get(key) or [], list) for key in (*_LISTS, "resources")):
        raise ValueError(f"{where}: all but level and omitManagedFields are lists")
    if rule.get("nonResourceURLs") and (rule.get("resources") or rule.get("namespaces")):
        raise ValueError(f"{where}: rules cannot apply to both regular resources and non-resource URLs")
    for part in rule.get("resources") or ():
        _known_only(f"{where}.resources", part, _RESOURCE_FIELDS)
    _stages(where, rule.get("omitStages") or ())


def _known_only(where: str, part: Object, fields: Iterable[str]) -> None:
    if not isinstance(part, dict) or (unknown := part.keys() - set(fields)):
        raise ValueError(f"{where}: unknown fields {sorted(unknown) if isinstance(part, dict) else part!r}")


def _stages(where: str, stages: Iterable[str]) -> None:
    if wrong := [stage for stage in stages if stage not in STAGES]:
        raise ValueError(f"{where}.omitStages: {wrong} are no stages")
