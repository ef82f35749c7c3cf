"""Which fields Go leaves out of JSON when they hold nothing: those that are optional and no pointers.

``hostNetwork: false``, ``labels: {}`` and ``nodeName: ""`` are dropped when an object is decoded and written again;
``replicas: 0`` and ``storageClassName: ""`` were meant, and stay. The OpenAPI definitions do not tell the two apart, so
here are the exceptions: by type, ``core/v1.PodSpec``, or by ``*`` in any type, the JSON names of fields.

Source: the ``types.go`` files of ``k8s.io/api``.
"""

from typing import Final

_PACKAGES: Final = (
    "api.",
    "apimachinery.pkg.apis.",
    "apiextensions-apiserver.pkg.apis.",
    "kube-aggregator.pkg.apis.",
)
_STATUS: Final = (
    "availableReplicas currentReplicas fullyLabeledReplicas observedGeneration readyReplicas updatedReplicas"
)
_VALUES: Final[dict[str, str]] = {
    "*": "readOnly minReadySeconds stdin stdinOnce tty observedGeneration partition sslEnabled "
    "chapAuthDiscovery chapAuthSession",
    "apiextensions/v1.CustomResourceColumnDefinition": "priority",
    "apiextensions/v1.CustomResourceDefinitionSpec": "preserveUnknownFields",
    "apiextensions/v1.CustomResourceDefinitionVersion": "deprecated",
    "apiextensions/v1.JSONSchemaProps": "exclusiveMaximum exclusiveMinimum nullable uniqueItems "
    "x-kubernetes-embedded-resource x-kubernetes-int-or-string",
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
    "core/v1.PersistentVolumeSpec": "storageClassName",
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
    "rbac/v1.Subject": "apiGroup",
    "resource/v1.DeviceSubRequest": "count",
    "resource/v1.ExactDeviceRequest": "count",
    "scheduling/v1.PriorityClass": "globalDefault",
}
"""Optional booleans and numbers that Go holds by value, and strings in spite of ``_KEPT``. All other booleans and
numbers are pointers: a zero of theirs was meant."""

_KEPT: Final[dict[str, str]] = {
    "*": "storageClassName apiGroup volumeAttributesClassName volumeMode preemptionPolicy localhostProfile",
    "admissionregistration/v1.MatchResources": "matchPolicy",
    "admissionregistration/v1.MutatingAdmissionPolicySpec": "failurePolicy",
    "admissionregistration/v1.MutatingWebhook": "failurePolicy matchPolicy reinvocationPolicy sideEffects",
    "admissionregistration/v1.NamedRuleWithOperations": "scope",
    "admissionregistration/v1.ParamRef": "parameterNotFoundAction",
    "admissionregistration/v1.Rule": "scope",
    "admissionregistration/v1.RuleWithOperations": "scope",
    "admissionregistration/v1.ServiceReference": "path",
    "admissionregistration/v1.ValidatingAdmissionPolicySpec": "failurePolicy",
    "admissionregistration/v1.ValidatingWebhook": "failurePolicy matchPolicy sideEffects",
    "admissionregistration/v1.Validation": "reason",
    "admissionregistration/v1.WebhookClientConfig": "url",
    "apiextensions/v1.CustomResourceDefinitionVersion": "deprecationWarning",
    "apiextensions/v1.CustomResourceSubresourceScale": "labelSelectorPath",
    "apiextensions/v1.JSONSchemaProps": "$ref x-kubernetes-list-type x-kubernetes-map-type",
    "apiextensions/v1.ServiceReference": "path",
    "apiextensions/v1.ValidationRule": "reason",
    "apiextensions/v1.WebhookClientConfig": "url",
    "apps/v1.RollingUpdateStatefulSetStrategy": "partition",
    "autoscaling/v2.HPAScalingRules": "selectPolicy",
    "autoscaling/v2.HorizontalPodAutoscalerStatus": "conditions currentMetrics",
    "batch/v1.CronJobSpec": "timeZone",
    "batch/v1.JobSpec": "completionMode managedBy podReplacementPolicy",
    "batch/v1.JobStatus": "failedIndexes",
    "batch/v1.PodFailurePolicyOnExitCodesRequirement": "containerName",
    "batch/v1.SuccessPolicyRule": "succeededIndexes",
    "coordination/v1.LeaseSpec": "holderIdentity preferredHolder strategy",
    "core/v1.AzureDiskVolumeSource": "cachingMode fsType kind readOnly",
    "core/v1.AzureFilePersistentVolumeSource": "secretNamespace",
    "core/v1.CSIVolumeSource": "fsType readOnly",
    "core/v1.ClusterTrustBundleProjection": "name signerName",
    "core/v1.Container": "restartPolicy",
    "core/v1.EndpointAddress": "nodeName",
    "core/v1.EndpointPort": "appProtocol",
    "core/v1.EphemeralContainer": "restartPolicy",
    "core/v1.EphemeralContainerCommon": "restartPolicy",
    "core/v1.GRPCAction": "service",
    "core/v1.HostPathVolumeSource": "type",
    "core/v1.ISCSIPersistentVolumeSource": "initiatorName",
    "core/v1.ISCSIVolumeSource": "initiatorName",
    "core/v1.Lifecycle": "stopSignal",
    "core/v1.LoadBalancerIngress": "ipMode",
    "core/v1.LocalVolumeSource": "fsType",
    "core/v1.ContainerStatus": "stopSignal",
    "core/v1.PersistentVolumeClaimStatus": "currentVolumeAttributesClassName",
    "core/v1.PodDNSConfigOption": "value",
    "core/v1.PodResourceClaim": "resourceClaimName resourceClaimTemplateName",
    "core/v1.PodResourceClaimStatus": "resourceClaimName",
    "core/v1.PodSecurityContext": "fsGroupChangePolicy seLinuxChangePolicy supplementalGroupsPolicy",
    "core/v1.PodSpec": "hostnameOverride runtimeClassName",
    "core/v1.PortStatus": "error",
    "core/v1.SecurityContext": "procMount",
    "core/v1.ServicePort": "appProtocol",
    "core/v1.ServiceSpec": "internalTrafficPolicy ipFamilyPolicy loadBalancerClass trafficDistribution",
    "core/v1.TopologySpreadConstraint": "nodeAffinityPolicy nodeTaintsPolicy",
    "core/v1.VolumeMount": "mountPropagation recursiveReadOnly",
    "core/v1.VolumeMountStatus": "recursiveReadOnly",
    "core/v1.WindowsSecurityContextOptions": "gmsaCredentialSpec gmsaCredentialSpecName runAsUserName",
    "discovery/v1.Endpoint": "hostname nodeName zone",
    "discovery/v1.EndpointPort": "appProtocol name protocol",
    "discovery/v1.EndpointSlice": "endpoints ports",
    "meta/v1.DeleteOptions": "propagationPolicy",
    "meta/v1.ObjectMeta": "managedFields",
    "meta/v1.Preconditions": "resourceVersion uid",
    "networking/v1.HTTPIngressPath": "pathType",
    "networking/v1.IngressClassParametersReference": "namespace scope",
    "networking/v1.IngressPortStatus": "error",
    "networking/v1.IngressSpec": "ingressClassName",
    "networking/v1.NetworkPolicyPort": "protocol",
    "policy/v1.PodDisruptionBudgetSpec": "unhealthyPodEvictionPolicy",
    "rbac/v1.ClusterRole": "rules",
    "rbac/v1.Role": "rules",
    "resource/v1.AllocatedDeviceStatus": "shareID",
    "resource/v1.Device": "nodeName",
    "resource/v1.DeviceAttribute": "string version",
    "resource/v1.DeviceClassSpec": "extendedResourceName",
    "resource/v1.DeviceConstraint": "distinctAttribute matchAttribute",
    "resource/v1.DeviceRequestAllocationResult": "shareID",
    "resource/v1.DeviceTaintSelector": "device driver pool",
    "resource/v1.ResourceSliceSpec": "nodeName",
    "storage/v1.CSIDriverSpec": "fsGroupPolicy",
    "storage/v1.StorageClass": "reclaimPolicy volumeBindingMode",
    "storage/v1.VolumeAttachmentSource": "persistentVolumeName",
}
"""Strings and lists that stay when they are empty: pointers, what Go always writes, and an emptied managedFields, which
says that a client wants its fields no longer tracked."""


def is_left_out(type_name: str, field: str, form: str) -> bool:
    """Whether an optional field is dropped when it is empty. ``form`` is that of its schema (see ``model.py``)."""
    for table, answer in ((_KEPT, False), (_VALUES, True)):
        if field in table.get(type_name, "").split():
            return answer
    if form in ("string", "bytes", "list", "map"):
        return field not in _KEPT["*"].split()
    return form in ("bool", "int32", "int64") and field in _VALUES["*"].split()


def go_type(definition: str) -> str:
    """A definition's name without its prefix, ``api.core.v1.Pod``, as Go names the type: ``core/v1.Pod``."""
    for package in _PACKAGES:
        if definition.startswith(package):
            group, _, rest = definition.removeprefix(package).partition(".")
            return f"{group}/{rest}"
    return definition
