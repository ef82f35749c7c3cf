"""The admission plugins, each by what a user would see of it."""

from typing import Any

import pytest

from apimachinery import scheme
from apimachinery.errors import ApiError, Forbidden, NotFound
from apimachinery.quota import RESOURCE_CLAIMS
from apimachinery.scheme import Kind
from master.apiserver.admission import setup
from master.apiserver.admission.chain import AdmissionRequest, Chain
from master.apiserver.admission.pod_security import violations
from master.apiserver.auth import bootstrap, rbac
from master.apiserver.auth.authorizers import for_modes
from master.apiserver.auth.rbac import RbacAuthorizer
from master.apiserver.auth.user import User
from tests.memory_reader import MemoryReader

ADMIN = User("admin", groups=("system:masters",))
NODE = User("system:node:n1", groups=("system:nodes",))


class Server:
    """Admits into a memory reader that has namespace ``a`` with its default account."""

    def __init__(self) -> None:
        self.reader = MemoryReader()
        self.put("namespaces", {"metadata": {"name": "a"}})
        self.put("serviceaccounts", {"metadata": {"namespace": "a", "name": "default"}})
        authorizer = RbacAuthorizer(self.reader)
        self.chain: Chain = setup.build(self.reader, for_modes(["Node", "RBAC"], self.reader, authorizer), authorizer)

    def put(self, resource: str, obj: dict[str, Any]) -> None:
        group, _, resource = resource.rpartition("/")
        self.reader.put(scheme.kind_of(resource, group), obj)

    async def admit(self, kind: Kind, obj: dict[str, Any], *, user: User = ADMIN, old: Any = None, **rest: Any) -> Any:
        obj.setdefault("metadata", {}).setdefault("name", "x")
        namespace = "a" if kind.namespaced else ""
        request = AdmissionRequest(
            user, "UPDATE" if old else "CREATE", kind, "", namespace, obj["metadata"]["name"], obj, old, {}, False, []
        )
        for key, value in rest.items():
            setattr(request, key, value)
        await self.chain.mutate(request)
        await self.chain.validate(request)
        return request

    async def pod(self, spec: dict[str, Any] | None = None, name: str = "x", **rest: Any) -> Any:
        spec = {"containers": [{"name": "c"}]} | (spec or {})
        return (await self.admit(scheme.PODS, {"metadata": {"name": name}, "spec": spec}, **rest)).object

    async def refusal(self, spec: dict[str, Any] | None = None, **rest: Any) -> str:
        with pytest.raises(ApiError) as caught:
            await self.pod(spec, **rest)
        assert isinstance(caught.value, Forbidden)
        return caught.value.message


@pytest.fixture
def server() -> Server:
    return Server()


async def test_a_plain_pod_gets_what_every_pod_gets(server: Server) -> None:
    spec = (await server.pod())["spec"]
    assert spec["serviceAccountName"] == "default" and spec["priority"] == 0
    volume = spec["volumes"][0]
    assert volume["name"].startswith("kube-api-access-") and volume["projected"]["defaultMode"] == 420
    assert spec["containers"][0]["volumeMounts"][0]["mountPath"] == "/var/run/secrets/kubernetes.io/serviceaccount"
    assert {t["tolerationSeconds"] for t in spec["tolerations"]} == {300}


@pytest.mark.parametrize(("account", "pod", "mounted"), [(None, None, True), (False, None, False), (False, True, True)])
async def test_automount(server: Server, account: bool | None, pod: bool | None, mounted: bool) -> None:
    obj: dict[str, Any] = {"metadata": {"namespace": "a", "name": "default"}, "imagePullSecrets": [{"name": "reg"}]}
    server.put("serviceaccounts", obj | ({"automountServiceAccountToken": account} if account is not None else {}))
    spec = (await server.pod({"automountServiceAccountToken": pod} if pod is not None else {}))["spec"]
    assert bool(spec.get("volumes")) is mounted and spec["imagePullSecrets"] == [{"name": "reg"}]


async def test_namespaces(server: Server) -> None:
    with pytest.raises(NotFound, match='namespaces "b" not found'):
        await server.admit(scheme.CONFIG_MAPS, {}, namespace="b")
    server.put("namespaces", {"metadata": {"name": "a"}, "status": {"phase": "Terminating"}})
    with pytest.raises(Forbidden, match="because it is being terminated") as caught:
        await server.admit(scheme.CONFIG_MAPS, {})
    assert caught.value.causes[0].reason == "NamespaceTerminating"
    with pytest.raises(Forbidden, match="this namespace may not be deleted"):
        await server.admit(scheme.NAMESPACES, {}, name="default", operation="DELETE", object=None)


async def test_priority(server: Server) -> None:
    group = "scheduling.k8s.io/priorityclasses"
    server.put(group, {"metadata": {"name": "high"}, "value": 7, "preemptionPolicy": "Never"})
    spec = (await server.pod({"priorityClassName": "high"}))["spec"]
    assert (spec["priority"], spec["preemptionPolicy"]) == (7, "Never")
    assert "no PriorityClass with name low was found" in await server.refusal({"priorityClassName": "low"})
    assert "must not be provided in pod spec" in await server.refusal({"priority": 3})
    server.put(group, {"metadata": {"name": "usual"}, "value": 2, "globalDefault": True})
    assert (await server.pod())["spec"]["priorityClassName"] == "usual"


async def test_runtime_class(server: Server) -> None:
    overhead = {"podFixed": {"cpu": "10m"}}
    server.put("node.k8s.io/runtimeclasses", {"metadata": {"name": "kata"}, "overhead": overhead})
    assert (await server.pod({"runtimeClassName": "kata"}))["spec"]["overhead"] == {"cpu": "10m"}
    assert 'RuntimeClass "foo" not found' in await server.refusal({"runtimeClassName": "foo"})
    assert "without corresponding RuntimeClass" in await server.refusal({"overhead": {"cpu": "1"}})


def container(**resources: dict[str, str]) -> dict[str, Any]:
    return {"containers": [{"name": "c", "resources": resources}]}


async def test_limit_ranges(server: Server) -> None:
    item = {"type": "Container", "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "100m"}, "max": {"cpu": "1"}}
    server.put("limitranges", {"metadata": {"namespace": "a", "name": "l"}, "spec": {"limits": [item]}})
    resources = (await server.pod())["spec"]["containers"][0]["resources"]
    assert resources == {"limits": {"cpu": "500m"}, "requests": {"cpu": "100m"}}
    problem = await server.refusal(container(limits={"cpu": "2"}, requests={"cpu": "1"}))
    assert "maximum cpu usage per Container is 1, but limit is 2" in problem


async def test_quota_counts_charges_and_gives_back(server: Server) -> None:
    hard = {"pods": "2", "requests.cpu": "1"}
    server.put("resourcequotas", {"metadata": {"namespace": "a", "name": "q"}, "spec": {"hard": hard}})
    half = container(requests={"cpu": "500m"})
    assert "failed quota: q: must specify requests.cpu for: c" in await server.refusal()
    first = await server.pod(half, "one")
    await server.pod(half, "two")
    problem = await server.refusal(half, name="three")
    assert "exceeded quota: q, requested: pods=1,requests.cpu=500m, used: pods=2,requests.cpu=1" in problem
    first["metadata"]["namespace"] = "a"
    server.reader.put(scheme.PODS, first)
    assert "used: pods=2" in await server.refusal(half, name="three"), "a charge that arrived counts once"
    first["status"] = {"phase": "Succeeded"}
    await server.pod(half, "three")


async def test_quota_scopes(server: Server) -> None:
    spec = {"hard": {"pods": "0"}, "scopes": ["BestEffort"]}
    server.put("resourcequotas", {"metadata": {"namespace": "a", "name": "q"}, "spec": spec})
    assert "exceeded quota" in await server.refusal()
    await server.pod(container(requests={"cpu": "1"}))


async def test_quota_of_devices_and_of_claims_by_their_attributes(server: Server) -> None:
    hard = {"gold.deviceclass.resource.k8s.io/devices": "3", "count/resourceclaims.resource.k8s.io": "1"}
    server.put("resourcequotas", {"metadata": {"namespace": "a", "name": "q"}, "spec": {"hard": hard}})

    async def claim(*requests: dict[str, Any]) -> None:
        await server.admit(RESOURCE_CLAIMS, {"spec": {"devices": {"requests": requests}}}, dry_run=True)

    two = {"deviceClassName": "gold", "allocationMode": "ExactCount", "count": 2}
    await claim({"exactly": two}, {"firstAvailable": [two | {"count": 1}, {**two, "deviceClassName": "tin"}]})
    for wanted in ({"exactly": two | {"allocationMode": "All"}}, {"firstAvailable": [two, two | {"count": 4}]}):
        with pytest.raises(Forbidden, match="exceeded quota: q, requested: gold"):
            await claim(wanted)
    scope = {"scopeName": "VolumeAttributesClass", "operator": "In", "values": ["fast"]}
    spec = {"hard": {"persistentvolumeclaims": "0"}, "scopeSelector": {"matchExpressions": [scope]}}
    server.put("resourcequotas", {"metadata": {"namespace": "a", "name": "v"}, "spec": spec})
    claims = scheme.PERSISTENT_VOLUME_CLAIMS
    await server.admit(claims, {"spec": {"volumeAttributesClassName": "slow"}})
    with pytest.raises(Forbidden, match="exceeded quota: v"):
        await server.admit(claims, {"spec": {"volumeAttributesClassName": "fast"}})
    with pytest.raises(Forbidden, match="exceeded quota: v"):
        await server.admit(claims, {"spec": {"volumeAttributesClassName": "fast"}}, old={"spec": {}})


async def test_default_storage_class(server: Server) -> None:
    annotation = {"storageclass.kubernetes.io/is-default-class": "true"}
    for name, created in (("old", "2024-01-01T00:00:00Z"), ("new", "2025-01-01T00:00:00Z")):
        meta = {"name": name, "annotations": annotation, "creationTimestamp": created}
        server.put("storage.k8s.io/storageclasses", {"metadata": meta})
    claims = scheme.PERSISTENT_VOLUME_CLAIMS
    assert (await server.admit(claims, {"spec": {}})).object["spec"]["storageClassName"] == "new"
    assert (await server.admit(claims, {"spec": {"storageClassName": ""}})).object["spec"]["storageClassName"] == ""


async def test_node_restriction(server: Server) -> None:
    node = await server.admit(scheme.NODES, {"metadata": {"name": "n1", "labels": {"a": "b"}}}, user=NODE)
    assert node.object["spec"]["taints"][0]["key"] == "node.kubernetes.io/not-ready"
    for obj, old, why in (
        ({"metadata": {"name": "n2"}}, None, "not allowed to modify node 'n2'"),
        ({"metadata": {"name": "n1", "labels": {"kubernetes.io/x": "y"}}}, None, "modify labels: kubernetes.io/x"),
        (
            {"metadata": {"name": "n1"}, "spec": {"taints": [{"key": "k"}]}},
            {"metadata": {"name": "n1"}},
            "modify taints",
        ),
    ):
        with pytest.raises(Forbidden, match=why):
            await server.admit(scheme.NODES, obj, old=old, user=NODE)
    other = {"metadata": {"name": "p", "namespace": "a"}, "spec": {"nodeName": "n2"}}
    with pytest.raises(Forbidden, match=r"spec\.nodeName set to itself"):
        await server.admit(scheme.PODS, dict(other), old=other, user=NODE, subresource="status")
    assert "can only create mirror pods" in await server.refusal(user=NODE)


async def test_nobody_grants_what_he_does_not_have(server: Server) -> None:
    await bootstrap.ensure_rbac_defaults(server.reader, server.reader)
    subject = {"kind": "User", "name": "jo"}
    edit = {"roleRef": {"kind": "ClusterRole", "name": "admin"}, "subjects": [subject]}
    server.put(f"{rbac.GROUP}/rolebindings", {"metadata": {"namespace": "a", "name": "jo"}} | edit)
    jo = User("jo")
    view = {"roleRef": {"kind": "ClusterRole", "name": "view"}, "subjects": [subject]}
    await server.admit(rbac.ROLE_BINDINGS, dict(view), user=jo)
    rules = [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]
    await server.admit(rbac.ROLES, {"rules": rules}, user=jo)
    with pytest.raises(Forbidden, match="attempting to grant RBAC permissions not currently held"):
        await server.admit(
            rbac.ROLES, {"rules": [{"apiGroups": [""], "resources": ["nodes"], "verbs": ["get"]}]}, user=jo
        )
    with pytest.raises(Forbidden, match="not currently held"):
        await server.admit(
            rbac.ROLE_BINDINGS, view | {"roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}}, user=jo
        )


async def test_pod_security(server: Server) -> None:
    labels = {"pod-security.kubernetes.io/enforce": "baseline", "pod-security.kubernetes.io/warn": "restricted"}
    server.put("namespaces", {"metadata": {"name": "a", "labels": labels}})
    problem = await server.refusal({"hostNetwork": True})
    assert 'violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)' in problem
    template = {"spec": {"containers": [{"name": "c"}]}}
    warned = await server.admit(scheme.DEPLOYMENTS, {"spec": {"template": template}})
    assert 'would violate PodSecurity "restricted:latest": allowPrivilegeEscalation != false' in warned.warnings[0]


def test_a_restricted_pod_passes() -> None:
    context = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}
    spec = {"securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}}
    spec |= {"containers": [{"name": "c", "securityContext": context}], "volumes": [{"name": "v", "emptyDir": {}}]}
    assert violations("restricted", spec) == []
    assert len(violations("restricted", {"containers": [{"name": "c"}]})) == 4


async def test_what_is_not_enforced_says_so(server: Server) -> None:
    kind = scheme.kind_of("horizontalpodautoscalers", "autoscaling")
    request = await server.admit(kind, {})
    assert request.warnings == ["HorizontalPodAutoscaler is stored, but has no effect in this build of Kubeto"]


async def test_certificate_requests(server: Server) -> None:
    kind = scheme.kind_of("certificatesigningrequests", "certificates.k8s.io")
    old = {"metadata": {"name": "x"}, "spec": {"signerName": "example.com/web"}}
    approved = old | {"status": {"conditions": [{"type": "Approved", "status": "True"}]}}
    rule = {"apiGroups": ["certificates.k8s.io"], "resources": ["signers"], "verbs": ["approve"]}
    rules = [rule | {"resourceNames": ["example.com/*"]}]
    server.put(f"{rbac.GROUP}/clusterroles", {"metadata": {"name": "approver"}, "rules": rules})
    subjects = [{"kind": "User", "name": "jo"}]
    binding = {"roleRef": {"kind": "ClusterRole", "name": "approver"}, "subjects": subjects}
    server.put(f"{rbac.GROUP}/clusterrolebindings", {"metadata": {"name": "approver"}} | binding)
    await server.admit(kind, dict(approved), old=old, user=User("jo"), subresource="approval")
    with pytest.raises(Forbidden, match="not permitted to approve"):
        await server.admit(kind, dict(approved), old=old, user=User("di"), subresource="approval")
    signed = old | {"status": {"certificate": "abc"}}
    with pytest.raises(Forbidden, match="not permitted to sign"):
        await server.admit(kind, signed, old=old, user=User("jo"), subresource="status")
