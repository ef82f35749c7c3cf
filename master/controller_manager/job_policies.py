"""``podFailurePolicy`` and ``successPolicy``: what a failed pod means, and when enough has succeeded. Pure.

Source: ``pkg/controller/job/{pod_failure_policy,success_policy}.go``.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from apimachinery.meta import Object, get_condition, name_of, namespace_of
from master.controller_manager.job_indexes import parse


@dataclass(frozen=True)
class Match:
    """``action``: FailJob, FailIndex, Ignore or Count."""

    action: str
    message: str = ""


COUNT = Match("Count")


def judge(job: Object, pod: Object) -> Match:
    """What the first rule that fits a failed pod says; without one it counts."""
    rules = (job["spec"].get("podFailurePolicy") or {}).get("rules") or ()
    for number, rule in enumerate(rules):
        action = rule["action"]
        if rule.get("onExitCodes"):
            found = _exit_code(pod, rule["onExitCodes"])
            if found is not None:
                name, code = found
                where = f"Container {name} for pod {namespace_of(pod)}/{name_of(pod)}"
                return Match(action, f"{where} failed with exit code {code} matching {action} rule at index {number}")
        for pattern in rule.get("onPodConditions") or ():
            condition = get_condition(pod, pattern["type"])
            if condition is not None and condition.get("status") == pattern.get("status", "True"):
                about = f"Pod {namespace_of(pod)}/{name_of(pod)} has condition {pattern['type']}"
                return Match(action, f"{about} matching {action} rule at index {number}")
    return COUNT


def _exit_code(pod: Object, requirement: Mapping[str, Any]) -> tuple[str, int] | None:
    """The first container that ended with a code that the requirement means. 0 never matches."""
    status = pod.get("status") or {}
    wanted = requirement.get("containerName")
    for one in [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]:
        ended = (one.get("state") or {}).get("terminated")
        if ended is None or (wanted and one["name"] != wanted) or not ended.get("exitCode"):
            continue
        inside = ended["exitCode"] in requirement["values"]
        if inside == (requirement["operator"] == "In"):
            return one["name"], int(ended["exitCode"])
    return None


def success_rule(job: Object, succeeded: Iterable[int]) -> int | None:
    """The number of the first rule of the success policy that ``succeeded`` indexes satisfy."""
    done = set(succeeded)
    for number, rule in enumerate((job["spec"].get("successPolicy") or {}).get("rules") or ()):
        wanted = parse(rule["succeededIndexes"]) if rule.get("succeededIndexes") else None
        counted = done if wanted is None else done & wanted
        enough = rule.get("succeededCount")
        if (enough is None and wanted is not None and wanted <= done) or (
            enough is not None and len(counted) >= enough
        ):
            return number
    return None
