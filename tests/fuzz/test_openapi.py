"""schemathesis on the published OpenAPI: requests made from our own documents, answers held against them."""

import warnings
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import given, settings
from schemathesis.specs.openapi import checks

from tests.control_plane import ADMIN_TOKEN
from tests.effort import EFFORT
from tests.fuzz.victim import Victim

GROUPS = [
    "api/v1",
    "apis/apps/v1",
    "apis/coordination.k8s.io/v1",
    "apis/authorization.k8s.io/v1",
    "apis/discovery.k8s.io/v1",
]
"""What ``make test`` has time for; ``make fuzz`` takes all."""
CONNECTIONS = ("/proxy", "/proxy/{path}", "/exec", "/attach", "/portforward", "/log")
INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
"""Version 2 of OpenAPI has no word for it; upstream publishes it as a string there."""
WAITING = ("watch", "resourceVersion", "continue")
"""Parameters that may make a request wait: they have tests of their own."""


def operations(victim: Victim, path: str) -> list[Any]:
    document = victim.call("GET", f"/{path}").json
    if INT_OR_STRING in document.get("definitions", ()):
        document["definitions"][INT_OR_STRING] = {}
    schema = schemathesis.openapi.from_dict(document)
    found = [result.ok() for result in schema.get_all_operations()]
    return [o for o in found if "/watch/" not in o.path and not o.path.endswith(CONNECTIONS)]


def attack(victim: Victim, operation: Any, examples: int) -> None:
    @settings(settings.get_profile("attack"), max_examples=examples)
    @given(case=operation.as_strategy())
    def run(case: Any) -> None:
        case.query = {k: v for k, v in (case.query or {}).items() if k not in WAITING} | {"timeoutSeconds": 1}
        answer = case.call(base_url=victim.server.url, session=victim.session, timeout=20, verify=victim.server.ca_file)
        victim.calls += 1
        held = [
            schemathesis.checks.not_a_server_error,
            checks.response_schema_conformance,
            checks.content_type_conformance,
        ]
        case.validate_response(answer, checks=held)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run()


@pytest.mark.parametrize("version", ["v3", "v2"])
def test_answers_are_as_published(victim: Victim, version: str) -> None:
    victim.session = requests.Session()
    victim.session.headers["Authorization"] = f"Bearer {ADMIN_TOKEN}"
    groups = list(victim.call("GET", "/openapi/v3").json["paths"])
    served = [g for g in groups if EFFORT > 1 or g in GROUPS]
    paths = [f"openapi/v3/{g}" for g in served] if version == "v3" else ["openapi/v2"]
    for path in paths:
        found = operations(victim, path)
        assert found or "/" not in path.removeprefix("openapi/v3/")
        for operation in found if EFFORT > 1 else found[:: 5 if version == "v3" else 60]:
            attack(victim, operation, EFFORT)
