"""Where objects live in etcd: ``/registry/<group>/<resource>/<namespace>/<name>``, the core group without its name.

A *bucket* is the part between the prefix and the namespace, such as ``pods/`` or ``apps/deployments/``: all served
versions of a kind, and both groups that serve events, share one.
"""

from dataclasses import dataclass

from apimachinery import scheme
from apimachinery.scheme import Kind

# As upstream's names in etcd, which are older than the resources'.
_SPECIAL = {
    ("", "services"): "services/specs/",
    ("", "endpoints"): "services/endpoints/",
    ("", "nodes"): "minions/",
    ("events.k8s.io", "events"): "events/",
}
_CORE = (frozenset(k.resource for k in scheme.CORE) | {"minions"}) - {"services", "endpoints", "nodes"}


def bucket_of(kind: Kind) -> str:
    special = _SPECIAL.get((kind.group, kind.resource))
    if special:
        return special
    return f"{kind.group}/{kind.resource}/" if kind.group else f"{kind.resource}/"


@dataclass(frozen=True, slots=True)
class KeySpace:
    """``root`` is ``--etcd-prefix`` with a slash at its end."""

    root: str

    def key(self, kind: Kind, namespace: str, name: str) -> str:
        return self.root + bucket_of(kind) + local_key(namespace, name)

    def split(self, key: str) -> tuple[str, str]:
        """Bucket and local key (``namespace/name`` or ``name``). A key of another shape has an empty local key."""
        rest = key[len(self.root) :]
        first, _, after = rest.partition("/")
        if first in _CORE:
            return first + "/", after
        second, _, local = after.partition("/")
        return f"{first}/{second}/", local


def local_key(namespace: str, name: str) -> str:
    return f"{namespace}/{name}" if namespace else name
