"""The roles and bindings that every cluster has: upstream's names and rules, written as a table.

Where Kubeto differs it says so: nodes are also service proxies, the controller manager has one identity.

Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#default-roles-and-role-bindings
"""

from collections.abc import Iterator
from typing import Any

from .node_authorizer import NODE_RULES, OWN_OBJECT_RULES
from .rbac_rules import Rule

Object = dict[str, Any]
API = "rbac.authorization.k8s.io"
AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
_LABELS = {"kubernetes.io/bootstrapping": "rbac-defaults"}
_READ = "get list watch"
_WRITE = "create delete deletecollection patch update"
_EVENTS = ("create patch update | - events.k8s.io | events",)
_LEADER = (f"create {_READ} update patch | coordination.k8s.io | leases",)
_REVIEWS = (
    "create | authentication.k8s.io | tokenreviews",
    "create | authorization.k8s.io | subjectaccessreviews",
)

# verbs | API groups (- is the core group) | resources; or: verbs | paths.
_AGGREGATED: dict[str, tuple[str, ...]] = {
    "view": (
        f"{_READ} | - | configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods "
        "replicationcontrollers replicationcontrollers/scale serviceaccounts services services/status",
        f"{_READ} | - | bindings events limitranges namespaces/status pods/log pods/status "
        "replicationcontrollers/status resourcequotas resourcequotas/status",
        f"{_READ} | - | namespaces",
        f"{_READ} | discovery.k8s.io | endpointslices",
        f"{_READ} | apps | controllerrevisions daemonsets daemonsets/status deployments deployments/scale "
        "deployments/status replicasets replicasets/scale replicasets/status statefulsets statefulsets/scale "
        "statefulsets/status",
        f"{_READ} | autoscaling | horizontalpodautoscalers horizontalpodautoscalers/status",
        f"{_READ} | batch | cronjobs cronjobs/status jobs jobs/status",
        f"{_READ} | policy | poddisruptionbudgets poddisruptionbudgets/status",
        f"{_READ} | networking.k8s.io | ingresses ingresses/status networkpolicies",
        f"{_READ} | resource.k8s.io | resourceclaims resourceclaims/status resourceclaimtemplates",
        f"{_READ} | metrics.k8s.io | pods",
    ),
    "edit": (
        f"{_READ} | - | pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy",
        "impersonate | - | serviceaccounts",
        f"{_WRITE} | - | pods pods/attach pods/exec pods/portforward pods/proxy",
        "create | - | pods/eviction",
        f"{_WRITE} | - | configmaps events persistentvolumeclaims replicationcontrollers replicationcontrollers/scale "
        "secrets serviceaccounts services services/proxy",
        "create | - | serviceaccounts/token",
        f"{_WRITE} | apps | daemonsets deployments deployments/rollback deployments/scale replicasets "
        "replicasets/scale statefulsets statefulsets/scale",
        f"{_WRITE} | autoscaling | horizontalpodautoscalers",
        f"{_WRITE} | batch | cronjobs jobs",
        f"{_WRITE} | policy | poddisruptionbudgets",
        f"{_WRITE} | networking.k8s.io | ingresses networkpolicies",
        f"{_WRITE} {_READ} | coordination.k8s.io | leases",
        f"{_WRITE} | resource.k8s.io | resourceclaims resourceclaimtemplates",
    ),
    "admin": (
        "create | authorization.k8s.io | localsubjectaccessreviews",
        f"{_WRITE} {_READ} | {API} | rolebindings roles",
    ),
}
_AGGREGATES = {"view": ("view",), "edit": ("view", "edit"), "admin": ("view", "edit", "admin")}

_CLUSTER_ROLES: dict[str, tuple[str, ...]] = {
    "cluster-admin": ("* | * | *", "* | *"),
    "system:discovery": (
        "get | /api /api/* /apis /apis/* /healthz /kubeto/v1/* /livez /openapi /openapi/* /readyz /version /version/",
    ),
    "system:public-info-viewer": ("get | /healthz /livez /readyz /version /version/",),
    "system:basic-user": (
        "create | authorization.k8s.io | selfsubjectaccessreviews selfsubjectrulesreviews",
        "create | authentication.k8s.io | selfsubjectreviews",
    ),
    "system:monitoring": ("get | /healthz /healthz/* /livez /livez/* /metrics /metrics/slis /readyz /readyz/*",),
    "system:auth-delegator": _REVIEWS,
    "system:service-account-issuer-discovery": (
        "get | /.well-known/openid-configuration /.well-known/openid-configuration/ /openid/v1/jwks /openid/v1/jwks/",
    ),
    "system:kubelet-api-admin": (
        f"{_READ} proxy | - | nodes",
        "* | - | nodes/log nodes/metrics nodes/proxy nodes/stats nodes/healthz nodes/configz nodes/pods",
    ),
    "system:node-bootstrapper": (f"create {_READ} | certificates.k8s.io | certificatesigningrequests",),
    # Upstream's, and what Kubeto's DNS server and routes read in the same process: nodes, pods, namespaces.
    "system:node-proxier": (
        f"{_READ} | - | services endpoints nodes namespaces pods",
        f"{_READ} | discovery.k8s.io | endpointslices",
        f"{_READ} | networking.k8s.io | servicecidrs",
        *_EVENTS,
    ),
    "system:kube-dns": ("list watch | - | endpoints services",),
    "system:kube-scheduler": (
        *_EVENTS,
        *_LEADER,
        *_REVIEWS,
        f"{_READ} | - | nodes namespaces",
        f"delete {_READ} | - | pods",
        "create | - | bindings pods/binding",
        "patch update | - | pods/status",
        f"{_READ} | - | replicationcontrollers services persistentvolumeclaims persistentvolumes",
        "update patch | - | persistentvolumeclaims persistentvolumes",
        f"{_READ} | apps | replicasets statefulsets deployments daemonsets",
        f"{_READ} | batch | jobs",
        f"{_READ} | policy | poddisruptionbudgets",
        f"{_READ} | scheduling.k8s.io | priorityclasses",
        f"{_READ} | storage.k8s.io | csinodes csidrivers csistoragecapacities storageclasses volumeattachments",
        f"{_READ} | resource.k8s.io | deviceclasses resourceclaims resourceslices",
        "update patch | resource.k8s.io | resourceclaims resourceclaims/status",
    ),
    # One identity for all controllers: the garbage collector and the namespace controller touch every kind.
    "system:kube-controller-manager": (
        *_EVENTS,
        *_LEADER,
        *_REVIEWS,
        f"{_READ} delete deletecollection patch update | * | *",
        "create | - | configmaps endpoints persistentvolumeclaims persistentvolumes pods pods/binding pods/eviction "
        "replicationcontrollers secrets serviceaccounts serviceaccounts/token services",
        "create | apps | controllerrevisions daemonsets deployments replicasets statefulsets",
        "create | batch | cronjobs jobs",
        "create | discovery.k8s.io | endpointslices",
        "create | - discovery.k8s.io | endpoints/restricted endpointslices/restricted",
        "create | networking.k8s.io | ipaddresses servicecidrs",
        "create | resource.k8s.io | resourceclaims",
        "create | storage.k8s.io | storageclasses volumeattachments",
        "approve sign | certificates.k8s.io | signers",
        f"escalate bind | {API} | clusterroles roles",
        "get | *",
    ),
}
_BINDINGS: tuple[tuple[str, str], ...] = (
    ("cluster-admin", "Group system:masters"),
    ("system:discovery", "Group system:authenticated"),
    ("system:basic-user", "Group system:authenticated"),
    ("system:public-info-viewer", "Group system:authenticated, Group system:unauthenticated"),
    ("system:monitoring", "Group system:monitoring"),
    ("system:service-account-issuer-discovery", "Group system:serviceaccounts"),
    ("system:node", ""),
    ("system:node-proxier", "User system:kube-proxy, Group system:nodes"),
    ("system:kube-controller-manager", "User system:kube-controller-manager"),
    ("system:kube-scheduler", "User system:kube-scheduler"),
)
AUTH_READER = "extension-apiserver-authentication-reader"
AUTH_CONFIG_MAP = "extension-apiserver-authentication"


def cluster_roles() -> Iterator[Object]:
    for name, lines in _CLUSTER_ROLES.items():
        yield _role("ClusterRole", name, _rules(lines))
    yield _role("ClusterRole", "system:node", [rule.to_json() for rule in (*NODE_RULES, *OWN_OBJECT_RULES)])
    for name, lines in _AGGREGATED.items():
        part = _role("ClusterRole", f"system:aggregate-to-{name}", _rules(lines))
        part["metadata"]["labels"][f"{API}/aggregate-to-{name}"] = "true"
        yield part
        yield _aggregate(name)


def cluster_role_bindings() -> Iterator[Object]:
    for role, subjects in _BINDINGS:
        yield _binding("ClusterRoleBinding", role, {"kind": "ClusterRole", "name": role}, subjects)


def roles() -> Iterator[Object]:
    """The roles of kube-system."""
    rule = {"apiGroups": [""], "resources": ["configmaps"], "resourceNames": [AUTH_CONFIG_MAP], "verbs": _READ.split()}
    yield _in_kube_system(_role("Role", AUTH_READER, [rule]))


def role_bindings() -> Iterator[Object]:
    """The role bindings of kube-system."""
    subjects = "User system:kube-controller-manager, User system:kube-scheduler"
    ref = {"kind": "Role", "name": AUTH_READER}
    yield _in_kube_system(_binding("RoleBinding", f"system::{AUTH_READER}", ref, subjects))


def _aggregate(name: str) -> Object:
    """admin, edit or view. Each is part of the next larger one; ``rules`` is what the selectors find at first."""
    role = _role("ClusterRole", name, [r for part in _AGGREGATES[name] for r in _rules(_AGGREGATED[part])])
    role["aggregationRule"] = {"clusterRoleSelectors": [{"matchLabels": {f"{API}/aggregate-to-{name}": "true"}}]}
    larger = {"view": "edit", "edit": "admin"}.get(name)
    if larger:
        role["metadata"]["labels"][f"{API}/aggregate-to-{larger}"] = "true"
    return role


def _rules(lines: tuple[str, ...]) -> list[Object]:
    return [_rule([part.split() for part in line.split("|")]).to_json() for line in lines]


def _rule(parts: list[list[str]]) -> Rule:
    verbs = frozenset(parts[0])
    if len(parts) == 2:
        return Rule(verbs, paths=frozenset(parts[1]))
    groups = frozenset("" if group == "-" else group for group in parts[1])
    return Rule(verbs, groups, frozenset(parts[2]))


def _role(kind: str, name: str, rules: list[Object]) -> Object:
    return {"apiVersion": f"{API}/v1", "kind": kind, "metadata": _metadata(name), "rules": rules}


def _binding(kind: str, name: str, ref: Object, subjects: str) -> Object:
    return {
        "apiVersion": f"{API}/v1",
        "kind": kind,
        "metadata": _metadata(name),
        "roleRef": {"apiGroup": API, **ref},
        "subjects": [
            {"apiGroup": API, "kind": kind_, "name": name_}
            for kind_, name_ in (subject.split() for subject in subjects.split(",") if subject)
        ],
    }


def _metadata(name: str) -> Object:
    return {"name": name, "labels": dict(_LABELS), "annotations": {AUTOUPDATE: "true"}}


def _in_kube_system(obj: Object) -> Object:
    obj["metadata"]["namespace"] = "kube-system"
    return obj
