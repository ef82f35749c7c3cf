"""What a client wants to get: the media type of ``Accept``, and the shape (Table, PartialObjectMetadata) it asks for.

Source: ``k8s.io/apiserver/pkg/endpoints/handlers/negotiation``.
"""

from dataclasses import dataclass

from apimachinery.errors import NotAcceptable
from apimachinery.memo import memo

JSON, YAML = "application/json", "application/yaml"
_SERVED = {JSON: JSON, "*/*": JSON, "application/*": JSON, YAML: YAML, "text/yaml": YAML, "application/x-yaml": YAML}
_SHAPES = ("Table", "PartialObjectMetadata", "PartialObjectMetadataList")
_META_VERSIONS = ("v1", "v1beta1")


@dataclass(frozen=True, slots=True)
class Wanted:
    """``shape`` is "" for objects as they are; ``group`` and ``version`` are the shape's."""

    media_type: str = JSON
    shape: str = ""
    group: str = ""
    version: str = ""


PLAIN = Wanted()


@memo(256)
def accept(header: str, *, shapes: bool = True) -> Wanted:
    """The first acceptable clause, best quality first. Raises NotAcceptable if there is none. ``shapes``: whether the
    answer has metadata, of which a Table can be made."""
    if not header:
        return PLAIN
    for clause in sorted(map(_parse, header.split(",")), key=lambda c: -c[2]):
        wanted = _serve(clause[0], clause[1])
        if wanted and (shapes or not wanted.shape):
            return wanted
    served = "application/json, application/yaml"
    raise NotAcceptable(f"only the following media types are accepted: {served}")


def clauses(header: str) -> list[tuple[str, dict[str, str]]]:
    """Media types with their parameters, best quality first."""
    parsed = sorted(map(_parse, header.split(",")), key=lambda c: -c[2])
    return [(media, parameters) for media, parameters, _ in parsed]


def _parse(clause: str) -> tuple[str, dict[str, str], float]:
    media, *parameters = (p.strip() for p in clause.split(";"))
    pairs = dict(p.split("=", 1) for p in parameters if "=" in p)
    try:
        quality = float(pairs.pop("q", "1"))
    except ValueError:
        quality = 0.0
    return media.lower(), pairs, quality


def _serve(media: str, parameters: dict[str, str]) -> Wanted | None:
    served = _SERVED.get(media)
    if served is None:
        return None
    shape, group, version = (parameters.get(k, "") for k in ("as", "g", "v"))
    if not shape:
        return Wanted(served)
    if shape in _SHAPES and group == "meta.k8s.io" and version in _META_VERSIONS:
        return Wanted(served, shape, group, version)
    return None
