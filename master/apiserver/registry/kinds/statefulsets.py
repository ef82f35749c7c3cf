"""StatefulSets."""

from typing import Any

from .causes import Causes, forbidden, invalid, non_negative, one_of
from .pod_defaults import set_default
from .printing import AGE, NAME, at, containers, text
from .workloads import WorkloadStrategy, int_or_percent

Object = dict[str, Any]

_MUTABLE = (
    "replicas", "ordinals", "template", "updateStrategy", "revisionHistoryLimit",
    "persistentVolumeClaimRetentionPolicy", "minReadySeconds",
)  # fmt: skip
_UPDATE_ERROR = (
    "updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', "
    "'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden"
)


class StatefulSetStrategy(WorkloadStrategy):
    noun = "statefulset"
    status_zeros = {"replicas": 0, "availableReplicas": 0}
    columns = (
        NAME,
        text(
            "Ready",
            lambda s: f"{at(s, 'status.readyReplicas', 0)}/{at(s, 'spec.replicas', 0)}",
            "Number of the pod with ready state",
        ),
        AGE,
        *containers(),
    )

    def default_spec(self, spec: Object) -> None:
        spec.setdefault("replicas", 1)
        set_default(spec, "podManagementPolicy", "OrderedReady")
        strategy = spec.setdefault("updateStrategy", {})
        set_default(strategy, "type", "RollingUpdate")
        if strategy["type"] == "RollingUpdate":
            if strategy.get("rollingUpdate") is None:
                strategy["rollingUpdate"] = {}
            strategy["rollingUpdate"].setdefault("partition", 0)
        retention = spec.setdefault("persistentVolumeClaimRetentionPolicy", {})
        set_default(retention, "whenDeleted", "Retain")
        set_default(retention, "whenScaled", "Retain")
        spec.setdefault("revisionHistoryLimit", 10)
        for claim in spec.get("volumeClaimTemplates") or ():
            claim.setdefault("apiVersion", "v1")
            claim.setdefault("kind", "PersistentVolumeClaim")
            claim.setdefault("spec", {}).setdefault("volumeMode", "Filesystem")
            claim.setdefault("status", {}).setdefault("phase", "Pending")

    def validate_spec(self, spec: Object) -> Causes:
        policy, strategy = spec.get("podManagementPolicy"), spec.get("updateStrategy") or {}
        causes: Causes = []
        if policy not in ("OrderedReady", "Parallel"):
            detail = "must be 'OrderedReady' or 'Parallel'"
            causes.append(invalid("spec.podManagementPolicy", policy, detail))
        if strategy.get("type") not in ("OnDelete", "RollingUpdate"):
            detail = "must be 'RollingUpdate' or 'OnDelete'"
            causes.append(invalid("spec.updateStrategy", strategy, detail))
        if strategy.get("type") == "OnDelete" and strategy.get("rollingUpdate") is not None:
            detail = "only allowed for updateStrategy 'RollingUpdate'"
            causes.append(invalid("spec.updateStrategy.rollingUpdate", strategy["rollingUpdate"], detail))
        rolling = strategy.get("rollingUpdate") or {}
        causes += non_negative("spec.updateStrategy.rollingUpdate.partition", rolling.get("partition"))
        causes += int_or_percent("spec.updateStrategy.rollingUpdate.maxUnavailable", rolling.get("maxUnavailable"))
        for key in ("whenDeleted", "whenScaled"):
            kept = at(spec, f"persistentVolumeClaimRetentionPolicy.{key}")
            causes += one_of(f"spec.persistentVolumeClaimRetentionPolicy.{key}", kept, ("Delete", "Retain"))
        return causes + non_negative("spec.ordinals.start", at(spec, "ordinals.start"))

    def whole_template(self, spec: Object) -> Object | None:
        """With the volumes of the claims that each pod gets."""
        template, claims = super().whole_template(spec), spec.get("volumeClaimTemplates") or ()
        if template is None or not claims:
            return template
        names = [at(claim, "metadata.name", "") for claim in claims]
        own = [v for v in at(template, "spec.volumes", ()) if v.get("name") not in names]
        given = [{"name": n, "persistentVolumeClaim": {"claimName": n}} for n in names]
        return {**template, "spec": {**template.get("spec", {}), "volumes": own + given}}

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new, before = ({k: v for k, v in (o.get("spec") or {}).items() if k not in _MUTABLE} for o in (obj, old))
        return [] if new == before else [forbidden("spec", _UPDATE_ERROR)]
