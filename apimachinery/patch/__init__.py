"""The four ways to patch an object. None of them changes its arguments; the result shares nothing with them.

Sources: RFC 6902, RFC 7386, and the strategic merge patch and server-side apply of Kubernetes
(``k8s.io/apimachinery/pkg/util/strategicpatch``, ``sigs.k8s.io/structured-merge-diff``).
"""

from apimachinery.patch.apply import FieldManager, apply, tracked_create, tracked_update
from apimachinery.patch.json import copy, json_patch, merge
from apimachinery.patch.strategic import strategic_merge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_MERGE_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

__all__ = [
    "APPLY_PATCH",
    "JSON_PATCH",
    "MERGE_PATCH",
    "STRATEGIC_MERGE_PATCH",
    "FieldManager",
    "apply",
    "copy",
    "json_patch",
    "merge",
    "strategic_merge",
    "tracked_create",
    "tracked_update",
]
