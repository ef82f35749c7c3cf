"""What aggregated API servers say of themselves: their resources, for discovery, and their OpenAPI documents."""

from collections.abc import Mapping
from typing import Any

import orjson

from .conversion import to_v3

Object = dict[str, Any]
GroupVersion = tuple[str, str]


class Documents:
    """Filled by ``availability``; the last that was heard stays while a server is away. ``revision`` grows with every
    change."""

    def __init__(self) -> None:
        self.revision = 0
        self._resources: dict[GroupVersion, Object] = {}
        self._openapi_v3: dict[str, bytes] = {}
        self._openapi_v2: dict[GroupVersion, Object] = {}
        self._converted: set[GroupVersion] = set()
        """Whose version 3 is made of their version 2: they were never heard to have their own."""

    def resources(self, group: str, version: str) -> Object | None:
        """The APIResourceList of a group version."""
        return self._resources.get((group, version))

    def openapi_v3(self) -> Mapping[str, bytes]:
        """By name, such as ``apis/wardle.example.com/v1``."""
        return self._openapi_v3

    def openapi_v2(self) -> list[Object]:
        """Documents to be merged into ours: paths and definitions."""
        return list(self._openapi_v2.values())

    def heard(self, of: GroupVersion, resources: Object, v3: bytes | None, v2: Object | None) -> None:
        name = f"apis/{of[0]}/{of[1]}"
        if v3 is not None:
            self._converted.discard(of)
        elif v2 is not None and (of in self._converted or name not in self._openapi_v3):
            self._converted.add(of)
            v3 = orjson.dumps(to_v3(v2))
        told = (resources, v3, v2)
        if told == (self._resources.get(of), self._openapi_v3.get(name), self._openapi_v2.get(of)):
            return
        self._resources[of] = resources
        if v3 is not None:
            self._openapi_v3[name] = v3
        if v2 is not None:
            self._openapi_v2[of] = v2
        self.revision += 1

    def keep_only(self, served: set[GroupVersion]) -> None:
        """Forget group versions that have no APIService any more."""
        gone = self._resources.keys() - served
        for of in gone:
            del self._resources[of]
            self._openapi_v3.pop(f"apis/{of[0]}/{of[1]}", None)
            self._openapi_v2.pop(of, None)
            self._converted.discard(of)
        self.revision += bool(gone)


def part_of(document: bytes, of: GroupVersion) -> Object:
    """Of an OpenAPI document of version 2: the paths of a group version, and all definitions and parameters."""
    whole: Object = orjson.loads(document)
    prefix = f"/apis/{of[0]}/{of[1]}/"
    paths = {p: v for p, v in (whole.get("paths") or {}).items() if p.startswith(prefix)}
    return {"paths": paths, **{key: whole.get(key) or {} for key in ("definitions", "parameters")}}


def merged(own: bytes, others: list[Object]) -> bytes:
    """Our document of version 2 with the others' paths and definitions; where both have one, ours stays."""
    whole: Object = orjson.loads(own)
    for other in others:
        for key in ("paths", "definitions", "parameters"):
            if both := other[key] | whole.get(key, {}):
                whole[key] = both
    return orjson.dumps(whole)


def aggregated_resources(listed: Object) -> list[Object]:
    """The resources of a classic APIResourceList in the form of the aggregated document, where a group and version that
    are not told are those of the list."""
    found: dict[str, Object] = {}
    for resource in listed.get("resources") or ():
        name, _, subresource = str(resource.get("name", "")).partition("/")
        kind = {
            "group": resource.get("group", ""),
            "version": resource.get("version", ""),
            "kind": resource.get("kind", ""),
        }
        verbs = list(resource.get("verbs") or ())
        if subresource:
            made: Object = {"subresource": subresource, "responseKind": kind, "verbs": verbs}
            if name in found:
                found[name].setdefault("subresources", []).append(made)
            continue
        found[name] = {
            "resource": name,
            "responseKind": kind,
            "scope": "Namespaced" if resource.get("namespaced") else "Cluster",
            "singularResource": resource.get("singularName", ""),
            "verbs": verbs,
            **{k: resource[k] for k in ("shortNames", "categories") if resource.get(k)},
        }
    return list(found.values())
