"""Make ``facts.json``, the table that drives the decoder, from Kubernetes' published protobuf facts.

    python -m apimachinery.protobuf.generate FACTS.json

FACTS.json gives field numbers, types and JSON names of every message. Three things it does not say reliably are added:
whether a field is a list comes from the OpenAPI definitions, whether a zero is omitted in JSON from them (required
fields are always there) and from ``schema/zeros.py``: optional fields that are no pointers in Go travel as zero
whenever they are not set.
"""

import sys
from pathlib import Path
from typing import Any

import orjson

from apimachinery.schema.compile import definitions
from apimachinery.schema.zeros import is_left_out

FACTS = Path(__file__).with_name("facts.json")
_PACKAGES = (
    "io.k8s.api.{}",
    "io.k8s.apimachinery.pkg.apis.{}",
    "io.k8s.apiextensions-apiserver.pkg.apis.{}",
    "io.k8s.kube-aggregator.pkg.apis.{}",
)
_MISSING: dict[str, Any] = {
    "apiextensions/v1.ValidationRule": {
        "rule": {"n": 1, "t": "string"},
        "message": {"n": 2, "t": "string"},
        "messageExpression": {"n": 3, "t": "string"},
        "reason": {"n": 4, "t": "string"},
        "fieldPath": {"n": 5, "t": "string"},
        "optionalOldSelf": {"n": 6, "t": "bool"},
    }
}
"""Messages that the facts refer to and do not have. Source: apiextensions/v1/generated.proto."""


def generate(facts: dict[str, Any]) -> dict[str, Any]:
    """Messages as ``{number: [JSON name, type, flags]}``: l = list, i = inline, z = a zero is left out."""
    defs = definitions()
    messages = facts["messages"] | _MISSING
    known = {name: _definition(name, defs) for name in messages}
    for name, fields in messages.items():  # what is inline has its fields in the definition of what it stands in
        for fact in fields.values():
            if fact.get("inline") and not known[fact["t"]]:
                known[fact["t"]] = known[name]
    out = {name: _message(name, fields, known[name]) for name, fields in messages.items()}
    return {"kinds": facts["kinds"], "messages": out}


def _definition(message: str, defs: dict[str, Any]) -> dict[str, Any]:
    name = message.replace("/", ".")
    return next((defs[p.format(name)] for p in _PACKAGES if p.format(name) in defs), {})


def _message(name: str, fields: dict[str, Any], definition: dict[str, Any]) -> dict[str, list[str]]:
    required = definition.get("required", ())
    properties = definition.get("properties", {})
    out = {}
    for field, fact in fields.items():
        shown = fact.get("j", field)
        flags = "i" if fact.get("inline") else ""
        flags += "l" if _is_list(fact, properties.get(shown)) else ""
        if not flags and shown not in required and fact["t"] != "map" and is_left_out(name, shown, fact["t"]):
            flags += "z"
        kind = fact["t"] if fact["t"] != "map" else f"map {fact['mapValue']}"
        if kind == "apiextensions/v1.ValidationRules":
            kind = "apiextensions/v1.ValidationRule"
        out[str(fact["n"])] = [shown, kind, flags]
    return out


def _is_list(fact: dict[str, Any], declared: dict[str, Any] | None) -> bool:
    if declared is None or fact["t"] in ("bytes", "meta/v1.Verbs"):
        return bool(fact.get("rep"))
    return "array" in str(declared.get("type"))


if __name__ == "__main__":
    made = generate(orjson.loads(Path(sys.argv[1]).read_bytes()))
    FACTS.write_bytes(orjson.dumps(made, option=orjson.OPT_SORT_KEYS) + b"\n")
