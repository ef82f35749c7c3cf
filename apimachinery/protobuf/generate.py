"""Make ``facts.json``, the table that drives the decoder, from Kubernetes' published protobuf facts.

    python -m apimachinery.protobuf.generate FACTS.json

FACTS.json gives field numbers, types and JSON names of every message. Three things it does not say reliably are added:
whether a field is a list comes from the OpenAPI definitions, whether a zero is omitted in JSON from them (required
fields are always there) and from ``VALUES``: the optional fields that are no pointers in Go, which therefore travel as
zero whenever they are not set.
"""

import sys
from pathlib import Path
from typing import Any

import orjson

from apimachinery.schema.compile import definitions

FACTS = Path(__file__).with_name("facts.json")
_PACKAGES = (
    "io.k8s.api.{}",
    "io.k8s.apimachinery.pkg.apis.{}",
    "io.k8s.apiextensions-apiserver.pkg.apis.{}",
    "io.k8s.kube-aggregator.pkg.apis.{}",
)
_STATUS = "availableReplicas currentReplicas fullyLabeledReplicas observedGeneration readyReplicas updatedReplicas"
VALUES: dict[str, str] = {
    "*": "readOnly minReadySeconds stdin stdinOnce tty observedGeneration partition sslEnabled "
    "chapAuthDiscovery chapAuthSession",
    "apiextensions/v1.CustomResourceColumnDefinition": "priority",
    "apiextensions/v1.CustomResourceDefinitionSpec": "preserveUnknownFields",
    "apiextensions/v1.CustomResourceDefinitionVersion": "deprecated",
    "apiextensions/v1.JSONSchemaProps": "exclusiveMaximum exclusiveMinimum nullable uniqueItems "
    "xKubernetesEmbeddedResource xKubernetesIntOrString",
    "apiregistration/v1.APIServiceSpec": "insecureSkipTLSVerify",
    "apps/v1.DaemonSetStatus": "numberAvailable numberUnavailable updatedNumberScheduled",
    "apps/v1.DeploymentSpec": "paused",
    "apps/v1.DeploymentStatus": f"{_STATUS} replicas unavailableReplicas",
    "apps/v1.ReplicaSetStatus": _STATUS,
    "apps/v1.StatefulSetOrdinals": "start",
    "apps/v1.StatefulSetStatus": _STATUS,
    "authentication/v1.TokenReviewStatus": "authenticated",
    "authorization/v1.SubjectAccessReviewStatus": "denied",
    "autoscaling/v1.ScaleSpec": "replicas",
    "autoscaling/v2.HorizontalPodAutoscalerStatus": "currentReplicas",
    "batch/v1.JobStatus": "active failed succeeded",
    "core/v1.ContainerImage": "sizeBytes",
    "core/v1.ContainerPort": "hostPort",
    "core/v1.ContainerStateTerminated": "signal",
    "core/v1.Event": "count",
    "core/v1.EventSeries": "count",
    "core/v1.NodeSpec": "unschedulable",
    "core/v1.PodSpec": "hostIPC hostNetwork hostPID",
    "core/v1.Probe": "failureThreshold initialDelaySeconds periodSeconds successThreshold timeoutSeconds",
    "core/v1.ReplicationControllerStatus": _STATUS,
    "core/v1.ServicePort": "nodePort",
    "core/v1.ServiceSpec": "healthCheckNodePort publishNotReadyAddresses",
    "events/v1.Event": "deprecatedCount",
    "flowcontrol/v1.FlowSchemaSpec": "matchingPrecedence",
    "flowcontrol/v1.QueuingConfiguration": "handSize queueLengthLimit queues",
    "flowcontrol/v1.ResourcePolicyRule": "clusterScope",
    "meta/v1.ListOptions": "allowWatchBookmarks limit watch",
    "meta/v1.ObjectMeta": "generation",
    "meta/v1.Status": "code",
    "meta/v1.StatusDetails": "retryAfterSeconds",
    "networking/v1.ServiceBackendPort": "number",
    "resource/v1.DeviceSubRequest": "count",
    "resource/v1.ExactDeviceRequest": "count",
    "scheduling/v1.PriorityClass": "globalDefault",
}
"""Optional booleans and numbers that Go holds by value. All others are pointers: a zero of theirs was meant."""

_POINTERS: dict[str, str] = {
    "*": "storageClassName apiGroup",
    "core/v1.AzureDiskVolumeSource": "readOnly",
    "core/v1.CSIVolumeSource": "readOnly",
    "apps/v1.RollingUpdateStatefulSetStrategy": "partition",
    "discovery/v1.EndpointPort": "name",
}
"""What is a pointer in spite of ``VALUES``, and the strings whose empty value means something."""

_MISSING: dict[str, Any] = {
    "apiextensions/v1.ValidationRule": {
        "rule": {"n": 1, "t": "string"},
        "message": {"n": 2, "t": "string"},
        "messageExpression": {"n": 3, "t": "string"},
        "reason": {"n": 4, "t": "string"},
        "fieldPath": {"n": 5, "t": "string"},
        "optionalOldSelf": {"n": 6, "t": "bool"},
    }
}
"""Messages that the facts refer to and do not have. Source: apiextensions/v1/generated.proto."""


def generate(facts: dict[str, Any]) -> dict[str, Any]:
    """Messages as ``{number: [JSON name, type, flags]}``: l = list, i = inline, z = a zero is left out."""
    defs = definitions()
    messages = facts["messages"] | _MISSING
    known = {name: _definition(name, defs) for name in messages}
    for name, fields in messages.items():  # what is inline has its fields in the definition of what it stands in
        for fact in fields.values():
            if fact.get("inline") and not known[fact["t"]]:
                known[fact["t"]] = known[name]
    out = {name: _message(name, fields, known[name]) for name, fields in messages.items()}
    return {"kinds": facts["kinds"], "messages": out}


def _definition(message: str, defs: dict[str, Any]) -> dict[str, Any]:
    name = message.replace("/", ".")
    return next((defs[p.format(name)] for p in _PACKAGES if p.format(name) in defs), {})


def _message(name: str, fields: dict[str, Any], definition: dict[str, Any]) -> dict[str, list[str]]:
    required = definition.get("required", ())
    properties = definition.get("properties", {})
    out = {}
    for field, fact in fields.items():
        shown = fact.get("j", field)
        flags = "i" if fact.get("inline") else ""
        flags += "l" if _is_list(fact, properties.get(shown)) else ""
        if not flags and shown not in required and _by_value(name, field, fact["t"]):
            flags += "z"
        kind = fact["t"] if fact["t"] != "map" else f"map {fact['mapValue']}"
        if kind == "apiextensions/v1.ValidationRules":
            kind = "apiextensions/v1.ValidationRule"
        out[str(fact["n"])] = [shown, kind, flags]
    return out


def _is_list(fact: dict[str, Any], declared: dict[str, Any] | None) -> bool:
    if declared is None or fact["t"] in ("bytes", "meta/v1.Verbs"):
        return bool(fact.get("rep"))
    return "array" in str(declared.get("type"))


def _by_value(message: str, field: str, kind: str) -> bool:
    for table, answer in ((_POINTERS, False), (VALUES, True)):
        if field in table.get(message, "").split():
            return answer
    if field in _POINTERS["*"].split():
        return False
    return kind in ("string", "bytes") or field in VALUES["*"].split()


if __name__ == "__main__":
    made = generate(orjson.loads(Path(sys.argv[1]).read_bytes()))
    FACTS.write_bytes(orjson.dumps(made, option=orjson.OPT_SORT_KEYS) + b"\n")
