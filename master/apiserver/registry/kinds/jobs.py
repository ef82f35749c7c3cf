"""Jobs and CronJobs."""

import re
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from apimachinery.duration import human_duration, since
from apimachinery.errors import Cause

from ..strategy import Strategy
from .causes import Causes, immutable, invalid, non_negative, not_supported, one_of, required
from .pod_defaults import default_template, set_default
from .pod_validation import validate_template
from .printing import AGE, NAME, SELECTOR, at, containers, label_selector, number, text

Object = dict[str, Any]

_COUNTS = ("parallelism", "completions", "backoffLimit", "activeDeadlineSeconds", "ttlSecondsAfterFinished",
           "backoffLimitPerIndex", "maxFailedIndexes")  # fmt: skip
_MAX_INDEXED_PARALLELISM = 100_000
_ACTIONS = ("Count", "FailIndex", "FailJob", "Ignore")
_CRON_FIELD = re.compile(r"[0-9A-Za-z*/,\-?#L]+")
_CRON_ALIAS = ("@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly")


def default_job_spec(spec: Object) -> None:
    default_template(spec)
    if spec.get("completions") is None and spec.get("parallelism") is None:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    if "backoffLimit" not in spec:
        spec["backoffLimit"] = 6 if spec.get("backoffLimitPerIndex") is None else 2**31 - 1
    set_default(spec, "completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    set_default(spec, "podReplacementPolicy", "Failed" if spec.get("podFailurePolicy") else "TerminatingOrFailed")
    for rule in (spec.get("podFailurePolicy") or {}).get("rules") or ():
        for pattern in rule.get("onPodConditions") or ():
            set_default(pattern, "status", "True")


def validate_job_spec(spec: Object, field: str) -> Causes:
    causes = [c for key in _COUNTS for c in non_negative(f"{field}.{key}", spec.get(key))]
    causes += one_of(f"{field}.completionMode", spec.get("completionMode"), ("Indexed", "NonIndexed"))
    if spec.get("completionMode") == "Indexed" and spec.get("completions") is None:
        causes.append(required(f"{field}.completions", "when completion mode is Indexed"))
    causes += _indexed_only(spec, field) + _failure_policy(spec, field)
    causes += validate_template(spec.get("template"), f"{field}.template")
    policy = at(spec, "template.spec.restartPolicy")
    if policy not in ("Never", "OnFailure"):
        place = f"{field}.template.spec.restartPolicy"
        if policy == "Always":
            # Source: upstream names the values itself where the template's default is what is wrong.
            return [*causes, required(place, 'valid values: "OnFailure", "Never"')]
        causes.append(not_supported(place, policy, ("Never", "OnFailure")))
    return causes


def _indexed_only(spec: Object, field: str) -> Causes:
    """What counts by index needs a job of indexes."""
    causes: list[Cause] = []
    indexed, per_index = spec.get("completionMode") == "Indexed", spec.get("backoffLimitPerIndex")
    if per_index is not None and not indexed:
        causes.append(invalid(f"{field}.backoffLimitPerIndex", per_index, "requires indexed completion mode"))
    if spec.get("successPolicy") is not None and not indexed:
        causes.append(invalid(f"{field}.successPolicy", spec["successPolicy"], "requires indexed completion mode"))
    if spec.get("maxFailedIndexes") is not None and per_index is None:
        causes.append(required(f"{field}.backoffLimitPerIndex", "when maxFailedIndexes is specified"))
    if indexed and (spec.get("parallelism") or 0) > _MAX_INDEXED_PARALLELISM:
        detail = f"must be less than or equal to {_MAX_INDEXED_PARALLELISM} when completion mode is Indexed"
        causes.append(invalid(f"{field}.parallelism", spec["parallelism"], detail))
    return causes


def _failure_policy(spec: Object, field: str) -> Causes:
    policy = spec.get("podFailurePolicy")
    if policy is None:
        return []
    place, causes = f"{field}.podFailurePolicy", list[Cause]()
    if at(spec, "template.spec.restartPolicy") != "Never":
        detail = 'only "Never" is supported when podFailurePolicy is specified'
        policy_ = at(spec, "template.spec.restartPolicy", "")
        causes.append(invalid(f"{field}.template.spec.restartPolicy", policy_, detail))
    names = {c.get("name") for k in ("containers", "initContainers") for c in at(spec, f"template.spec.{k}", ())}
    for index, rule in enumerate(policy.get("rules") or ()):
        spot, codes = f"{place}.rules[{index}]", rule.get("onExitCodes")
        causes += one_of(f"{spot}.action", rule.get("action"), _ACTIONS, optional=False)
        if codes is None and not rule.get("onPodConditions"):
            causes.append(invalid(spot, "", "specifying one of OnExitCodes and OnPodConditions is required"))
        elif codes is not None and rule.get("onPodConditions"):
            causes.append(invalid(spot, "", "specifying both OnExitCodes and OnPodConditions is not supported"))
        if codes is not None:
            causes += one_of(f"{spot}.onExitCodes.operator", codes.get("operator"), ("In", "NotIn"), optional=False)
            if codes.get("containerName") and codes["containerName"] not in names:
                detail = "must be one of the container or initContainer names in the pod template"
                causes.append(invalid(f"{spot}.onExitCodes.containerName", codes["containerName"], detail))
            if codes.get("operator") == "In" and 0 in (codes.get("values") or ()):
                detail = "must not be 0 for the In operator"
                causes.append(invalid(f"{spot}.onExitCodes.values[{codes['values'].index(0)}]", 0, detail))
    return causes


class JobStrategy(Strategy):
    status_zeros = {}
    columns = (
        NAME,
        text("Status", lambda job: _status(job), "Status of the job."),
        text(
            "Completions", lambda job: _completions(job), "Specifies the desired number of successfully finished pods."
        ),
        text("Duration", lambda job: _duration(job), "Time required to complete the job."),
        AGE,
        *containers(),
        SELECTOR,
    )
    field_labels = {"status.successful": lambda job: str(at(job, "status.succeeded", 0))}
    default_propagation = "Orphan"  # for batch/v1 upstream keeps what it always did

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        default_job_spec(spec)
        labels = at(spec, "template.metadata.labels")
        if labels and not at(obj, "metadata.labels"):
            obj.setdefault("metadata", {})["labels"] = dict(labels)

    def prepare_create(self, obj: Object) -> None:
        """Pods are told apart by the job's uid, unless the user brings a selector of their own."""
        spec = obj["spec"]
        if spec.get("manualSelector"):
            return
        uid, name = at(obj, "metadata.uid", ""), at(obj, "metadata.name", "")
        meta = spec.setdefault("template", {}).setdefault("metadata", {})
        meta["labels"] = dict(meta.get("labels") or {}) | {
            "batch.kubernetes.io/controller-uid": uid,
            "batch.kubernetes.io/job-name": name,
            "controller-uid": uid,
            "job-name": name,
        }
        spec["selector"] = {"matchLabels": {"batch.kubernetes.io/controller-uid": uid}}

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        causes = validate_job_spec(spec, "spec")
        return causes if spec.get("selector") is not None else [*causes, required("spec.selector")]

    def validate_update(self, obj: Object, old: Object) -> Causes:
        new, before = obj.get("spec") or {}, old.get("spec") or {}
        causes: list[Cause] = []
        fixed = ["selector", "completionMode", "podFailurePolicy", "backoffLimitPerIndex", "managedBy", "successPolicy"]
        if new.get("completionMode") != "Indexed":
            fixed.append("completions")
        if not (before.get("suspend") and not at(old, "status.startTime")):
            fixed.append("template")  # a job that has not begun may still be told where to run
        return causes + [immutable(f"spec.{k}", new.get(k)) for k in fixed if new.get(k) != before.get(k)]


def _status(job: Object) -> str:
    true = {c.get("type") for c in at(job, "status.conditions", ()) if c.get("status") == "True"}
    for condition, shown in (("Complete", "Complete"), ("Failed", "Failed")):
        if condition in true:
            return shown
    if at(job, "metadata.deletionTimestamp"):
        return "Terminating"
    for condition, shown in (("Suspended", "Suspended"), ("FailureTarget", "FailureTarget"),
                             ("SuccessCriteriaMet", "SuccessCriteriaMet")):  # fmt: skip
        if condition in true:
            return shown
    return "Running"


def _completions(job: Object) -> str:
    done, wanted, at_once = at(job, "status.succeeded", 0), at(job, "spec.completions"), at(job, "spec.parallelism", 0)
    if wanted is not None:
        return f"{done}/{wanted}"
    return f"{done}/1 of {at_once}" if at_once > 1 else f"{done}/1"


def _duration(job: Object) -> str:
    start, end = at(job, "status.startTime"), at(job, "status.completionTime")
    if not start:
        return ""
    finish = datetime.fromisoformat(end) if end else datetime.now(UTC)
    return human_duration((finish - datetime.fromisoformat(start)).total_seconds())


class CronJobStrategy(Strategy):
    status_zeros = {}
    columns = (
        NAME,
        text("Schedule", "spec.schedule", "The schedule in Cron format."),
        text("Timezone", lambda c: at(c, "spec.timeZone", "<none>"), "The time zone name for the given schedule."),
        text("Suspend", lambda c: "True" if at(c, "spec.suspend") else "False"),
        number("Active", lambda c: len(at(c, "status.active", ())), "The currently running jobs."),
        text("Last Schedule", lambda c: since(t) if (t := at(c, "status.lastScheduleTime")) else "<none>"),
        AGE,
        *containers("spec.jobTemplate.spec.template.spec"),
        text("Selector", lambda c: label_selector(at(c, "spec.jobTemplate.spec.selector")), wide=True),
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        set_default(spec, "concurrencyPolicy", "Allow")
        spec.setdefault("suspend", False)
        spec.setdefault("successfulJobsHistoryLimit", 3)
        spec.setdefault("failedJobsHistoryLimit", 1)
        default_template(at(spec, "jobTemplate.spec", {}))

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        schedule = spec.get("schedule") or ""
        causes = [required("spec.schedule")] if not schedule else _schedule(schedule)
        causes += one_of("spec.concurrencyPolicy", spec.get("concurrencyPolicy"), ("Allow", "Forbid", "Replace"))
        causes += _time_zone(spec.get("timeZone"))
        for key in ("startingDeadlineSeconds", "successfulJobsHistoryLimit", "failedJobsHistoryLimit"):
            causes += non_negative(f"spec.{key}", spec.get(key))
        if len(at(obj, "metadata.name", "")) > 52:
            causes.append(invalid("metadata.name", at(obj, "metadata.name"), "must be no more than 52 characters"))
        template = at(spec, "jobTemplate.spec", {})
        return causes + validate_job_spec(template, "spec.jobTemplate.spec")


def _schedule(schedule: str) -> Causes:
    if schedule in _CRON_ALIAS or schedule.startswith("@every "):
        return []
    if "TZ" in schedule:
        return [invalid("spec.schedule", schedule, "cannot use TZ or CRON_TZ in schedule, use timeZone field instead")]
    parts = schedule.split()
    if len(parts) != 5:
        return [invalid("spec.schedule", schedule, f"expected exactly 5 fields, found {len(parts)}: {parts}")]
    bad = [p for p in parts if not _CRON_FIELD.fullmatch(p)]
    return [invalid("spec.schedule", schedule, f"failed to parse int from {bad[0]}")] if bad else []


def _time_zone(zone: str | None) -> Causes:
    if zone is None:
        return []
    try:
        ZoneInfo(zone)
    except (ZoneInfoNotFoundError, ValueError):
        return [invalid("spec.timeZone", zone, f"unknown time zone {zone}")]
    return []
