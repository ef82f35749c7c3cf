"""PrioritySort (QueueSort): higher priority first, then whoever has waited longest."""

from master.scheduler.shape import PodShape


def order(shape: PodShape, since: float) -> tuple[int, float]:
    """The sort key of a pod that entered the queue at ``since`` (monotonic seconds)."""
    return -shape.priority, since
