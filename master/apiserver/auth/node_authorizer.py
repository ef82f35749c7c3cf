"""The node authorizer: a node agent may touch its own objects and what the pods bound to it name, no more.

Which of its fields a node may write is the business of the NodeRestriction admission plugin. A node's other reads
(services, endpoint slices, all nodes: its service proxy, DNS and routes run in the same process) come from RBAC, by
``system:node-proxier``.

Source: https://kubernetes.io/docs/reference/access-authn-authz/node/
"""

from collections import OrderedDict

from apimachinery import scheme
from apimachinery.csi import VOLUME_ATTACHMENTS
from apimachinery.scheme import Kind

from ..registry.reader import Reader
from .authorizer import Decision, RequestAttributes
from .pod_references import references
from .rbac_rules import Rule
from .user import User

NODES_GROUP = "system:nodes"
NODE_PREFIX = "system:node:"
LEASE_NAMESPACE = "kube-node-lease"
_REMEMBERED = 50_000
_NODE_SECRETS = ("nodePublishSecretRef", "nodeStageSecretRef", "nodeExpandSecretRef")
_READ = ("get", "list", "watch")

ALLOWED = Decision(True)
NO_OPINION = Decision(False)


def node_name(user: User) -> str:
    """The name of the node that ``user`` is, or "" if it is none."""
    if user.name.startswith(NODE_PREFIX) and NODES_GROUP in user.groups:
        return user.name.removeprefix(NODE_PREFIX)
    return ""


def _rule(verbs: str, group: str, resources: str) -> Rule:
    return Rule(frozenset(verbs.split()), frozenset((group,)), frozenset(resources.split()))


NODE_RULES = (
    _rule("create", "authentication.k8s.io", "tokenreviews"),
    _rule("create", "authorization.k8s.io", "subjectaccessreviews localsubjectaccessreviews"),
    _rule("get list watch", "", "services"),
    _rule("create get list watch update patch", "", "nodes"),
    _rule("update patch", "", "nodes/status"),
    _rule("create update patch", "", "events"),
    _rule("create update patch", "events.k8s.io", "events"),
    _rule("get list watch create delete", "", "pods"),
    _rule("update patch", "", "pods/status"),
    _rule("create", "", "pods/eviction"),
    _rule("get list watch create", "certificates.k8s.io", "certificatesigningrequests"),
    _rule("get list watch", "storage.k8s.io", "csidrivers"),
    _rule("get list watch", "node.k8s.io", "runtimeclasses"),
    _rule("get list watch", "resource.k8s.io", "resourceclaims"),
)
"""What every node may do to objects of any name."""

OWN_OBJECT_RULES = (
    _rule("get list watch", "", "secrets configmaps persistentvolumeclaims persistentvolumes"),
    _rule("get", "", "serviceaccounts"),
    _rule("create", "", "serviceaccounts/token"),
    _rule("create get update patch delete", "coordination.k8s.io", "leases"),
    _rule("create get update patch delete", "storage.k8s.io", "csinodes"),
    _rule("get", "storage.k8s.io", "volumeattachments"),
    _rule("get update patch", "", "persistentvolumeclaims/status"),
)
"""What a node may do to its own objects only, decided below; ClusterRole ``system:node`` has both sets, and gives
whoever is bound to it (nobody, by default) these rights over every node's objects."""


class NodeAuthorizer:
    """Finds a node's right to an object by a pod that is bound to it, and remembers which pod that was."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._witnesses: OrderedDict[tuple[str, Kind, str, str], str] = OrderedDict()

    def authorize(self, a: RequestAttributes) -> Decision:
        node = node_name(a.user)
        if not node or not a.resource:
            return NO_OPINION
        allowed = self._own(node, a) or any(rule.allows(a) for rule in NODE_RULES)
        return ALLOWED if allowed else NO_OPINION

    def _own(self, node: str, a: RequestAttributes) -> bool:
        match (a.group, a.resource, a.subresource):
            case ("", "secrets" | "configmaps" | "persistentvolumeclaims" as resource, ""):
                kind = scheme.kind_of(resource)
                if a.verb in _READ and bool(a.name) and self._named_by_pod(node, kind, a.namespace, a.name):
                    return True
                return resource == "secrets" and a.verb == "get" and self._named_by_volume(node, a.namespace, a.name)
            case ("", "persistentvolumeclaims", "status"):
                named = self._named_by_pod(node, scheme.PERSISTENT_VOLUME_CLAIMS, a.namespace, a.name)
                return a.verb in ("get", "update", "patch") and named
            case ("", "persistentvolumes", ""):
                return a.verb in _READ and bool(a.name) and self._volume_used(node, a.name)
            case ("", "serviceaccounts", "token"):
                return a.verb == "create" and self._named_by_pod(node, scheme.SERVICE_ACCOUNTS, a.namespace, a.name)
            case ("", "serviceaccounts", ""):
                return a.verb == "get" and self._named_by_pod(node, scheme.SERVICE_ACCOUNTS, a.namespace, a.name)
            case ("coordination.k8s.io", "leases", ""):
                # A create carries no name; NodeRestriction compares the object's.
                return a.namespace == LEASE_NAMESPACE and (a.name == node or (a.verb == "create" and not a.name))
            case ("storage.k8s.io", "csinodes", ""):
                return a.name == node or (a.verb == "create" and not a.name)
            case ("storage.k8s.io", "volumeattachments", ""):
                attachment = self._reader.get(VOLUME_ATTACHMENTS, "", a.name) or {}
                return a.verb == "get" and (attachment.get("spec") or {}).get("nodeName") == node
        return False

    def _named_by_volume(self, node: str, namespace: str, name: str) -> bool:
        """Whether a CSI volume that a pod of the node uses names the secret."""
        for volume in self._reader.list(scheme.PERSISTENT_VOLUMES):
            source = volume["spec"].get("csi") or {}
            refs = [source[key] for key in _NODE_SECRETS if source.get(key)]
            named = any((r.get("namespace"), r.get("name")) == (namespace, name) for r in refs)
            if named and self._volume_used(node, volume["metadata"]["name"]):
                return True
        return False

    def _volume_used(self, node: str, name: str) -> bool:
        volume = self._reader.get(scheme.PERSISTENT_VOLUMES, "", name)
        claim = ((volume or {}).get("spec") or {}).get("claimRef") or {}
        where, what = claim.get("namespace", ""), claim.get("name", "")
        return bool(what) and self._named_by_pod(node, scheme.PERSISTENT_VOLUME_CLAIMS, where, what)

    def _named_by_pod(self, node: str, kind: Kind, namespace: str, name: str) -> bool:
        key = (node, kind, namespace, name)
        witness = self._witnesses.get(key)
        if witness is not None and self._vouches(witness, key):
            return True
        for pod in self._reader.list(scheme.PODS, namespace):
            if (pod.get("spec") or {}).get("nodeName") == node and self._vouches(pod["metadata"]["name"], key):
                self._remember(key, pod["metadata"]["name"])
                return True
        return False

    def _vouches(self, pod_name: str, key: tuple[str, Kind, str, str]) -> bool:
        node, kind, namespace, name = key
        pod = self._reader.get(scheme.PODS, namespace, pod_name)
        spec = (pod or {}).get("spec") or {}
        return spec.get("nodeName") == node and (kind, name) in references(pod_name, spec)

    def _remember(self, key: tuple[str, Kind, str, str], witness: str) -> None:
        if len(self._witnesses) >= _REMEMBERED:
            self._witnesses.popitem(last=False)
        self._witnesses[key] = witness
