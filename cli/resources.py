"""What a person's word for a resource means: ``po``, ``pods``, ``deploy/web``, ``deployments.apps``.

The words come from the server's discovery, so custom resources have theirs as well.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from cli.api import Api, Object
from cli.refusal import Refusal

_AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"


class UnknownResource(Refusal):
    """The server has no resource by that name."""


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource type as discovery tells it."""

    group: str
    version: str
    kind: str
    plural: str
    singular: str
    namespaced: bool
    short_names: tuple[str, ...]
    categories: tuple[str, ...]
    verbs: tuple[str, ...]

    @property
    def full_name(self) -> str:
        """``pods`` or ``deployments.apps``."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def label(self) -> str:
        """``pod`` or ``deployment.apps``: how messages name an object of it."""
        return f"{self.singular}.{self.group}" if self.group else self.singular

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join([f"{root}{scope}", *(p for p in (self.plural, name, subresource) if p)])

    def answers_to(self, word: str) -> bool:
        return word in (self.plural, self.singular, self.kind.lower(), self.full_name, self.label, *self.short_names)


class Resources:
    """All resource types of a cluster, asked for once."""

    def __init__(self, api: Api) -> None:
        self._api = api

    @cached_property
    def all(self) -> list[Resource]:
        return [r for root in ("/api", "/apis") for r in _discovered(self._api.get(root, accept=_AGGREGATED))]

    def find(self, word: str) -> list[Resource]:
        """The resource types of a word: one, or those of a category such as ``all``. Raises UnknownResource."""
        lowered = word.lower()
        for resource in self.all:
            if resource.answers_to(lowered):
                return [resource]
        if members := [r for r in self.all if lowered in r.categories and "list" in r.verbs]:
            return members
        raise UnknownResource(f'the server doesn\'t have a resource type "{word}"')

    def one(self, word: str) -> Resource:
        return self.find(word)[0]

    def of_object(self, document: Object) -> Resource:
        """The type of an object by its apiVersion and kind. Raises UnknownResource."""
        api_version, kind = document.get("apiVersion", ""), document.get("kind", "")
        for resource in self.all:
            if (resource.api_version, resource.kind) == (api_version, kind):
                return resource
        raise UnknownResource(f'no matches for kind "{kind}" in version "{api_version}"')


def _discovered(groups: Object) -> Iterator[Resource]:
    for group in groups["items"]:
        for version in group.get("versions", ()):
            for r in version.get("resources", ()):
                yield Resource(
                    group=group.get("metadata", {}).get("name", ""),
                    version=version["version"],
                    kind=r["responseKind"]["kind"],
                    plural=r["resource"],
                    singular=r.get("singularResource", ""),
                    namespaced=r.get("scope") == "Namespaced",
                    short_names=tuple(r.get("shortNames", ())),
                    categories=tuple(r.get("categories", ())),
                    verbs=tuple(r.get("verbs", ())),
                )


@dataclass(frozen=True, slots=True)
class Target:
    """What the arguments of a verb name: objects of one type, or all of it where ``names`` is empty."""

    resource: Resource
    names: tuple[str, ...]


def targets(resources: Resources, words: list[str]) -> list[Target]:
    """Read ``TYPE``, ``TYPE NAME...``, ``TYPE/NAME ...`` and ``TYPE,TYPE`` as kubectl does."""
    if not words:
        raise UnknownResource("name a resource, as in 'pods' or 'deployment/web'")
    if any("/" in word for word in words):
        pairs = [word.split("/", 1) for word in words]
        if any(len(pair) != 2 for pair in pairs):
            raise UnknownResource("there is no need to give a resource type when all arguments are TYPE/NAME")
        return [Target(resources.one(pair[0]), (pair[1],)) for pair in pairs]
    kinds = [r for word in words[0].split(",") for r in resources.find(word)]
    return [Target(kind, tuple(words[1:])) for kind in kinds]
