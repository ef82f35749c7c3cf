"""The objects that parameterize a policy, as one of its bindings names them."""

from typing import Any

from apimachinery.errors import BadRequest
from apimachinery.scheme import Kind
from apimachinery.selectors import from_object

from ...registry.reader import Reader
from ..forms import Forms
from .source import ConfigurationError

Object = dict[str, Any]


async def collect(reader: Reader, forms: Forms, policy: Object, binding: Object, namespace: str) -> list[Object | None]:
    """One evaluation takes place for each; ``[None]`` where there is no parameter to take, ``[]`` where none was found
    and that is allowed. ``namespace`` is the request's. Raises ConfigurationError."""
    wanted, reference = policy["spec"].get("paramKind"), binding["spec"].get("paramRef")
    if wanted is None or reference is None:
        return [None]
    kind = forms.catalog.scheme.by_kind(wanted.get("apiVersion", ""), wanted.get("kind", ""))
    if kind is None:
        told = f"{wanted.get('apiVersion')}, Kind={wanted.get('kind')}"
        raise ConfigurationError(
            f"failed to configure policy: failed to find resource referenced by paramKind: '{told}'"
        )
    found = await _find(reader, kind, reference, _namespace(kind, reference, namespace))
    if not found and reference.get("parameterNotFoundAction") == "Deny":
        told = "no params found for policy binding with `Deny` parameterNotFoundAction"
        raise ConfigurationError(f"failed to configure binding: {told}")
    return [{**p, "apiVersion": kind.api_version, "kind": kind.kind} for p in found]


def _namespace(kind: Kind, reference: Object, namespace: str) -> str:
    own = reference.get("namespace") or ""
    if not kind.namespaced:
        if own:
            told = "paramRef.namespace must not be provided for a cluster-scoped `paramKind`"
            raise ConfigurationError(f"failed to configure binding: {told}")
        return ""
    if not own and not namespace:
        told = "cannot use namespaced paramRef in policy binding that matches cluster-scoped resources"
        raise ConfigurationError(f"failed to configure binding: {told}")
    return own or namespace


async def _find(reader: Reader, kind: Kind, reference: Object, namespace: str) -> list[Object]:
    name = reference.get("name")
    if name:
        one = reader.get(kind, namespace, name) or await reader.get_consistent(kind, namespace, name)
        return [one] if one is not None else []
    try:
        selector = from_object(reference.get("selector") or {})
    except BadRequest as error:
        raise ConfigurationError(f"failed to configure binding: {error}") from error
    return [o for o in reader.list(kind, namespace) if selector.matches(o["metadata"].get("labels"))]
