"""ImageLocality: prefer nodes that already hold the pod's images, big ones and widely held ones more."""

import numpy as np

from master.scheduler.framework import MAX_SCORE, Rows, ScorePlugin, Scores
from master.scheduler.shape import PodShape
from master.scheduler.snapshot import Snapshot

# The sizes between which an image makes a difference: below it is pulled in no time, above none is better.
_MIN_BYTES = 23 * 1024 * 1024
_MAX_BYTES_PER_CONTAINER = 1000 * 1024 * 1024


def normalized_name(image: str) -> str:
    """The image with ``:latest`` where it has no tag, as nodes report it."""
    return image if image.rfind(":") > image.rfind("/") else f"{image}:latest"


class ImageLocality(ScorePlugin):
    name = "ImageLocality"

    def scores(self, shape: PodShape, snapshot: Snapshot) -> bool:
        return any(normalized_name(image) in snapshot.images for image in shape.images)

    def score(self, shape: PodShape, snapshot: Snapshot, rows: Rows) -> Scores:
        total = np.zeros(snapshot.capacity, np.int64)[rows]
        nodes = max(snapshot.node_count, 1)
        for image in shape.images:
            held = snapshot.images.get(normalized_name(image))
            if held is not None:
                spread = np.count_nonzero(held.present) / nodes
                total += held.present[rows] * int(held.bytes * spread)
        highest = _MAX_BYTES_PER_CONTAINER * max(len(shape.images), 1)
        return MAX_SCORE * (np.clip(total, _MIN_BYTES, highest) - _MIN_BYTES) // (highest - _MIN_BYTES)
