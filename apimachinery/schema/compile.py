"""Turn the OpenAPI definitions of the installed ``kubernetes_validate`` into a compact table, once, cached on disk.

The table is plain JSON: ``{"kinds": {"v1 Pod": definition}, "types": {definition: {field: spec}}}`` where a spec is
the name of a scalar, or ``[form, of, notes]`` (see ``model.py``); under the field "" is what is said of the whole type.
It is written to ``$XDG_CACHE_HOME/kubeto``, keyed by package version and by what compiles it; a directory that cannot
be written only costs the compilation at each start.
"""

import contextlib
import hashlib
import os
import tempfile
from functools import cache
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import Any

import orjson

from apimachinery.schema.zeros import go_type, is_left_out

Definitions = dict[str, dict[str, Any]]
Table = dict[str, dict[str, Any]]

KUBERNETES = "v1.36.0"
_PREFIX = "io.k8s."
_SPECIAL = {
    "apimachinery.pkg.api.resource.Quantity": "quantity",
    "apimachinery.pkg.apis.meta.v1.Time": "time",
    "apimachinery.pkg.apis.meta.v1.MicroTime": "microtime",
    "apimachinery.pkg.util.intstr.IntOrString": "intorstring",
}
_NOTES = {
    "x-kubernetes-patch-merge-key": "key",
    "x-kubernetes-patch-strategy": "strategy",
    "x-kubernetes-list-type": "list",
    "x-kubernetes-list-map-keys": "keys",
    "x-kubernetes-map-type": "map",
}


def definitions() -> Definitions:
    """The definitions as the package ships them: 2 MB of JSON, so don't hold on to them."""
    path = files("kubernetes_validate") / "kubernetes-json-schema" / f"{KUBERNETES}-local" / "_definitions.json"
    loaded: Definitions = orjson.loads(path.read_bytes())["$defs"]
    return loaded


def load_table() -> Table:
    """The compact table, from the cache or freshly compiled (and then cached)."""
    path = cache_path("schema.json")
    try:
        table: Table = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        table = compile_table(definitions())
        write_cache(path, orjson.dumps(table))
    return table


def cache_path(name: str) -> Path:
    """Where a derived file of this package version and this compiler is cached."""
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser()) / "kubeto"
    return root / f"openapi-{KUBERNETES}-{version('kubernetes-validate')}-{_compiler()}" / name


@cache
def _compiler() -> str:
    """What tells this module, and what it goes by, from older ones, whose caches are not read."""
    sources = (Path(__file__), Path(__file__).with_name("zeros.py"))
    return hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:12]


def write_cache(path: Path, content: bytes) -> None:
    """Put the whole file in place at once, so that concurrent processes read all or nothing of it."""
    with contextlib.suppress(OSError):  # no cache is a slower start, nothing worse
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(temporary).replace(path)


def compile_table(defs: Definitions) -> Table:
    kinds: dict[str, str] = {}
    types: dict[str, dict[str, Any]] = {}
    for name, definition in defs.items():
        short = name.removeprefix(_PREFIX)
        for gvk in definition.get("x-kubernetes-group-version-kind", ()):
            group = f"{gvk['group']}/" if gvk["group"] else ""
            kinds[f"{group}{gvk['version']} {gvk['kind']}"] = short
        if "properties" in definition:
            fields = {f: _spec(p) for f, p in definition["properties"].items()}
            optional = fields.keys() - set(definition.get("required", ()))
            omits = sorted(f for f in optional if is_left_out(go_type(short), f, _form_of(fields[f])))
            whole = {"atomic": True} if definition.get("x-kubernetes-map-type") == "atomic" else {}
            types[short] = fields | {"": whole | {"omits": omits}}
    return {"kinds": kinds, "types": types}


def _spec(p: dict[str, Any]) -> Any:
    notes = {short: p[name] for name, short in _NOTES.items() if name in p}
    form, of = _form(p)
    if of is None and not notes:
        return form
    return [form, of, notes] if notes else [form, of]


def _form_of(spec: Any) -> str:
    form: str = spec if isinstance(spec, str) else spec[0]
    return form


def _form(p: dict[str, Any]) -> tuple[str, Any]:
    if "$ref" in p:
        name = p["$ref"].removeprefix("#/$defs/" + _PREFIX)
        return (_SPECIAL[name], None) if name in _SPECIAL else ("object", name)
    kind = p.get("type")
    base = kind if isinstance(kind, str) or kind is None else kind[0]
    if base == "array":
        return "list", _spec(p.get("items") or {})
    if base == "object":
        return ("map", _spec(p["additionalProperties"])) if "additionalProperties" in p else ("any", None)
    if base == "integer":
        return p.get("format", "int64"), None
    if base == "string" and p.get("format") == "byte":
        return "bytes", None
    return {"string": "string", "boolean": "bool", "number": "double", None: "any"}[base], None
