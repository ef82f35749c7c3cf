"""All pods of ``pod_cases`` at once, on the real cluster: what each becomes and prints."""

import json
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.local_cluster import LocalCluster
from tests.e2e.pod_cases import CASES, OBJECTS
from tests.waiting import eventually

pytestmark = [pytest.mark.docker, pytest.mark.root]
NAMESPACE = "pod-cases"
_SECONDS = 120


class Pods:
    """The pods of all cases, looked at together."""

    def __init__(self, cluster: LocalCluster) -> None:
        self._cluster, self._until = cluster, time.monotonic() + _SECONDS
        self._pods: dict[str, Any] = {}

    def wait(self, name: str) -> str:
        """Until the case's pod is as it must be; its log. AssertionError if that takes too long."""
        case = CASES[name]
        while True:
            pod = self._pods.get(name, {})
            if (pod.get("status") or {}).get("phase") == case.phase and _holds(name, pod):
                return self._cluster.kubectl("logs", name, "-n", NAMESPACE, "-c", "c") if case.log else ""
            assert time.monotonic() < self._until, json.dumps(pod.get("status"), indent=1)
            self._look()

    def _look(self) -> None:
        time.sleep(0.2)
        self._pods = {p["metadata"]["name"]: p for p in self._cluster.get("pods", "-n", NAMESPACE)["items"]}


def _holds(name: str, pod: Any) -> bool:
    try:
        return CASES[name].check(pod)
    except KeyError:  # not there yet
        return False


@pytest.fixture(scope="module")
def pods(cluster: LocalCluster) -> Iterator[Pods]:
    cluster.kubectl("create", "namespace", NAMESPACE)
    eventually(lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", NAMESPACE))
    made = [
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **case.meta}, "spec": case.spec}
        for name, case in CASES.items()
    ]
    for objects in (OBJECTS, made):
        cluster.apply(json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), "-n", NAMESPACE)
    yield Pods(cluster)
    cluster.kubectl("delete", "namespace", NAMESPACE, "--timeout=90s", timeout=100)


@pytest.mark.parametrize("name", CASES)
def test_pod(pods: Pods, name: str) -> None:
    eventually_printed = time.monotonic() + 10
    while True:
        log = pods.wait(name)
        missing = [pattern for pattern in CASES[name].log if not re.search(pattern, log, re.MULTILINE)]
        if not missing:
            return
        assert time.monotonic() < eventually_printed, f"missing {missing} in {log!r}"
        time.sleep(0.2)
