"""The paths of a kind: what clients read to learn that dryRun, fieldValidation and apply are served."""

from collections.abc import Callable, Mapping
from typing import Any

from apimachinery.scheme import Kind

from .definitions import Version, reference

Object = dict[str, Any]
Names = Mapping[tuple[str, str, str], str]

_PATCHES = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
    "application/strategic-merge-patch+json",
)
_DRY_RUN = ("dryRun", "string", "When present, indicates that modifications should not be persisted.")
_MANAGER = ("fieldManager", "string", "The name of the actor that is making these changes.")
_VALIDATION = ("fieldValidation", "string", "How unknown and duplicate fields are handled: Ignore, Warn or Strict.")
_WRITE = (_DRY_RUN, _MANAGER, _VALIDATION)
_LIST = (
    ("allowWatchBookmarks", "boolean", "Ask for BOOKMARK events."),
    ("continue", "string", "Where to continue a list that came in parts."),
    ("fieldSelector", "string", "Restrict the list by fields."),
    ("labelSelector", "string", "Restrict the list by labels."),
    ("limit", "integer", "The largest number of items in one answer."),
    ("resourceVersion", "string", "How fresh the answer must be."),
    ("resourceVersionMatch", "string", "How resourceVersion is applied."),
    ("sendInitialEvents", "boolean", "Begin a watch with what is there."),
    ("timeoutSeconds", "integer", "How long a watch may last."),
    ("watch", "boolean", "Watch for changes instead of listing."),
)
_DELETE = (
    _DRY_RUN,
    ("gracePeriodSeconds", "integer", "Seconds before the object should be deleted."),
    ("orphanDependents", "boolean", "Deprecated: use propagationPolicy."),
    ("propagationPolicy", "string", "Orphan, Background or Foreground."),
)
_FORCE = ("force", "boolean", "Take over fields of other managers: apply only.")
_PATH = {
    "name": "The name of the object.",
    "namespace": "The namespace of the object.",
}
Parameter = tuple[str, str, str]
_VERBS = {"put": "update"}
_META = "io.k8s.apimachinery.pkg.apis.meta.v1."


class PathWriter:
    """Writes the paths of kinds in one version of OpenAPI. ``subresource_kind`` is discovery's; ``strategic`` tells
    whether strategic merge patches are taken."""

    def __init__(
        self, version: Version, names: Names, subresource_kind: Callable[..., Any], *, strategic: bool = True
    ) -> None:
        self._version = version
        self._patches = _PATCHES if strategic else _PATCHES[:-1]
        self._names = names
        self._subresource_kind = subresource_kind

    def paths(self, kind: Kind) -> dict[str, Object]:
        """Every path of a kind: collection, object, subresources."""
        namespace = "{namespace}" if kind.namespaced else ""
        gvk = (kind.group, kind.version, kind.kind)
        collection = kind.path(namespace)
        out = {collection: self._collection(kind, gvk)}
        if kind.namespaced and "list" in kind.verbs:
            out[kind.path()] = {"get": self._list(kind)}
        if "get" in kind.verbs:
            served = self._object(gvk, delete="delete" in kind.verbs)
            out[kind.path(namespace, "{name}")] = {m: o for m, o in served.items() if _VERBS.get(m, m) in kind.verbs}
        for sub in kind.subresources:
            if served := self._subresource(kind, sub):
                out[kind.path(namespace, "{name}", sub)] = served
        for path, item in out.items():
            item["parameters"] = [
                self._parameter((p, "string", d), "path") for p, d in _PATH.items() if f"{{{p}}}" in path
            ]
        return out

    def _collection(self, kind: Kind, gvk: tuple[str, str, str]) -> Object:
        out: Object = {}
        if "list" in kind.verbs:
            out["get"] = self._list(kind)
        if "create" in kind.verbs:
            out["post"] = self._operation("post", gvk, _WRITE, body=gvk)
        if "deletecollection" in kind.verbs:
            out["delete"] = self._operation("deletecollection", gvk, (*_DELETE, *_LIST), answer=f"{_META}Status")
        return out

    def _list(self, kind: Kind) -> Object:
        answer = self._names.get((kind.group, kind.version, kind.list_kind), "")
        return self._operation("list", (kind.group, kind.version, kind.kind), _LIST, answer=answer)

    def _object(self, gvk: tuple[str, str, str], *, delete: bool = False) -> Object:
        out = {
            "get": self._operation("get", gvk, ()),
            "put": self._operation("put", gvk, _WRITE, body=gvk),
            "patch": self._operation("patch", gvk, (*_WRITE, _FORCE), patch=True),
        }
        if delete:
            out["delete"] = self._operation("delete", gvk, _DELETE, answer=f"{_META}Status")
        return out

    def _subresource(self, kind: Kind, sub: str) -> Object:
        group, version, name, verbs = self._subresource_kind(kind, sub)
        gvk = (group, version, name)
        if gvk not in self._names:
            return {}  # connections take no objects
        if verbs == ("create",):
            return {"post": self._operation("post", gvk, _WRITE, body=gvk)}
        if "patch" in verbs:
            return self._object(gvk)
        return {}

    def _operation(
        self,
        action: str,
        gvk: tuple[str, str, str],
        parameters: tuple[Parameter, ...],
        *,
        body: tuple[str, str, str] | None = None,
        answer: str = "",
        patch: bool = False,
    ) -> Object:
        group, version, kind = gvk
        schema = self._reference(answer or self._names.get(gvk, ""))
        operation: Object = {
            "description": f"{action} {kind}",
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": {"group": group, "version": version, "kind": kind},
            "parameters": [self._parameter(p, "query") for p in parameters],
            "responses": {"200": {"description": "OK"} | self._content(schema)},
        }
        if patch:
            self._set_body(operation, self._reference(f"{_META}Patch"), self._patches)
        elif body is not None:
            self._set_body(
                operation, self._reference(self._names.get(body, "")), ("application/json", "application/yaml")
            )
        return operation

    def _reference(self, name: str) -> Object:
        return reference(name, self._version) if name else {"type": "object"}

    def _content(self, schema: Object) -> Object:
        return {"schema": schema} if self._version == "v2" else {"content": {"application/json": {"schema": schema}}}

    def _set_body(self, operation: Object, schema: Object, media: tuple[str, ...]) -> None:
        if self._version == "v2":
            operation["consumes"] = list(media)
            operation["parameters"].append({"name": "body", "in": "body", "required": True, "schema": schema})
        else:
            operation["requestBody"] = {"required": True, "content": {m: {"schema": schema} for m in media}}

    def _parameter(self, parameter: Parameter, place: str) -> Object:
        name, kind, description = parameter
        out: Object = {"name": name, "in": place, "description": description, "uniqueItems": True}
        if place == "path":
            out["required"] = True
        if self._version == "v2":
            return out | {"type": kind}
        del out["uniqueItems"]
        return out | {"schema": {"type": kind, "uniqueItems": True}}
