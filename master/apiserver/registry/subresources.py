"""What subresources take and answer: another kind than their resource's, and which verbs."""

from apimachinery.scheme import Kind

_READ_WRITE = ("get", "patch", "update")
_CONNECT = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")
_SUBRESOURCES: dict[str, tuple[str, str, str, tuple[str, ...]]] = {
    "attach": ("", "v1", "{}AttachOptions", _CONNECT),
    "binding": ("", "v1", "Binding", ("create",)),
    "eviction": ("policy", "v1", "Eviction", ("create",)),
    "exec": ("", "v1", "{}ExecOptions", _CONNECT),
    "log": ("", "v1", "{}", ("get",)),
    "portforward": ("", "v1", "{}PortForwardOptions", _CONNECT),
    "proxy": ("", "v1", "{}ProxyOptions", _PROXY),
    "scale": ("autoscaling", "v1", "Scale", _READ_WRITE),
    "token": ("authentication.k8s.io", "v1", "TokenRequest", ("create",)),
    "finalize": ("", "v1", "{}", ("update",)),
}
"""Group, version, kind ({} = the resource's) and verbs; those not here are of the resource's kind, read and write."""


def subresource_kind(kind: Kind, subresource: str) -> tuple[str, str, str, tuple[str, ...]]:
    """Group, version and kind of what a subresource takes, and its verbs."""
    own = (kind.group, kind.version, "{}", _READ_WRITE)
    group, version, name, verbs = _SUBRESOURCES.get(subresource, own) if subresource else own
    return group, version, name.format(kind.kind), verbs
