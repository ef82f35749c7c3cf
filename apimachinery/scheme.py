"""The one table of kinds: what exists, and what every part of Kubeto needs to know about it.

A line here plus a strategy in ``master/apiserver/registry/kinds`` is a new kind. Discovery, the REST paths,
the etcd keys, the command line's resource names and the clients all read this table. Custom resources are
added at run time to a copy that the API server holds.

Source: the API reference of Kubernetes v1.36.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object.

    ``resource`` is the plural of the REST path; ``subresources`` are those of the object path; ``verbs`` is
    ``("create",)`` for kinds that are asked and never stored, such as reviews, and ``("get", "list")`` for those
    whose objects are made when somebody asks.
    """

    group: str
    version: str
    kind: str
    resource: str
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    singular: str = field(default="")
    list_kind: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not self.list_kind:
            object.__setattr__(self, "list_kind", f"{self.kind}List")
        if not self.singular:
            object.__setattr__(self, "singular", self.kind.lower())

    @property
    def api_version(self) -> str:
        """``v1`` or ``apps/v1``: what an object of this kind has in ``apiVersion``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def group_resource(self) -> str:
        """``pods`` or ``deployments.apps``: how error messages and RBAC name the kind."""
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def stored(self) -> bool:
        """Whether objects of this kind live in etcd."""
        return "watch" in self.verbs

    def path(self, namespace: str = "", name: str = "", subresource: str = "") -> str:
        """The REST path of the collection, or of one object or its subresource."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        parts = [p for p in (self.resource, name, subresource) if p]
        return f"{root}{scope}/" + "/".join(parts)


class Scheme:
    """An index over kinds: by resource and by apiVersion and kind. Later kinds replace earlier ones."""

    def __init__(self, kinds: Iterable[Kind] = ()) -> None:
        self._by_resource: dict[tuple[str, str, str], Kind] = {}
        self._by_kind: dict[tuple[str, str], Kind] = {}
        self._preferred: dict[tuple[str, str], Kind] = {}
        for kind in kinds:
            self.add(kind)

    def add(self, kind: Kind) -> None:
        self._by_resource[kind.group, kind.version, kind.resource] = kind
        self._by_kind[kind.api_version, kind.kind] = kind
        self._preferred.setdefault((kind.group, kind.resource), kind)

    def remove(self, kind: Kind) -> None:
        self._by_resource.pop((kind.group, kind.version, kind.resource), None)
        self._by_kind.pop((kind.api_version, kind.kind), None)
        if self._preferred.get((kind.group, kind.resource)) == kind:
            del self._preferred[kind.group, kind.resource]
            for other in self:
                if (other.group, other.resource) == (kind.group, kind.resource):
                    self._preferred.setdefault((kind.group, kind.resource), other)

    def by_resource(self, group: str, version: str, resource: str) -> Kind | None:
        """The kind at a REST path; an empty version means the preferred one."""
        if not version:
            return self._preferred.get((group, resource))
        return self._by_resource.get((group, version, resource))

    def by_kind(self, api_version: str, kind: str) -> Kind | None:
        return self._by_kind.get((api_version, kind))

    def __iter__(self) -> Iterator[Kind]:
        return iter(list(self._by_resource.values()))

    def __len__(self) -> int:
        return len(self._by_resource)


_STATUS = ("status",)
_STATUS_SCALE = ("status", "scale")
_REVIEW = ("create",)
_NO_DELETE_COLLECTION = tuple(v for v in ALL_VERBS if v != "deletecollection")


def _group(group: str, version: str, *kinds: Kind) -> tuple[Kind, ...]:
    """Fill in group and version of kinds written without them."""
    for kind in kinds:
        object.__setattr__(kind, "group", group)
        object.__setattr__(kind, "version", version)
    return kinds


def _k(
    kind: str,
    resource: str,
    *short: str,
    ns: bool = True,
    subs: tuple[str, ...] = (),
    cats: tuple[str, ...] = (),
    verbs: tuple[str, ...] = ALL_VERBS,
) -> Kind:
    return Kind("", "", kind, resource, ns, short, cats, subs, verbs)


_POD_SUBRESOURCES = ("attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "proxy")
_ALL = ("all",)
_EXT = ("api-extensions",)

CORE = _group(
    "",
    "v1",
    _k("Binding", "bindings", verbs=("create",)),
    _k("ComponentStatus", "componentstatuses", "cs", ns=False, verbs=("get", "list")),
    _k("ConfigMap", "configmaps", "cm"),
    _k("Endpoints", "endpoints", "ep"),
    _k("Event", "events", "ev"),
    _k("LimitRange", "limitranges", "limits"),
    _k("Namespace", "namespaces", "ns", ns=False, subs=("finalize", "status"), verbs=_NO_DELETE_COLLECTION),
    _k("Node", "nodes", "no", ns=False, subs=("proxy", "status")),
    _k("PersistentVolumeClaim", "persistentvolumeclaims", "pvc", subs=_STATUS),
    _k("PersistentVolume", "persistentvolumes", "pv", ns=False, subs=_STATUS),
    _k("Pod", "pods", "po", subs=(*_POD_SUBRESOURCES, "resize", "status"), cats=_ALL),
    _k("PodTemplate", "podtemplates"),
    _k("ReplicationController", "replicationcontrollers", "rc", subs=_STATUS_SCALE, cats=_ALL),
    _k("ResourceQuota", "resourcequotas", "quota", subs=_STATUS),
    _k("Secret", "secrets"),
    _k("ServiceAccount", "serviceaccounts", "sa", subs=("token",)),
    _k("Service", "services", "svc", subs=("proxy", "status"), cats=_ALL),
)
AUTOSCALING = _group(
    "autoscaling", "v2", _k("HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", subs=_STATUS, cats=_ALL)
)
EVENTS = _group("events.k8s.io", "v1", _k("Event", "events", "ev"))
KINDS: tuple[Kind, ...] = (
    *CORE,
    *_group(
        "apps",
        "v1",
        _k("ControllerRevision", "controllerrevisions"),
        _k("DaemonSet", "daemonsets", "ds", subs=_STATUS, cats=_ALL),
        _k("Deployment", "deployments", "deploy", subs=_STATUS_SCALE, cats=_ALL),
        _k("ReplicaSet", "replicasets", "rs", subs=_STATUS_SCALE, cats=_ALL),
        _k("StatefulSet", "statefulsets", "sts", subs=_STATUS_SCALE, cats=_ALL),
    ),
    *_group(
        "authentication.k8s.io",
        "v1",
        _k("SelfSubjectReview", "selfsubjectreviews", ns=False, verbs=_REVIEW),
        _k("TokenReview", "tokenreviews", ns=False, verbs=_REVIEW),
    ),
    *_group(
        "authorization.k8s.io",
        "v1",
        _k("LocalSubjectAccessReview", "localsubjectaccessreviews", verbs=_REVIEW),
        _k("SelfSubjectAccessReview", "selfsubjectaccessreviews", ns=False, verbs=_REVIEW),
        _k("SelfSubjectRulesReview", "selfsubjectrulesreviews", ns=False, verbs=_REVIEW),
        _k("SubjectAccessReview", "subjectaccessreviews", ns=False, verbs=_REVIEW),
    ),
    *AUTOSCALING,
    *_group(
        "autoscaling", "v1", _k("HorizontalPodAutoscaler", "horizontalpodautoscalers", "hpa", subs=_STATUS, cats=_ALL)
    ),
    *_group(
        "batch",
        "v1",
        _k("CronJob", "cronjobs", "cj", subs=_STATUS, cats=_ALL),
        _k("Job", "jobs", subs=_STATUS, cats=_ALL),
    ),
    *_group(
        "certificates.k8s.io",
        "v1",
        _k("CertificateSigningRequest", "certificatesigningrequests", "csr", ns=False, subs=("approval", "status")),
    ),
    *_group("coordination.k8s.io", "v1", _k("Lease", "leases")),
    *_group("discovery.k8s.io", "v1", _k("EndpointSlice", "endpointslices")),
    *EVENTS,
    *_group(
        "networking.k8s.io",
        "v1",
        _k("Ingress", "ingresses", "ing", subs=_STATUS),
        _k("IngressClass", "ingressclasses", ns=False),
        _k("IPAddress", "ipaddresses", "ip", ns=False),
        _k("NetworkPolicy", "networkpolicies", "netpol"),
        _k("ServiceCIDR", "servicecidrs", ns=False, subs=_STATUS),
    ),
    *_group("node.k8s.io", "v1", _k("RuntimeClass", "runtimeclasses", ns=False)),
    *_group("policy", "v1", _k("PodDisruptionBudget", "poddisruptionbudgets", "pdb", subs=_STATUS)),
    *_group(
        "rbac.authorization.k8s.io",
        "v1",
        _k("ClusterRole", "clusterroles", ns=False),
        _k("ClusterRoleBinding", "clusterrolebindings", ns=False),
        _k("Role", "roles"),
        _k("RoleBinding", "rolebindings"),
    ),
    *_group(
        "resource.k8s.io",
        "v1",
        _k("DeviceClass", "deviceclasses", ns=False),
        _k("ResourceClaim", "resourceclaims", subs=_STATUS),
        _k("ResourceClaimTemplate", "resourceclaimtemplates"),
        _k("ResourceSlice", "resourceslices", ns=False),
    ),
    *_group("scheduling.k8s.io", "v1", _k("PriorityClass", "priorityclasses", "pc", ns=False)),
    *_group(
        "storage.k8s.io",
        "v1",
        _k("CSIDriver", "csidrivers", ns=False),
        _k("CSINode", "csinodes", ns=False),
        _k("CSIStorageCapacity", "csistoragecapacities"),
        _k("StorageClass", "storageclasses", "sc", ns=False),
        _k("VolumeAttachment", "volumeattachments", ns=False, subs=_STATUS),
        _k("VolumeAttributesClass", "volumeattributesclasses", "vac", ns=False),
    ),
    *_group(
        "flowcontrol.apiserver.k8s.io",
        "v1",
        _k("FlowSchema", "flowschemas", ns=False, subs=_STATUS),
        _k("PriorityLevelConfiguration", "prioritylevelconfigurations", ns=False, subs=_STATUS),
    ),
    *_group(
        "admissionregistration.k8s.io",
        "v1",
        _k("MutatingAdmissionPolicy", "mutatingadmissionpolicies", ns=False, cats=_EXT),
        _k("MutatingAdmissionPolicyBinding", "mutatingadmissionpolicybindings", ns=False, cats=_EXT),
        _k("MutatingWebhookConfiguration", "mutatingwebhookconfigurations", ns=False, cats=_EXT),
        _k("ValidatingAdmissionPolicy", "validatingadmissionpolicies", ns=False, subs=_STATUS, cats=_EXT),
        _k("ValidatingAdmissionPolicyBinding", "validatingadmissionpolicybindings", ns=False, cats=_EXT),
        _k("ValidatingWebhookConfiguration", "validatingwebhookconfigurations", ns=False, cats=_EXT),
    ),
    *_group(
        "apiextensions.k8s.io",
        "v1",
        _k("CustomResourceDefinition", "customresourcedefinitions", "crd", "crds", ns=False, subs=_STATUS, cats=_EXT),
    ),
    *_group("apiregistration.k8s.io", "v1", _k("APIService", "apiservices", ns=False, subs=_STATUS, cats=_EXT)),
)

BUILTIN = Scheme(KINDS)


def kind_of(resource: str, group: str = "") -> Kind:
    """The built-in kind of a plural resource name. Raises KeyError for one that is not built in."""
    kind = BUILTIN.by_resource(group, "", resource)
    if kind is None:
        raise KeyError(f"no built-in resource {resource!r} in group {group!r}")
    return kind


# The kinds that the processes name in code.
CONFIG_MAPS = kind_of("configmaps")
ENDPOINTS = kind_of("endpoints")
CORE_EVENTS = kind_of("events")
NAMESPACES = kind_of("namespaces")
NODES = kind_of("nodes")
PERSISTENT_VOLUME_CLAIMS = kind_of("persistentvolumeclaims")
PERSISTENT_VOLUMES = kind_of("persistentvolumes")
PODS = kind_of("pods")
SECRETS = kind_of("secrets")
SERVICE_ACCOUNTS = kind_of("serviceaccounts")
SERVICES = kind_of("services")
DAEMON_SETS = kind_of("daemonsets", "apps")
DEPLOYMENTS = kind_of("deployments", "apps")
REPLICA_SETS = kind_of("replicasets", "apps")
STATEFUL_SETS = kind_of("statefulsets", "apps")
JOBS = kind_of("jobs", "batch")
ENDPOINT_SLICES = kind_of("endpointslices", "discovery.k8s.io")
LEASES = kind_of("leases", "coordination.k8s.io")
PRIORITY_CLASSES = kind_of("priorityclasses", "scheduling.k8s.io")
