"""Completion indexes: sets of numbers as ranges in text (``0-2,5``), and where a pod carries its own.

Source: ``pkg/controller/job/indexed_job_utils.go``.
"""

from collections.abc import Iterable

from apimachinery.meta import Object, annotations_of, name_of
from apimachinery.patch import copy

INDEX = "batch.kubernetes.io/job-completion-index"
FAILURES = "batch.kubernetes.io/job-index-failure-count"
_ENV = "JOB_COMPLETION_INDEX"


def parse(text: str | None, limit: int | None = None) -> set[int]:
    """The numbers below ``limit`` in a text such as ``0-2,5``. What is not a number is left out."""
    found: set[int] = set()
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        if first.isdigit() and (not last or last.isdigit()):
            found.update(range(int(first), int(last or first) + 1))
    return {i for i in found if limit is None or i < limit}


def ranges(indexes: Iterable[int]) -> str:
    """The shortest text: neighbours as a range."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][-1] + 1:
            parts[-1].append(index)
        else:
            parts.append([index])
    return ",".join(_range(p[0], p[-1]) for p in parts)


def _range(first: int, last: int) -> str:
    if first == last:
        return str(first)
    return f"{first},{last}" if last == first + 1 else f"{first}-{last}"


def index_of(pod: Object) -> int | None:
    text = annotations_of(pod).get(INDEX, "")
    return int(text) if text.isdigit() else None


def failures_of(pod: Object) -> int:
    """How often its index had failed before this pod."""
    text = annotations_of(pod).get(FAILURES, "0")
    return int(text) if text.isdigit() else 0


def with_index(pod: Object, job: Object, index: int, failures: int | None) -> Object:
    """``pod`` as the one for ``index``: annotation, label, host name, environment. ``failures``: so far, if limited."""
    pod = copy(pod)
    metadata, spec = pod["metadata"], pod["spec"]
    annotations = {INDEX: str(index)} | ({FAILURES: str(failures)} if failures is not None else {})
    metadata["annotations"] = {**(metadata.get("annotations") or {}), **annotations}
    metadata["labels"] = {**(metadata.get("labels") or {}), INDEX: str(index)}
    suffix = f"-{index}"
    metadata["generateName"] = f"{name_of(job)[: 63 - 6 - len(suffix)]}{suffix}-"
    spec["hostname"] = f"{name_of(job)[: 63 - len(suffix)]}{suffix}"
    source = {"fieldRef": {"fieldPath": f"metadata.labels['{INDEX}']"}}
    for container in [*(spec.get("initContainers") or ()), *spec["containers"]]:
        if not any(v["name"] == _ENV for v in container.get("env") or ()):
            container["env"] = [*(container.get("env") or ()), {"name": _ENV, "valueFrom": source}]
    return pod
