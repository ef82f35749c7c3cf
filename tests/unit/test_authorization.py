"""RBAC with the default roles, the node authorizer, and impersonation."""

import copy
from typing import Any

import pytest

from apimachinery import scheme
from apimachinery.errors import Forbidden
from master.apiserver.auth import bootstrap, bootstrap_policy, rbac
from master.apiserver.auth.authorizer import RequestAttributes
from master.apiserver.auth.authorizers import for_modes
from master.apiserver.auth.impersonation import impersonate
from master.apiserver.auth.rbac import RbacAuthorizer
from master.apiserver.auth.user import User
from tests.memory_reader import MemoryReader

AUTHENTICATED = "system:authenticated"


@pytest.fixture
async def reader() -> MemoryReader:
    memory = MemoryReader()
    await bootstrap.ensure_rbac_defaults(memory, memory)
    return memory


def may(reader: MemoryReader, user: User, verb: str, resource: str = "", **rest: str) -> bool:
    group, _, resource = resource.rpartition("/")
    authorizer = for_modes(["Node", "RBAC"], reader, RbacAuthorizer(reader))
    return authorizer.authorize(RequestAttributes(user, verb, group, "v1", resource, **rest)).allowed


def bind(reader: MemoryReader, role: str, user: str, namespace: str = "", kind: str = "ClusterRole") -> None:
    meta = {"name": f"{role}-{user}"} | ({"namespace": namespace} if namespace else {})
    subject = {"kind": "User", "name": user}
    obj = {"metadata": meta, "roleRef": {"kind": kind, "name": role}, "subjects": [subject]}
    reader.put(rbac.ROLE_BINDINGS if namespace else rbac.CLUSTER_ROLE_BINDINGS, obj)


def test_default_roles(reader: MemoryReader) -> None:
    nobody, admin = User("jo", groups=(AUTHENTICATED,)), User("ad", groups=("system:masters",))
    assert may(reader, admin, "delete", "nodes") and not may(reader, nobody, "get", "pods")
    assert may(reader, nobody, "get", path="/apis/apps/v1") and not may(reader, nobody, "get", path="/metrics")
    assert may(reader, nobody, "create", "authorization.k8s.io/selfsubjectaccessreviews")
    assert may(reader, User("system:anonymous", groups=("system:unauthenticated",)), "get", path="/version")
    manager = User("system:kube-controller-manager", groups=(AUTHENTICATED,))
    assert may(reader, manager, "create", "apps/replicasets") and may(reader, manager, "patch", "example.com/widgets")
    assert may(reader, User("system:kube-scheduler"), "create", "pods", subresource="binding")


def test_edit_in_one_namespace_only(reader: MemoryReader) -> None:
    bind(reader, "edit", "jo", "dev")
    jo = User("jo")
    assert may(reader, jo, "create", "apps/deployments", namespace="dev") and may(
        reader, jo, "get", "pods", namespace="dev"
    )
    assert not may(reader, jo, "get", "pods", namespace="prod") and not may(reader, jo, "list", "pods")
    assert not may(reader, jo, "create", f"{rbac.GROUP}/rolebindings", namespace="dev")


def test_aggregation_is_transitive_and_follows_new_roles(reader: MemoryReader) -> None:
    bind(reader, "admin", "jo", "dev")
    assert not may(reader, User("jo"), "get", "example.com/widgets", namespace="dev")
    label = {f"{rbac.GROUP}/aggregate-to-view": "true"}
    rules = [{"apiGroups": ["example.com"], "resources": ["widgets"], "verbs": ["get"]}]
    reader.put(rbac.CLUSTER_ROLES, {"metadata": {"name": "widgets", "labels": label}, "rules": rules})
    assert may(reader, User("jo"), "get", "example.com/widgets", namespace="dev")


def test_service_accounts_and_names(reader: MemoryReader) -> None:
    rules = [{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["one"], "verbs": ["get"]}]
    reader.put(rbac.ROLES, {"metadata": {"namespace": "a", "name": "r"}, "rules": rules})
    subject = {"kind": "ServiceAccount", "name": "default", "namespace": "b"}
    binding = {
        "metadata": {"namespace": "a", "name": "x"},
        "roleRef": {"kind": "Role", "name": "r"},
        "subjects": [subject],
    }
    reader.put(rbac.ROLE_BINDINGS, binding)
    account = User("system:serviceaccount:b:default")
    assert may(reader, account, "get", "secrets", namespace="a", name="one")
    assert not may(reader, account, "get", "secrets", namespace="a", name="two")
    reader.remove(rbac.ROLE_BINDINGS, "a", "x")
    assert not may(reader, account, "get", "secrets", namespace="a", name="one")


def node(name: str) -> User:
    return User(f"system:node:{name}", groups=("system:nodes", AUTHENTICATED))


def pod_with_secret(name: str, node_name: str) -> dict[str, Any]:
    projected = {"sources": [{"configMap": {"name": "kube-root-ca.crt"}}]}
    volumes = [{"name": "s", "secret": {"secretName": "tls"}}, {"name": "t", "projected": projected}]
    return {"metadata": {"namespace": "a", "name": name}, "spec": {"nodeName": node_name, "volumes": volumes}}


def test_a_node_reads_only_what_its_pods_name(reader: MemoryReader) -> None:
    reader.put(scheme.PODS, pod_with_secret("p", "n1"))
    for resource, name in (("secrets", "tls"), ("configmaps", "kube-root-ca.crt")):
        assert may(reader, node("n1"), "get", resource, namespace="a", name=name)
        assert not may(reader, node("n2"), "get", resource, namespace="a", name=name)
        assert not may(reader, node("n1"), "get", resource, namespace="b", name=name)
        assert not may(reader, node("n1"), "list", resource, namespace="a")
        assert not may(reader, node("n1"), "update", resource, namespace="a", name=name)
    assert may(reader, node("n1"), "create", "serviceaccounts", subresource="token", namespace="a", name="default")
    reader.remove(scheme.PODS, "a", "p")
    assert not may(reader, node("n1"), "get", "secrets", namespace="a", name="tls")


def test_a_node_and_the_csi_volumes_of_its_pods(reader: MemoryReader) -> None:
    claim = {"name": "d", "persistentVolumeClaim": {"claimName": "c"}}
    reader.put(
        scheme.PODS,
        {"metadata": {"namespace": "a", "name": "p"}, "spec": {"nodeName": "n1", "volumes": [claim]}},
    )
    source = {"driver": "d", "volumeHandle": "h", "nodeStageSecretRef": {"namespace": "csi", "name": "key"}}
    spec = {"csi": source, "claimRef": {"namespace": "a", "name": "c"}}
    reader.put(scheme.PERSISTENT_VOLUMES, {"metadata": {"name": "v"}, "spec": spec})
    attachment = {"metadata": {"name": "csi-x"}, "spec": {"nodeName": "n1"}}
    reader.put(scheme.kind_of("volumeattachments", "storage.k8s.io"), attachment)
    for name, allowed in (("n1", True), ("n2", False)):
        assert may(reader, node(name), "get", "secrets", namespace="csi", name="key") is allowed
        assert may(reader, node(name), "get", "storage.k8s.io/volumeattachments", name="csi-x") is allowed
        claims = {"namespace": "a", "name": "c", "subresource": "status"}
        assert may(reader, node(name), "patch", "persistentvolumeclaims", **claims) is allowed
        assert may(reader, node(name), "update", "storage.k8s.io/csinodes", name="n1") is allowed
    assert not may(reader, node("n1"), "list", "storage.k8s.io/volumeattachments")


def test_a_node_and_its_lease(reader: MemoryReader) -> None:
    lease = {"resource": "coordination.k8s.io/leases", "namespace": "kube-node-lease"}
    assert may(reader, node("n1"), "update", **lease, name="n1") and not may(
        reader, node("n1"), "update", **lease, name="n2"
    )
    assert may(reader, node("n1"), "list", "discovery.k8s.io/endpointslices") and not may(
        reader, node("n1"), "delete", "nodes"
    )
    assert not may(reader, User("system:node:n1"), "get", "nodes")


def test_reconcile_adds_what_is_missing_and_keeps_the_rest() -> None:
    wanted = next(r for r in bootstrap_policy.cluster_roles() if r["metadata"]["name"] == "system:discovery")
    extra = {"verbs": ["get"], "nonResourceURLs": ["/metrics"]}
    existing = copy.deepcopy(wanted) | {"rules": [extra]}
    changed = bootstrap.reconciled(existing, wanted)
    assert changed is not None and extra in changed["rules"] and bootstrap.reconciled(changed, wanted) is None
    existing["metadata"]["annotations"][bootstrap_policy.AUTOUPDATE] = "false"
    assert bootstrap.reconciled(existing, wanted) is None


def test_every_default_needs_no_second_reconcile() -> None:
    for role in (*bootstrap_policy.cluster_roles(), *bootstrap_policy.cluster_role_bindings()):
        assert bootstrap.reconciled(role, role) is None, role["metadata"]["name"]


def test_impersonation(reader: MemoryReader) -> None:
    authorizer = for_modes(["RBAC"], reader, RbacAuthorizer(reader))
    admin = User("ad", groups=("system:masters",))
    headers = [(b"impersonate-user", b"system:serviceaccount:a:b"), (b"impersonate-extra-Scopes%2Fx", b"1")]
    target = impersonate(admin, headers, authorizer)
    assert target.groups == ("system:serviceaccounts", "system:serviceaccounts:a", AUTHENTICATED)
    assert target.extra == {"scopes/x": ("1",)}
    with pytest.raises(Forbidden, match='User "jo" cannot impersonate resource "users" in API group ""'):
        impersonate(User("jo"), [(b"impersonate-user", b"ad")], authorizer)
    assert impersonate(User("jo"), [(b"accept", b"*/*")], authorizer) == User("jo")
