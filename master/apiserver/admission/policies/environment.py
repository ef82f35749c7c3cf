"""What an expression of a policy, or a match condition, may name, with types.

Source: ``k8s.io/apiserver/pkg/admission/plugin/cel/compile.go`` and ``composition.go``.
"""

from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING

from apimachinery import cel

if TYPE_CHECKING:
    from apimachinery.cel.messages import Messages
    from apimachinery.cel.program import Program

AUTHORIZER: Mapping[str, cel.CelType] = {
    "authorizer": "kubernetes.authorization.Authorizer",
    "authorizer.requestResource": "kubernetes.authorization.ResourceCheck",
}
_GROUP_VERSION = {"group": "string", "version": "string"}
_METADATA = {
    "name": "string",
    "generateName": "string",
    "namespace": "string",
    "labels": "map<string, string>",
    "annotations": "map<string, string>",
    "UID": "string",
    "creationTimestamp": "timestamp",
    "deletionGracePeriodSeconds": "int",
    "deletionTimestamp": "timestamp",
    "generation": "int",
    "resourceVersion": "string",
    "finalizers": "list<string>",
}
_CONDITION = dict.fromkeys(("status", "type", "message", "reason"), "string") | {"lastTransitionTime": "timestamp"}


def declare(messages: "Messages") -> dict[str, cel.CelType]:
    """The variables that every expression has, but for the objects; their types are added to ``messages``."""

    def make(name: str, fields: Mapping[str, cel.CelType]) -> cel.CelType:
        return messages.add(messages.reserve(name), fields)

    kind = make("GroupVersionKind", {**_GROUP_VERSION, "kind": "string"})
    resource = make("GroupVersionResource", {**_GROUP_VERSION, "resource": "string"})
    user = make("UserInfo", {
        "username": "string", "uid": "string", "groups": "list<string>", "extra": "map<string, dyn>"
    })  # fmt: skip
    request = make("AdmissionRequest", {
        "kind": kind, "resource": resource, "subResource": "string",
        "requestKind": kind, "requestResource": resource, "requestSubResource": "string",
        "name": "string", "namespace": "string", "operation": "string",
        "userInfo": user, "dryRun": "bool", "options": "dyn",
    })  # fmt: skip
    condition = make("NamespaceCondition", _CONDITION)
    namespace = make("Namespace", {
        "metadata": make("NamespaceMetadata", _METADATA),
        "spec": make("NamespaceSpec", {"finalizers": "list<string>"}),
        "status": make("NamespaceStatus", {"conditions": f"list<{condition}>", "phase": "string"}),
    })  # fmt: skip
    return {"request": request, "namespaceObject": namespace}


@cache
def _shared() -> tuple["Messages", dict[str, cel.CelType]]:
    """What all expressions share that have no types of their own."""
    from apimachinery.cel.messages import Messages

    messages = Messages()
    return messages, declare(messages)


class Environment:
    """Compiles the expressions of one policy; variables that were defined may be named in those after them.

    ``objects`` is the type of ``object`` and ``oldObject``, ``params`` that of ``params`` ("": there are none), with
    the ``messages`` that they are from. ``patches``: expressions may make ``Object{}`` and ``JSONPatch{}``.
    """

    def __init__(
        self,
        *,
        params: cel.CelType = "",
        objects: cel.CelType = "dyn",
        messages: "Messages | None" = None,
        composed: bool = False,
        patches: bool = False,
    ) -> None:
        if messages is None and not (composed or patches):
            self._messages, common = _shared()
        else:
            from apimachinery.cel.messages import Messages

            self._messages = messages or Messages()
            common = declare(self._messages)
        self._variables = {"object": objects, "oldObject": objects, **common}
        if params:
            self._variables["params"] = params
        self._patches = patches
        self._composed: dict[str, cel.CelType] = {}
        if composed:
            self._compose()

    def define(self, name: str, expression: str) -> "Program":
        """A variable. Raises CompilationError; its type is then not known, but the name is."""
        self._composed[name] = "dyn"
        try:
            program = self.compile(expression)
            self._composed[name] = program.result
        finally:
            self._compose()
        return program

    def _compose(self) -> None:
        full = self._messages.reserve("Variables")
        self._variables["variables"] = self._messages.add(full, self._composed)

    def compile(self, expression: str, result: cel.CelType = "", *, authorizer: bool = True) -> "Program":
        """Raises CompilationError."""
        variables = {**self._variables, **AUTHORIZER} if authorizer else self._variables
        if self._patches:
            from apimachinery.cel import patch_types

            return patch_types.compile_patch(expression, variables, result, self._messages)
        return cel.compile(expression, variables, result=result, messages=self._messages)
