"""Request bodies: JSON, YAML and Kubernetes' protobuf in, an object out; and fields that a text had twice."""

from typing import Any

import orjson

from apimachinery import protobuf
from apimachinery.errors import BadRequest, Cause, Invalid, UnsupportedMediaType
from apimachinery.patch import APPLY_PATCH
from apimachinery.schema import duplicate_fields
from apimachinery.scheme import Kind

from ..registry.answers import WriteOptions
from ..registry.deletion import DeleteOptions, dry_run_of
from .request import Request
from .yaml_body import parse_yaml

Object = dict[str, Any]

_JSON = ("application/json", "", "*/*", "application/x-www-form-urlencoded")
"""curl -d without a header says form: upstream takes that for JSON, too."""
_YAML = ("application/yaml", "application/x-yaml", "text/yaml")
MAX_FIELD_MANAGER = 128
"""Bytes, as upstream."""
_VALIDATIONS = ("Ignore", "Warn", "Strict")


def media_type(request: Request) -> str:
    return request.headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()


async def decode(raw: bytes, media: str, kind: Kind | None) -> Object:
    """Raises BadRequest, UnsupportedMediaType."""
    if media in _JSON:
        obj = parse_json(raw)
    elif media in _YAML:
        obj, _ = await parse_yaml(raw)
    elif media == protobuf.CONTENT_TYPE:
        obj = protobuf.decode(raw)
    else:
        raise UnsupportedMediaType(
            "the body of the request was in an unknown format - accepted media types include: "
            "application/json, application/yaml, application/vnd.kubernetes.protobuf"
        )
    if not isinstance(obj, dict):
        name = kind.kind if kind else "Object"
        raise BadRequest(f"json: cannot unmarshal {_go_type(obj)} into Go value of type {name}")
    return obj


def parse_json(raw: bytes) -> Any:
    if not raw.strip():
        raise BadRequest("unable to decode an empty body: EOF")
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise BadRequest(f"the object provided is unrecognized (must be of type object): {error}") from error


async def applied(request: Request, raw: bytes, options: WriteOptions) -> bytes:
    """The YAML of a server-side apply as JSON. Raises Invalid without a field manager, BadRequest."""
    if not request.query.get("fieldManager"):
        cause = Cause("FieldValueRequired", "Required value: is required for apply patch", "fieldManager")
        raise _invalid_options(request, cause)
    parsed, twice = await parse_yaml(raw)
    if twice and options.field_validation != "Ignore":
        told = "error converting YAML to JSON: yaml: unmarshal errors:\n  " + "\n  ".join(twice)
        if options.field_validation == "Strict":
            raise BadRequest(f"error strict decoding YAML: {told}")
        options.warnings.append(told)
    try:
        return orjson.dumps(parsed)
    except orjson.JSONEncodeError as error:
        raise BadRequest(f"error converting YAML to JSON: {error}") from error


def _go_type(value: object) -> str:
    known = {list: "array", dict: "object", str: "string", bool: "bool", int: "number", float: "number"}
    return known.get(type(value), "null")


async def read_object(request: Request, kind: Kind, options: WriteOptions) -> Object:
    """The body as an object of the kind, or of the kind that a subresource takes. Raises BadRequest."""
    raw = await request.body()
    media = media_type(request)
    obj = await decode(raw, media, kind)
    if options.field_validation != "Ignore" and media != protobuf.CONTENT_TYPE:
        options.duplicates = tuple(duplicate_fields(raw, obj)) if media in _JSON else ()
    for field, default in (("apiVersion", kind.api_version), ("kind", kind.kind)):
        if not isinstance(obj.get(field) or "", str):
            told = f"json: cannot unmarshal {_go_type(obj[field])} into Go struct field TypeMeta.{field} of type string"
            raise BadRequest(f"couldn't get version/kind; json parse error: {told}")
        obj[field] = obj.get(field) or default
    return obj


def check_kind(obj: Object, kind: Kind) -> None:
    """Raises BadRequest if the body is of another kind than the path."""
    if obj["kind"] != kind.kind:
        raise BadRequest(
            f'{obj["kind"]} in version "{obj["apiVersion"].rpartition("/")[2]}" cannot be handled as a {kind.kind}: '
            f"converting ({obj['apiVersion']}.{obj['kind']}) to ({kind.api_version}.{kind.kind}): unknown conversion"
        )
    if obj["apiVersion"] != kind.api_version:
        raise BadRequest(
            f"the API version in the data ({obj['apiVersion']}) does not match the expected API version "
            f"({kind.api_version})"
        )


def write_options(request: Request) -> WriteOptions:
    """From the query. Raises BadRequest, Invalid."""
    query = request.query
    validation = query.get("fieldValidation") or "Warn"
    if validation not in _VALIDATIONS:
        raise BadRequest(f'invalid fieldValidation "{validation}": must be one of Ignore, Warn, Strict')
    dry = query.get("dryRun")
    force = request.flag("force")
    if force is not None and media_type(request) != APPLY_PATCH:
        message = "Forbidden: may not be specified for non-apply patch"
        raise _invalid_options(request, Cause("FieldValueForbidden", message, "force"))
    return WriteOptions(
        dry_run=dry_run_of([dry]) if dry else False,
        field_manager=_field_manager(request),
        field_validation=validation,
        force=bool(force),
        warnings=request.warnings,
        annotations=request.annotations,
    )


def _field_manager(request: Request) -> str:
    """Who writes: as told, else the first word of the user agent, as upstream. Raises Invalid."""
    told = request.query.get("fieldManager")
    if not told:
        agent = request.headers.get(b"user-agent", b"").decode("latin-1").partition("/")[0]
        return "".join(filter(str.isprintable, agent))[:MAX_FIELD_MANAGER] or "unknown"
    if len(told.encode()) > MAX_FIELD_MANAGER:
        message = f"Too long: may not be more than {MAX_FIELD_MANAGER} bytes"
        raise _invalid_options(request, Cause("FieldValueTooLong", message, "fieldManager"))
    if not told.isprintable():
        message = f"Invalid value: {orjson.dumps(told).decode()}: should only contain printable characters"
        raise _invalid_options(request, Cause("FieldValueInvalid", message, "fieldManager"))
    return told


def _invalid_options(request: Request, cause: Cause) -> Invalid:
    kind = {"POST": "CreateOptions", "PUT": "UpdateOptions"}.get(request.method, "PatchOptions")
    message = f'{kind}.meta.k8s.io "" is invalid: {cause.field}: {cause.message}'
    return Invalid(message, group="meta.k8s.io", kind=kind, causes=[cause])


async def delete_options(request: Request) -> DeleteOptions:
    """From the body if there is one, else from the query. Raises BadRequest, Invalid."""
    raw = await request.body()
    if raw.strip():
        return DeleteOptions.from_json(await decode(raw, media_type(request), None))
    query = request.query
    dry = query.get("dryRun")
    options: Object = {"propagationPolicy": query.get("propagationPolicy"), "dryRun": [dry] if dry else []}
    options["gracePeriodSeconds"] = request.number("gracePeriodSeconds")
    options["orphanDependents"] = request.flag("orphanDependents")
    wanted = {"uid": query.get("preconditions.uid"), "resourceVersion": query.get("preconditions.resourceVersion")}
    options["preconditions"] = wanted
    return DeleteOptions.from_json(options)
