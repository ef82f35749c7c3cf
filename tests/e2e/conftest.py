"""What the end-to-end tests share on the real cluster (``cluster``, in tests/conftest.py)."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.local_cluster import LocalCluster
from tests.waiting import eventually


@pytest.fixture
def namespace(cluster: LocalCluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """A namespace of the test's own, gone afterwards with all that is in it."""
    name = "t-" + request.node.name.replace("_", "-").replace("[", "-").replace("]", "")[-40:].strip("-").lower()
    cluster.kubectl("create", "namespace", name)
    eventually(lambda: cluster.kubectl("get", "serviceaccount", "default", "-n", name))
    yield name
    cluster.kubectl("delete", "namespace", name, "--timeout=60s")


@pytest.fixture(scope="session")
def web(cluster: LocalCluster) -> Iterator[str]:
    """The example application, rolled out."""
    cluster.kubectl("apply", "-f", str(Path("examples/web.yaml")))
    cluster.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
    yield "web"
    cluster.kubectl("delete", "-f", "examples/web.yaml", "--wait=true")
