"""Telling pod templates apart: the hash in names and labels, and equality after defaulting."""

import hashlib
from collections.abc import Mapping
from typing import Any

import orjson

from apimachinery.meta import safe_encode
from master.controller_manager.status import same

POD_TEMPLATE_HASH = "pod-template-hash"


def compute_hash(value: Any, collisions: int) -> str:
    """A short hash in the alphabet of names. ``collisions`` makes another one when a name is taken."""
    body = orjson.dumps(value, option=orjson.OPT_SORT_KEYS) + (str(collisions).encode() if collisions else b"")
    number = int.from_bytes(hashlib.sha256(body).digest()[:4], "big")
    return safe_encode(str(number))


def equal_templates(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two stored (so: defaulted) templates are the same but for the hash label."""
    return same(_unhashed(one), _unhashed(other))


def _unhashed(template: Mapping[str, Any]) -> Mapping[str, Any]:
    metadata = dict(template.get("metadata") or {})
    labels = metadata.get("labels") or {}
    metadata["labels"] = {k: v for k, v in labels.items() if k != POD_TEMPLATE_HASH}
    return {**template, "metadata": metadata}
