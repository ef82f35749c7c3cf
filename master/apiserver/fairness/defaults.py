"""The FlowSchemas and PriorityLevelConfigurations that every cluster has: upstream's, written as a table.

Mandatory ones are put back as they were; suggested ones as long as their annotation says so.
Source: https://kubernetes.io/docs/concepts/cluster-administration/flow-control/#defaults
"""

from collections.abc import Iterator
from typing import Any

from apimachinery import scheme

Object = dict[str, Any]
GROUP = "flowcontrol.apiserver.k8s.io"
FLOW_SCHEMAS = scheme.kind_of("flowschemas", GROUP)
LEVELS = scheme.kind_of("prioritylevelconfigurations", GROUP)
AUTOUPDATE = "apf.kubernetes.io/autoupdate-spec"
MANDATORY = frozenset(("exempt", "catch-all"))

_LEVELS = {  # name: shares, lendable percent, queues, hand size, queue length
    "catch-all": (5, 0, 0, 0, 0),
    "system": (30, 33, 64, 6, 50),
    "node-high": (40, 25, 64, 6, 50),
    "leader-election": (10, 0, 16, 4, 50),
    "workload-high": (40, 50, 128, 6, 50),
    "workload-low": (100, 90, 128, 6, 50),
    "global-default": (20, 50, 128, 6, 50),
}
_ALL_PATHS = {"verbs": ["*"], "nonResourceURLs": ["*"]}
_MANAGER, _SCHEDULER = "system:kube-controller-manager", "system:kube-scheduler"


def levels() -> Iterator[Object]:
    exempt = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    yield _object(LEVELS, "exempt", {"type": "Exempt", "exempt": exempt})
    for name, (shares, lendable, queues, hand, length) in _LEVELS.items():
        response: Object = {"type": "Reject"}
        if queues:
            queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": length}
            response = {"type": "Queue", "queuing": queuing}
        limited = {"nominalConcurrencyShares": shares, "lendablePercent": lendable, "limitResponse": response}
        yield _object(LEVELS, name, {"type": "Limited", "limited": limited})


def schemas() -> Iterator[Object]:
    everyone = [_group("system:unauthenticated"), _group("system:authenticated")]
    components, accounts = [_user(_MANAGER), _user(_SCHEDULER)], [_account("*")]
    nodes = [_group("system:nodes")]
    electing = _rule("get create update", "coordination.k8s.io", "leases")
    probes = {"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}
    own = [_rule("*", "", "nodes nodes/status", cluster=True), _rule("*", "coordination.k8s.io", "leases")]
    endpoints = [_rule("get create update", "", "endpoints")]
    yield _schema("exempt", "exempt", 1, "", [_group("system:masters")])
    yield _schema("probes", "exempt", 2, "", everyone, [], [probes])
    yield _schema("system-leader-election", "leader-election", 100, "ByUser", components, [electing])
    # Thousands of hollow nodes are one user here: to give them one user's seats would be to test nothing.
    yield _schema("kubeto-hollow-nodes", "exempt", 90, "", [_group("kubeto:hollow-nodes")])
    controllers = [_user(_MANAGER), _account("endpoint-controller"), _account("endpointslicemirroring-controller")]
    yield _schema("endpoint-controller", "workload-high", 150, "ByUser", controllers, endpoints)
    yield _schema("workload-leader-election", "leader-election", 200, "ByUser", accounts, [electing])
    yield _schema("system-node-high", "node-high", 400, "ByUser", nodes, own)
    yield _schema("system-nodes", "system", 500, "ByUser", nodes)
    yield _schema("kube-controller-manager", "workload-high", 800, "ByNamespace", [_user(_MANAGER)])
    yield _schema("kube-scheduler", "workload-high", 800, "ByNamespace", [_user(_SCHEDULER)])
    yield _schema("kube-system-service-accounts", "workload-high", 900, "ByNamespace", accounts)
    yield _schema("service-accounts", "workload-low", 9000, "ByUser", [_group("system:serviceaccounts")])
    yield _schema("global-default", "global-default", 9900, "ByUser", everyone)
    yield _schema("catch-all", "catch-all", 10000, "ByUser", everyone)


def _schema(
    name: str,
    level: str,
    precedence: int,
    by: str,
    subjects: list[Object],
    resources: list[Object] | None = None,
    paths: list[Object] | None = None,
) -> Object:
    """Without rules of either sort, all requests."""
    if resources is None:
        resources, paths = [_rule("*", "*", "*", cluster=True)], [_ALL_PATHS]
    rules = {"subjects": subjects, "resourceRules": resources, "nonResourceRules": paths or []}
    spec = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{key: value for key, value in rules.items() if value}],
    }
    return _object(FLOW_SCHEMAS, name, spec | ({"distinguisherMethod": {"type": by}} if by else {}))


def _object(kind: scheme.Kind, name: str, spec: Object) -> Object:
    annotations = {AUTOUPDATE: "true"}
    metadata = {"name": name, "annotations": annotations}
    return {"apiVersion": kind.api_version, "kind": kind.kind, "metadata": metadata, "spec": spec}


def _rule(verbs: str, group: str, resources: str, *, cluster: bool = False) -> Object:
    rule = {"verbs": verbs.split(), "apiGroups": [group], "resources": resources.split(), "namespaces": ["*"]}
    return rule | ({"clusterScope": True} if cluster else {})


def _user(name: str) -> Object:
    return {"kind": "User", "user": {"name": name}}


def _group(name: str) -> Object:
    return {"kind": "Group", "group": {"name": name}}


def _account(name: str) -> Object:
    return {"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}}
