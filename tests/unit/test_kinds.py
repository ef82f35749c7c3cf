"""Strategies: defaults that do not change when run twice, upstream's refusals, and the cells of kubectl get."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from apimachinery import patch, schema, scheme
from apimachinery.scheme import Kind
from master.apiserver.registry.catalog import Catalog
from master.apiserver.registry.kinds import STRATEGIES, events
from master.apiserver.registry.kinds.metadata import validate_metadata
from master.apiserver.registry.strategy import Strategy

Object = dict[str, Any]


def strategy(kind: Kind) -> Strategy:
    return Catalog(STRATEGIES).strategy(kind)


def pod(**spec: Any) -> Object:
    return {"metadata": {"name": "p", "namespace": "d"}, "spec": {"containers": [{"name": "c", "image": "i"}]} | spec}


def template(**spec: Any) -> Object:
    return {"metadata": {"labels": {"app": "x"}}, "spec": {"containers": [{"name": "c", "image": "i"}]} | spec}


def workload(**spec: Any) -> Object:
    selector = {"matchLabels": {"app": "x"}}
    return {"metadata": {"name": "w", "namespace": "d"}, "spec": {"selector": selector, "template": template()} | spec}


def defaulted(kind: Kind, obj: Object) -> Object:
    strategy(kind).default(obj)
    return obj


def complaints(kind: Kind, obj: Object) -> list[str]:
    return [f"{c.field}: {c.message}" for c in strategy(kind).validate(defaulted(kind, obj))]


def cells(kind: Kind, obj: Object) -> dict[str, object]:
    return {c.name: c.value(obj) for c in strategy(kind).columns}


SERVICE = {"metadata": {"name": "s", "namespace": "d"}, "spec": {"ports": [{"port": 80}], "selector": {"a": "b"}}}
EXAMPLES: list[tuple[Kind, Object]] = [
    (scheme.PODS, pod()),
    (scheme.DEPLOYMENTS, workload()),
    (scheme.REPLICA_SETS, workload()),
    (scheme.DAEMON_SETS, workload()),
    (scheme.STATEFUL_SETS, workload(serviceName="s")),
    (scheme.SERVICES, SERVICE),
    (scheme.SECRETS, {"metadata": {"name": "s"}, "stringData": {"a": "b"}}),
    (scheme.NAMESPACES, {"metadata": {"name": "n"}}),
    (scheme.kind_of("replicationcontrollers"), {"metadata": {"name": "r"}, "spec": {"template": template()}}),
    (
        scheme.kind_of("cronjobs", "batch"),
        {
            "metadata": {"name": "c"},
            "spec": {
                "schedule": "* * * * *",
                "jobTemplate": {"spec": {"template": template(restartPolicy="Never")}},
            },
        },
    ),
]


@pytest.mark.parametrize(("kind", "obj"), EXAMPLES, ids=lambda v: v.kind if isinstance(v, Kind) else "")
def test_defaults_are_idempotent_valid_and_known_to_the_schema(kind: Kind, obj: Object) -> None:
    once = defaulted(kind, patch.copy(obj))
    assert defaulted(kind, patch.copy(once)) == once
    assert strategy(kind).validate(once) == []
    assert schema.load().check(kind, patch.copy(once)) == []


def test_every_strategy_stands_an_empty_object() -> None:
    for kind in scheme.KINDS:
        own, resource = strategy(kind), kind.resource
        obj: Object = {"metadata": {"name": "x", "namespace": "d", "uid": "u"}}
        own.default(obj)
        own.prepare_create(obj)
        own.validate(obj)
        own.validate_update(obj, patch.copy(obj))
        assert all(isinstance(c.value(obj), str | int | None) for c in own.columns), resource
        assert all(isinstance(label(obj), str) for label in own.field_labels.values()), resource


def test_pod_defaults() -> None:
    container = {
        "name": "c",
        "image": "nginx:1.2",
        "resources": {"limits": {"cpu": "1"}},
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"port": 80}},
    }
    spec = defaulted(scheme.PODS, pod(containers=[container], hostNetwork=True, serviceAccountName="a"))["spec"]
    made = spec["containers"][0]
    assert made["imagePullPolicy"] == "IfNotPresent"
    assert made["resources"]["requests"] == {"cpu": "1"}
    assert made["ports"] == [{"containerPort": 80, "protocol": "TCP", "hostPort": 80}]
    assert made["readinessProbe"]["httpGet"] == {"port": 80, "path": "/", "scheme": "HTTP"}
    assert made["readinessProbe"]["failureThreshold"] == 3
    assert spec["serviceAccount"] == "a"
    assert spec["enableServiceLinks"] is True


@pytest.mark.parametrize(
    ("image", "policy"),
    [
        ("nginx", "Always"),
        ("nginx:latest", "Always"),
        ("host:5000/nginx", "Always"),
        ("nginx:1", "IfNotPresent"),
        ("host:5000/a/b:v1", "IfNotPresent"),
        ("nginx@sha256:" + "0" * 64, "IfNotPresent"),
    ],
)
def test_pull_policy(image: str, policy: str) -> None:
    made = defaulted(scheme.PODS, pod(containers=[{"name": "c", "image": image}]))
    assert made["spec"]["containers"][0]["imagePullPolicy"] == policy


@pytest.mark.parametrize(
    ("spec", "complaint"),
    [
        ({"containers": []}, "spec.containers: Required value"),
        ({"containers": [{"name": "c"}]}, "spec.containers[0].image: Required value"),
        (
            {"restartPolicy": "Sometimes"},
            'spec.restartPolicy: Unsupported value: "Sometimes": supported values: "Always", "Never", "OnFailure"',
        ),
        ({"containers": [{"name": "c", "image": "i"}] * 2}, 'spec.containers[1].name: Duplicate value: "c"'),
        (
            {"containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/x"}]}]},
            'spec.containers[0].volumeMounts[0].name: Not found: "v"',
        ),
        (
            {
                "containers": [
                    {"name": "c", "image": "i", "resources": {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}}}
                ]
            },
            'spec.containers[0].resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
        ),
        (
            {"containers": [{"name": "c", "image": "i", "ports": [{"containerPort": 70000}]}]},
            "spec.containers[0].ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
        ),
        (
            {"tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
            "spec.tolerations[0].operator: Invalid value: \"b\": value must be empty when `operator` is 'Exists'",
        ),
        (
            {"dnsPolicy": "None"},
            "spec.dnsConfig.nameservers: Required value: "
            "must provide at least one DNS nameserver when `dnsPolicy` is None",
        ),
    ],
)
def test_bad_pods(spec: Object, complaint: str) -> None:
    assert complaints(scheme.PODS, pod(**spec)) == [complaint]


@pytest.mark.parametrize(
    ("change", "allowed"),
    [
        ({"containers": [{"name": "c", "image": "other"}]}, True),
        ({"activeDeadlineSeconds": 5}, True),
        ({"tolerations": [{"key": "a", "operator": "Exists"}]}, True),
        ({"containers": [{"name": "c", "image": "i", "args": ["x"]}]}, False),
        ({"containers": [{"name": "c", "image": "i"}, {"name": "d", "image": "i"}]}, False),
        ({"nodeSelector": {"a": "b"}}, False),
        ({"terminationGracePeriodSeconds": 5}, False),
    ],
)
def test_pod_updates(change: Object, allowed: bool) -> None:
    old, new = defaulted(scheme.PODS, pod()), defaulted(scheme.PODS, pod(**change))
    assert (strategy(scheme.PODS).validate_update(new, old) == []) is allowed


def test_selectors_must_match_and_stay() -> None:
    wrong = workload(selector={"matchLabels": {"app": "y"}})
    assert complaints(scheme.DEPLOYMENTS, wrong) == [
        'spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`'
    ]
    causes = strategy(scheme.DEPLOYMENTS).validate_update(wrong, workload())
    assert [c.message.rpartition(": ")[2] for c in causes] == ["field is immutable"]


def test_metadata() -> None:
    def told(meta: Object, kind: Kind = scheme.PODS) -> list[str]:
        return [c.field for c in validate_metadata({"metadata": {"name": "a", "namespace": "d"} | meta}, kind)]

    assert told({}) == []
    assert told({"name": "A_b"}) == ["metadata.name"]
    assert told({"name": "system:x"}, scheme.kind_of("clusterroles", "rbac.authorization.k8s.io")) == [
        "metadata.namespace"
    ]
    assert told({"labels": {"a b": "x", "ok": "-"}}) == ["metadata.labels", "metadata.labels"]
    assert told({"annotations": {"A/B": "any thing"}}) == []
    assert told({"finalizers": ["plain"]}) == ["metadata.finalizers[0]"]
    owner = {"apiVersion": "v1", "kind": "Pod", "name": "x", "uid": "u", "controller": True}
    assert told({"ownerReferences": [owner, owner]}) == ["metadata.ownerReferences"]


def test_frozen_configuration() -> None:
    old = {"immutable": True, "data": {"a": "b"}}
    own = strategy(scheme.CONFIG_MAPS)
    assert own.validate_update({"immutable": True, "data": {"a": "b"}, "metadata": {"labels": {}}}, old) == []
    assert [c.field for c in own.validate_update({"data": {"a": "c"}}, old)] == ["immutable", "data"]
    assert own.validate({"data": {"": "x"}}) != []


def test_service_type_changes() -> None:
    own = strategy(scheme.SERVICES)
    old = defaulted(scheme.SERVICES, patch.copy(SERVICE))
    old["spec"] |= {"type": "NodePort", "clusterIP": "10.0.0.1", "clusterIPs": ["10.0.0.1"]}
    old["spec"]["ports"][0]["nodePort"] = 30000
    new = patch.copy(old)
    new["spec"]["type"] = "ClusterIP"
    own.prepare_update(new, old)
    assert "nodePort" not in new["spec"]["ports"][0]
    assert new["spec"]["clusterIP"] == "10.0.0.1"
    new["spec"] = {"type": "ExternalName", "externalName": "example.com"}
    own.prepare_update(new, old)
    assert own.validate(defaulted(scheme.SERVICES, new)) == []
    kept = defaulted(scheme.SERVICES, patch.copy(SERVICE) | {"spec": {"type": "NodePort", "ports": [{"port": 80}]}})
    own.prepare_update(kept, old)
    assert kept["spec"]["ports"][0]["nodePort"] == 30000
    kept["spec"]["clusterIP"] = "10.0.0.2"
    assert own.validate_update(kept, old) != []


def ago(**delta: float) -> str:
    return (datetime.now(UTC) - timedelta(**delta)).strftime("%Y-%m-%dT%H:%M:%SZ")


def status(name: str = "c", **fields: Any) -> Object:
    return {"name": name, "ready": False, "restartCount": 0, "state": {}} | fields


RUNNING = {"running": {}}
INIT = {"initContainers": [{"name": "i", "image": "i"}]}


@pytest.mark.parametrize(
    ("spec", "state", "shown"),
    [
        ({}, {"phase": "Pending"}, ("0/1", "Pending")),
        ({}, {"phase": "Running", "containerStatuses": [status(ready=True, state=RUNNING)]}, ("1/1", "Running")),
        (
            {},
            {"phase": "Running", "containerStatuses": [status(state={"waiting": {"reason": "CrashLoopBackOff"}})]},
            ("0/1", "CrashLoopBackOff"),
        ),
        (
            {},
            {
                "phase": "Succeeded",
                "containerStatuses": [status(state={"terminated": {"reason": "Completed", "exitCode": 0}})],
            },
            ("0/1", "Completed"),
        ),
        ({}, {"phase": "Failed", "reason": "Evicted"}, ("0/1", "Evicted")),
        (INIT, {"phase": "Pending", "initContainerStatuses": [status("i", state=RUNNING)]}, ("0/1", "Init:0/1")),
        (
            INIT,
            {
                "phase": "Pending",
                "initContainerStatuses": [status("i", state={"waiting": {"reason": "ImagePullBackOff"}})],
            },
            ("0/1", "Init:ImagePullBackOff"),
        ),
        (
            INIT,
            {"phase": "Pending", "initContainerStatuses": [status("i", state={"terminated": {"exitCode": 3}})]},
            ("0/1", "Init:ExitCode:3"),
        ),
        (
            {"initContainers": [{"name": "i", "image": "i", "restartPolicy": "Always"}]},
            {
                "phase": "Running",
                "initContainerStatuses": [status("i", started=True, ready=True, state=RUNNING)],
                "containerStatuses": [status(ready=True, state=RUNNING)],
            },
            ("2/2", "Running"),
        ),
    ],
)
def test_pod_cells(spec: Object, state: Object, shown: tuple[str, str]) -> None:
    row = cells(scheme.PODS, pod(**spec) | {"status": state})
    assert (row["Ready"], row["Status"]) == shown


def test_pod_restarts_and_deletion() -> None:
    ended = {"terminated": {"finishedAt": ago(seconds=65), "exitCode": 1}}
    state = {
        "phase": "Running",
        "containerStatuses": [status(restartCount=2, lastState=ended, state=RUNNING, ready=True)],
    }
    obj = pod() | {"status": state}
    assert str(cells(scheme.PODS, obj)["Restarts"]).startswith("2 (6")
    obj["metadata"]["deletionTimestamp"] = ago(seconds=1)
    assert cells(scheme.PODS, obj)["Status"] == "Terminating"


def test_other_cells() -> None:
    service = defaulted(scheme.SERVICES, patch.copy(SERVICE))
    service["spec"]["ports"][0]["nodePort"] = 30001
    row = cells(scheme.SERVICES, service)
    assert (row["Type"], row["Cluster-IP"], row["External-IP"], row["Port(s)"]) == (
        "ClusterIP",
        "<none>",
        "<none>",
        "80:30001/TCP",
    )
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/control-plane": ""}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    }
    assert (cells(scheme.NODES, node)["Status"], cells(scheme.NODES, node)["Roles"]) == (
        "Ready,SchedulingDisabled",
        "control-plane",
    )
    deployment = workload(replicas=4) | {"status": {"readyReplicas": 2}}
    assert cells(scheme.DEPLOYMENTS, deployment)["Ready"] == "2/4"


def test_events_have_two_views() -> None:
    new = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "regarding": {"kind": "Pod"},
        "note": "n",
        "deprecatedCount": 2,
        "reportingController": "c",
        "eventTime": "t",
    }
    core = events.to_core(new)
    assert core == {
        "apiVersion": "v1",
        "kind": "Event",
        "involvedObject": {"kind": "Pod"},
        "message": "n",
        "count": 2,
        "reportingComponent": "c",
        "eventTime": "t",
    }
    assert events.from_core(core) == new


@pytest.mark.parametrize(
    ("requested", "node", "phase", "seconds"),
    [
        (None, "n", "Running", 30),
        (0, "n", "Running", 0),
        (5, "n", "Running", 5),
        (None, "", "Pending", 0),
        (None, "n", "Failed", 0),
    ],
)
def test_pod_grace(requested: int | None, node: str, phase: str, seconds: int) -> None:
    obj = defaulted(scheme.PODS, pod(nodeName=node)) | {"status": {"phase": phase}}
    assert strategy(scheme.PODS).grace_period(obj, requested) == seconds
