"""Upstream's "should support ... API operations" and "lifecycle of ..." tests: the same steps for each kind of a table.

Objects travel as protobuf. The lines are named after upstream's tests.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from apimachinery import pki
from tests.control_plane import ApiServerProgram, eventually
from tests.e2e.conformance.api import JSON_PATCH, MERGE, STRATEGIC, Object, Refused, Resource, discovered, resource

POD = {"containers": [{"name": "nginx", "image": "nginx"}]}
TEMPLATE = {"metadata": {"labels": {"app": "x"}}, "spec": POD}
WORKLOAD = {"selector": {"matchLabels": {"app": "x"}}, "template": TEMPLATE}
CLAIM = {"devices": {"requests": [{"name": "r", "exactly": {"deviceClassName": "example.com"}}]}}


def certificate_request() -> str:
    key = pki.new_key() if hasattr(pki, "new_key") else None
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import NameOID

    key = key or ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "e2e.example.com")])
    made = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(serialization.Encoding.PEM)).decode()


@dataclass(frozen=True)
class Case:
    """``body`` is all but metadata; ``status`` is what the status subresource is given; ``generated`` uses generateName."""

    name: str
    resource: str
    group: str
    body: Mapping[str, Any]
    status: Mapping[str, Any] | None = None
    names: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    expected: Mapping[str, Any] = field(default_factory=dict)


def condition(kind: str = "StatusUpdate") -> Object:
    made = {"type": kind, "status": "True", "reason": "E2E", "message": "Set from e2e test"}
    return {"conditions": [made]}


DATED = {"lastTransitionTime": "2026-01-01T00:00:00Z"}
INGRESS = {"defaultBackend": {"service": {"name": "default-backend", "port": {"number": 80}}}}
CASES = [
    Case(
        "API priority and fairness should support FlowSchema API operations", "flowschemas", "flowcontrol.apiserver.k8s.io",
        {"spec": {
            "matchingPrecedence": 10000, "priorityLevelConfiguration": {"name": "global-default"},
            "distinguisherMethod": {"type": "ByUser"},
            "rules": [{"subjects": [{"kind": "User", "user": {"name": "example-e2e-non-existent-user"}}],
                       "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]}],
        }}, condition("PatchStatusFailed"), subresources=("status",),
    ),
    Case(
        "API priority and fairness should support PriorityLevelConfiguration API operations",
        "prioritylevelconfigurations", "flowcontrol.apiserver.k8s.io",
        {"spec": {"type": "Limited", "limited": {"nominalConcurrencyShares": 2, "limitResponse": {"type": "Reject"}}}},
        condition("PatchStatusFailed"), subresources=("status",),
    ),
    Case(
        "Certificates API should support CSR API operations", "certificatesigningrequests", "certificates.k8s.io",
        {"spec": {"request": certificate_request(), "signerName": "example.com/e2e", "expirationSeconds": 3600,
                  "usages": ["digital signature", "key encipherment", "server auth"]}},
        condition(), subresources=("approval", "status"),
    ),
    Case(
        "Ingress API should support creating Ingress API operations", "ingresses", "networking.k8s.io",
        {"spec": INGRESS | {"rules": [{"host": "foo.example.com", "http": {"paths": [
            {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "test-backend", "port": {"number": 8080}}}}
        ]}}]}}, {"loadBalancer": {"ingress": [{"ip": "169.1.1.1"}]}}, subresources=("status",),
    ),
    Case(
        "IngressClass API should support creating IngressClass API operations", "ingressclasses", "networking.k8s.io",
        {"spec": {"controller": "example.com/e2e"}},
    ),
    Case(
        "ServiceCIDR and IPAddress API should support ServiceCIDR API operations", "servicecidrs", "networking.k8s.io",
        {"spec": {"cidrs": ["2001:db2::/64"]}}, {"conditions": [condition()["conditions"][0] | DATED]},
        subresources=("status",),
    ),
    Case(
        "ServiceCIDR and IPAddress API should support IPAddress API operations", "ipaddresses", "networking.k8s.io",
        {"spec": {"parentRef": {"resource": "services", "name": "foo", "namespace": "default"}}},
        names=("2001:db2::1", "2001:db2::2", "2001:db2::3"),
    ),
    Case("RuntimeClass should support RuntimeClasses API operations", "runtimeclasses", "node.k8s.io", {"handler": "e2e"}),
    Case(
        "Lease lease API should be available", "leases", "coordination.k8s.io",
        {"spec": {"holderIdentity": "holder", "leaseDurationSeconds": 30, "leaseTransitions": 1,
                  "acquireTime": "2026-01-01T00:00:00.000002Z", "renewTime": "2026-01-01T00:00:05.000000Z"}},
        expected={"spec.acquireTime": "2026-01-01T00:00:00.000002Z"},
    ),
    Case("PodTemplates should run the lifecycle of PodTemplates", "podtemplates", "", {"template": TEMPLATE}),
    Case(
        "CSIStorageCapacity should support CSIStorageCapacities API operations", "csistoragecapacities", "storage.k8s.io",
        {"storageClassName": "example-class", "capacity": "1Gi", "nodeTopology": {"matchLabels": {"a": "b"}}},
    ),
    Case(
        "CSIInlineVolumes should run through the lifecycle of a CSIDriver", "csidrivers", "storage.k8s.io",
        {"spec": {"attachRequired": False, "volumeLifecycleModes": ["Ephemeral"]}},
        expected={"spec.fsGroupPolicy": "ReadWriteOnceWithFSType", "spec.podInfoOnMount": False},
    ),
    Case(
        "CSINodes CSI Conformance should run through the lifecycle of a csinode", "csinodes", "storage.k8s.io",
        {"spec": {"drivers": [{"name": "e2e.example.com", "nodeID": "n", "topologyKeys": ["a"], "allocatable": {"count": 3}}]}},
    ),
    Case(
        "StorageClasses CSI Conformance should run through the lifecycle of a StorageClass", "storageclasses", "storage.k8s.io",
        {"provisioner": "e2e-fake-provisioner", "reclaimPolicy": "Delete"}, expected={"volumeBindingMode": "Immediate"},
    ),
    Case(
        "VolumeAttachment Conformance should run through the lifecycle of a VolumeAttachment", "volumeattachments",
        "storage.k8s.io", {"spec": {"attacher": "e2e-test.storage.k8s.io", "nodeName": "n", "source": {"persistentVolumeName": "pv"}}},
        {"attached": True, "attachmentMetadata": {"a": "b"}}, subresources=("status",), expected={"status.attached": False},
    ),
    Case(
        "VolumeAttributesClass should run through the lifecycle of a VolumeAttributesClass", "volumeattributesclasses",
        "storage.k8s.io", {"driverName": "e2e-fake-csi-driver", "parameters": {"a": "b"}},
    ),
    Case(
        "PersistentVolumes CSI Conformance should apply changes to a pv/pvc status", "persistentvolumeclaims", "",
        {"spec": {"accessModes": ["ReadWriteOnce"], "storageClassName": "none", "resources": {"requests": {"storage": "1Gi"}}}},
        {"phase": "Pending", "conditions": [{"type": "StatusPatched", "status": "True", "reason": "E2E patchStatus"}]},
        subresources=("status",), expected={"spec.volumeMode": "Filesystem"},
    ),
    Case(
        "PersistentVolumes CSI Conformance should run through the lifecycle of a PV and a PVC", "persistentvolumes", "",
        {"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "storageClassName": "none",
                  "csi": {"driver": "e2e-driver", "volumeHandle": "e2e-conformance"}}},
        {"message": "StatusPatched", "reason": "E2E patchStatus", "phase": "Available"}, subresources=("status",),
        expected={"spec.persistentVolumeReclaimPolicy": "Retain"},
    ),
    Case(
        "SchedulerPreemption PriorityClass endpoints verify PriorityClass endpoints can be operated with different HTTP methods",
        "priorityclasses", "scheduling.k8s.io", {"value": 10, "description": "d"},
        expected={"preemptionPolicy": "PreemptLowerPriority"},
    ),
    Case(
        "DisruptionController should list and delete a collection of PodDisruptionBudgets", "poddisruptionbudgets", "policy",
        {"spec": {"selector": {"matchLabels": {"foo": "bar"}}, "minAvailable": "1%"}},
        {"disruptionsAllowed": 2, "currentHealthy": 3, "desiredHealthy": 1, "expectedPods": 3}, subresources=("status",),
    ),
    Case(
        "CronJob should support CronJob API operations", "cronjobs", "batch",
        {"spec": {"schedule": "* */1 * * ?", "concurrencyPolicy": "Allow", "suspend": True,
                  "jobTemplate": {"spec": {"template": {"spec": POD | {"restartPolicy": "OnFailure"}}}}}},
        {"lastScheduleTime": "2026-01-01T00:00:00Z"}, subresources=("status",),
    ),
    Case(
        "Deployment should validate Deployment Status endpoints", "deployments", "apps",
        {"spec": WORKLOAD | {"replicas": 0}}, condition(), subresources=("scale", "status"),
    ),
    Case(
        "ReplicaSet should validate Replicaset Status endpoints", "replicasets", "apps", {"spec": WORKLOAD | {"replicas": 0}},
        condition(), subresources=("scale", "status"), expected={"status.replicas": 0},
    ),
    Case(
        "StatefulSet should validate Statefulset Status endpoints", "statefulsets", "apps",
        {"spec": WORKLOAD | {"replicas": 0, "serviceName": "s"}}, condition(), subresources=("scale", "status"),
    ),
    Case(
        "Daemon set should verify changes to a daemon set status", "daemonsets", "apps",
        {"spec": {**WORKLOAD, "template": {**TEMPLATE, "spec": POD | {"nodeSelector": {"no": "where"}}}}}, condition(),
        subresources=("status",), expected={"status.numberReady": 0},
    ),
    Case(
        "ControllerRevision should manage the lifecycle of a ControllerRevision", "controllerrevisions", "apps",
        {"revision": 1, "data": {"spec": {"template": {"$patch": "replace", "n": 1.5}}}},
        expected={"data.spec.template": {"$patch": "replace", "n": 1.5}},
    ),
    Case(
        "ResourceQuota should apply changes to a resourcequota status", "resourcequotas", "",
        {"spec": {"hard": {"cpu": "500m", "memory": "500Mi"}}}, {"hard": {"cpu": "500m", "memory": "500Mi"}}, subresources=("status",),
    ),
    Case(
        "LimitRange should list, patch and delete a LimitRange by collection", "limitranges", "",
        {"spec": {"limits": [{"type": "Container", "min": {"cpu": "50m"}, "max": {"cpu": "500m"}, "default": {"cpu": "500m"}}]}},
    ),
    Case(
        "ResourceClaim should support API operations", "resourceclaims", "resource.k8s.io", {"spec": CLAIM},
        {"allocation": {}}, subresources=("status",), expected={"spec.devices.requests.0.exactly.count": 1},
    ),
    Case("ResourceClaimTemplate should support API operations", "resourceclaimtemplates", "resource.k8s.io", {"spec": {"spec": CLAIM}}),
    Case(
        "DeviceClass should support API operations", "deviceclasses", "resource.k8s.io",
        {"spec": {"selectors": [{"cel": {"expression": "device.driver == 'e2e'"}}]}},
    ),
    Case(
        "ResourceSlice should support API operations", "resourceslices", "resource.k8s.io",
        {"spec": {"driver": "e2e.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1},
                  "devices": [{"name": "d", "attributes": {"a": {"string": "x"}, "b": {"int": 0}}, "capacity": {"m": {"value": "1Gi"}}}]}},
        expected={"spec.devices.0.attributes.b": {"int": 0}},
    ),
    Case(
        "Node should run through the lifecycle of a node", "nodes", "", {"spec": {"unschedulable": True}},
        {"phase": "Running", "conditions": [{"type": "PatchStatus", "status": "True"}]}, subresources=("status", "proxy"),
    ),
    Case("ServiceAccounts should run through the lifecycle of a ServiceAccount", "serviceaccounts", "",
         {"automountServiceAccountToken": False}),
    Case("ConfigMap should run through a ConfigMap lifecycle", "configmaps", "", {"data": {"valueName": "value"}}),
    Case("Secrets should patch a secret", "secrets", "", {"type": "Opaque", "data": {"key": "dmFsdWU="}}),
    Case(
        "Services should test the lifecycle of an Endpoint", "endpoints", "",
        {"subsets": [{"addresses": [{"ip": "10.0.0.24"}], "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]}]},
    ),
    Case(
        "EndpointSlice should support create, update, delete", "endpointslices", "discovery.k8s.io",
        {"addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"], "conditions": {"ready": False}}],
         "ports": [{"name": "p", "port": 0x1F90}]},
    ),
    Case(
        "Services should delete a collection of services", "services", "",
        {"spec": {"ports": [{"name": "http", "port": 80, "targetPort": 80}], "selector": {"a": "b"}, "type": "LoadBalancer",
                  "loadBalancerClass": "example.com/internal-vip"}},
        {"loadBalancer": {"ingress": [{"ip": "203.0.113.1"}]}}, subresources=("status", "proxy"),
    ),
    Case(
        "Job should apply changes to a job status", "jobs", "batch",
        {"spec": {"suspend": True, "parallelism": 2, "completions": 4, "template": {"spec": POD | {"restartPolicy": "Never"}}}},
        condition("CustomConditionType"), subresources=("status",),
    ),
    Case(
        "ReplicationController should test the lifecycle of a ReplicationController", "replicationcontrollers", "",
        {"spec": {"replicas": 0, "selector": {"app": "x"}, "template": TEMPLATE}}, condition(), subresources=("scale", "status"),
    ),
    Case(
        "HorizontalPodAutoscaler CRUD", "horizontalpodautoscalers", "autoscaling",
        {"spec": {"scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"}, "maxReplicas": 3}},
        {"desiredReplicas": 1, "currentReplicas": 1}, subresources=("status",),
    ),
    Case("NetworkPolicy API should support creating NetworkPolicy API operations", "networkpolicies", "networking.k8s.io",
         {"spec": {"podSelector": {}, "ingress": [{"from": [{"namespaceSelector": {}}]}]}}, expected={"spec.policyTypes": ["Ingress"]}),
    Case("RBAC roles CRUD", "roles", "rbac.authorization.k8s.io",
         {"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["pods"]}]}),
    Case("RBAC clusterroles CRUD", "clusterroles", "rbac.authorization.k8s.io",
         {"rules": [{"verbs": ["get"], "nonResourceURLs": ["/x"]}]}),
    Case("RBAC rolebindings CRUD", "rolebindings", "rbac.authorization.k8s.io",
         {"roleRef": {"kind": "ClusterRole", "name": "view", "apiGroup": "rbac.authorization.k8s.io"},
          "subjects": [{"kind": "ServiceAccount", "name": "s", "namespace": "n"}]}),
    Case("MutatingWebhookConfiguration CRUD", "mutatingwebhookconfigurations", "admissionregistration.k8s.io",
         {"webhooks": [{"name": "a.b.example.com", "sideEffects": "None", "admissionReviewVersions": ["v1"], "failurePolicy": "Ignore",
                        "clientConfig": {"url": "https://127.0.0.1:1"}, "namespaceSelector": {"matchLabels": {"no": "one"}},
                        "rules": [{"operations": ["CREATE"], "apiGroups": ["none"], "apiVersions": ["v1"], "resources": ["none"]}]}]}),
]  # fmt: skip


def at(obj: Any, path: str) -> Any:
    for part in path.split("."):
        obj = obj[int(part)] if isinstance(obj, list) else obj[part]
    return obj


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_lifecycle(plane: ApiServerProgram, space: str, case: Case) -> None:
    kind = resource(plane, case.resource, case.group).kind
    served = set(discovered(plane, kind))
    assert {case.resource, *(f"{case.resource}/{s}" for s in case.subresources)} <= served
    objects = Resource(plane, kind, space if kind.namespaced else "")
    made = _create(objects, case, space)
    _read(objects, made, {**case.body}, space)
    _write(objects, made, space)
    if case.status is not None:
        _status(objects, made["metadata"]["name"], dict(case.status))
    _delete(objects, made["metadata"]["name"], space)


def _create(objects: Resource, case: Case, label: str) -> Object:
    """Three objects; the last one."""
    for number in range(3):
        meta: Object = {"labels": {"e2e": label, "special": str(number)}}
        meta |= {"name": case.names[number]} if case.names else {"generateName": "e2e-example-"}
        made = objects.create({"metadata": meta, **case.body})
    for path, value in case.expected.items():
        assert at(made, path) == value
    for part, value in case.body.items():
        assert_within(value, made[part], part)
    return made


def assert_within(wanted: Any, found: Any, path: str) -> None:
    """All that was sent came back."""
    if isinstance(wanted, dict):
        for key, value in wanted.items():
            assert key in found, f"{path}.{key} is lost"
            assert_within(value, found[key], f"{path}.{key}")
    elif isinstance(wanted, list):
        assert len(wanted) == len(found), path
        for index, value in enumerate(wanted):
            assert_within(value, found[index], f"{path}[{index}]")
    else:
        assert wanted == found, path


def _read(objects: Resource, made: Object, body: Object, label: str) -> None:
    name = made["metadata"]["name"]
    assert objects.get(name)["metadata"]["uid"] == made["metadata"]["uid"]
    assert len(objects.names(labelSelector=f"e2e={label}")) == 3
    assert name in objects.everywhere().names(labelSelector=f"e2e={label}")
    assert objects.names(fieldSelector=f"metadata.name={name}") == [name]
    with pytest.raises(Refused) as refused:
        objects.create({**body, "metadata": {"name": name}})
    assert (refused.value.code, refused.value.reason) == (409, "AlreadyExists")


def _write(objects: Resource, made: Object, label: str) -> None:
    name = made["metadata"]["name"]
    version = objects.listing(labelSelector=f"e2e={label}")["metadata"]["resourceVersion"]
    watch = objects.watch(resourceVersion=version, labelSelector=f"e2e={label}", allowWatchBookmarks=True)
    patched = objects.patch(name, {"metadata": {"annotations": {"patched": "true"}}}, MERGE)
    assert patched["metadata"]["annotations"]["patched"] == "true"
    objects.patch(name, {"metadata": {"labels": {"strategic": "yes"}}}, STRATEGIC)
    operation = {"op": "add", "path": "/metadata/annotations/json", "value": "yes"}
    fresh = objects.patch(name, [operation], JSON_PATCH)
    fresh["metadata"]["annotations"]["updated"] = "true"
    stale = {**fresh, "metadata": {**fresh["metadata"], "resourceVersion": made["metadata"]["resourceVersion"]}}
    with pytest.raises(Refused) as refused:
        objects.update(stale)
    assert (refused.value.code, refused.value.reason) == (409, "Conflict")
    updated = eventually(lambda: _updated(objects, fresh))
    assert updated["metadata"]["annotations"] | {"patched": "true", "json": "yes", "updated": "true"} == (
        updated["metadata"]["annotations"]
    )
    last = watch.until(lambda kind, obj: "updated" in (obj["metadata"].get("annotations") or {}))
    assert last["metadata"]["name"] == name
    assert int(last["metadata"]["resourceVersion"]) > int(version)
    watch.close()
    dry = objects.patch(name, {"metadata": {"annotations": {"dry": "run"}}}, MERGE, dryRun="All")
    assert dry["metadata"]["annotations"]["dry"] == "run"
    assert "dry" not in objects.get(name)["metadata"]["annotations"]


def _updated(objects: Resource, wanted: Object) -> Object:
    """An update of the latest state, as a controller may write in between."""
    now = objects.get(wanted["metadata"]["name"])
    now["metadata"]["annotations"]["updated"] = "true"
    return objects.update(now)


def _status(objects: Resource, name: str, status: Object) -> None:
    """The status subresource changes the status only, and the main one does not."""
    body = {"metadata": {"annotations": {"patchedstatus": "true"}}, "status": status}
    patched = objects.patch(name, body, MERGE, "status")
    assert_within(status, patched["status"], "status")
    assert patched["metadata"]["annotations"]["patchedstatus"] == "true"
    shown = objects.get(name, "status")
    assert shown["kind"] == objects.kind.kind
    before = patched.get("spec")

    def update() -> Object:
        now = objects.get(name)
        now["metadata"]["labels"]["viastatus"] = "yes"
        now["status"] = {**now["status"], **status}
        return objects.update({**now, "spec": {**(now.get("spec") or {})}}, "status")

    updated = eventually(update)
    assert_within(status, updated["status"], "status")
    assert updated.get("spec") == before
    ignored = objects.patch(name, {"status": {"phase": "Bogus", "observedGeneration": 77}}, MERGE)
    assert ignored["status"].get("observedGeneration") != 77
    assert ignored["status"].get("phase") != "Bogus"


def _delete(objects: Resource, name: str, label: str) -> None:
    version = objects.listing()["metadata"]["resourceVersion"]
    watch = objects.watch(resourceVersion=version, labelSelector=f"e2e={label}")
    with pytest.raises(Refused) as refused:
        objects.delete(name, preconditions={"uid": "no-such-uid"})
    assert refused.value.code == 409
    objects.delete(name, gracePeriodSeconds=0, propagationPolicy="Background")
    eventually(lambda: objects.gone(name))
    gone = watch.until(lambda kind, obj: kind == "DELETED")
    assert gone["metadata"]["name"] == name
    watch.close()
    objects.delete_collection({"propagationPolicy": "Background"}, labelSelector=f"e2e={label}")
    eventually(lambda: not objects.names(labelSelector=f"e2e={label}"))
