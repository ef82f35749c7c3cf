"""When a status is news, and when two templates are the same."""

from typing import Any

import pytest

from apimachinery.client.api import ApiClient
from apimachinery.scheme import DEPLOYMENTS
from master.controller_manager.status import same, write_status


class Writes:
    def __init__(self) -> None:
        self.made: list[Any] = []

    async def update(self, kind: Any, obj: Any, *, subresource: str) -> Any:
        self.made.append((kind, obj["status"], subresource))
        return obj


@pytest.mark.parametrize(
    ("stored", "status", "news"),
    [
        ({}, {"replicas": 0, "conditions": [], "observedGeneration": 1}, True),
        ({"observedGeneration": 1}, {"replicas": 0, "conditions": [], "observedGeneration": 1}, False),
        ({"replicas": 1}, {"replicas": 0}, True),
        ({"replicas": 1}, {}, True),
        ({}, {"conditions": [{"type": "A", "message": ""}]}, True),
        ({"conditions": [{"type": "A"}]}, {"conditions": [{"type": "A", "message": ""}]}, False),
    ],
)
async def test_a_status_is_written_when_it_is_news(stored: Any, status: Any, news: bool) -> None:
    writes: Any = Writes()
    client: ApiClient = writes
    written = await write_status(client, DEPLOYMENTS, {"metadata": {}, "status": stored}, status)
    assert (written is not None) == news
    assert writes.made == ([(DEPLOYMENTS, status, "status")] if news else [])


def test_a_zero_in_a_template_is_something() -> None:
    assert same({"a": {}, "b": None, "c": []}, {})
    assert not same({"securityContext": {"runAsUser": 0}}, {"securityContext": {}})
