"""What a client asks of a list or a watch: options that fit together, versions, continue tokens."""

import base64
import binascii
from dataclasses import dataclass

import orjson

from apimachinery.errors import BadRequest

from . import refusals

_VERSION_DIGITS = 20


@dataclass(frozen=True, slots=True)
class ListOptions:
    """``resource_version_match`` is "", ``Exact`` or ``NotOlderThan``; a limit of 0 means all."""

    resource_version: str = ""
    resource_version_match: str = ""
    limit: int = 0
    continue_token: str = ""


@dataclass(frozen=True, slots=True)
class WatchOptions:
    resource_version: str = ""
    resource_version_match: str = ""
    send_initial_events: bool | None = None
    bookmarks: bool = False


def wants_initial(options: WatchOptions) -> bool:
    if options.send_initial_events is None:
        if options.resource_version_match:
            raise BadRequest("resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided")
        return options.resource_version in ("", "0")
    if options.resource_version_match != "NotOlderThan":
        raise BadRequest('sendInitialEvents requires setting resourceVersionMatch to "NotOlderThan"')
    return options.send_initial_events


def check_match(options: ListOptions) -> None:
    """Raises BadRequest. Source: ``ValidateListOptions`` in apimachinery/pkg/apis/meta/internalversion/validation."""
    match, version = options.resource_version_match, options.resource_version
    if not match:
        return
    if match not in ("Exact", "NotOlderThan"):
        raise BadRequest(
            f'resourceVersionMatch: Unsupported value: "{match}": supported values: "Exact", "NotOlderThan"'
        )
    if not version:
        raise BadRequest("resourceVersionMatch is forbidden unless resourceVersion is provided")
    if match == "Exact" and version == "0":
        raise BadRequest('resourceVersionMatch "exact" is forbidden for resourceVersion "0"')


def parse_version(text: str) -> int:
    """Raises BadRequest."""
    if not text.isascii() or not text.isdigit() or len(text) > _VERSION_DIGITS or int(text) >= 1 << 64:
        raise refusals.bad_version(text)
    return int(text)


def encode_token(revision: int, start: str) -> str:
    """A continue token, of upstream's form."""
    raw = orjson.dumps({"v": "meta.k8s.io/v1", "rv": revision, "start": start})
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def decode_token(token: str) -> tuple[int, str]:
    """Revision (-1 = any) and key to go on from. Raises BadRequest."""
    try:
        raw = orjson.loads(base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)))
        if raw["v"] != "meta.k8s.io/v1" or raw["rv"] == 0:
            raise ValueError(raw["v"])
        revision, start = raw["rv"], raw["start"]
        if type(revision) is not int or revision >= 1 << 63 or not isinstance(start, str):
            raise ValueError(revision)
        return revision, start
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise BadRequest("continue key is not valid: encoded continue token is not valid") from error
