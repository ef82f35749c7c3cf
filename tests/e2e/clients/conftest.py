"""One cluster with the in-memory runtime for all the clients that other people wrote, and a namespace a test."""

from collections.abc import Iterator

import pytest

from tests.e2e.local_cluster import LocalCluster, local_cluster
from tests.waiting import eventually


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with local_cluster(tmp_path_factory.mktemp("kubeto") / "cluster", "--nodes=2", "--runtime=fake") as running:
        yield running


@pytest.fixture
def space(shared: LocalCluster, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, with the account that pods need."""
    name = "c-" + request.node.name.replace("_", "-").replace("[", "-").rstrip("]").lower()[-50:]
    shared.kubectl("create", "namespace", name)
    eventually(lambda: shared.kubectl("get", "serviceaccount", "default", "-n", name))
    return name


def deployment(name: str, replicas: int = 1) -> dict[str, object]:
    """What the tests of all clients roll out."""
    labels = {"app": name}
    pod = {"containers": [{"name": "main", "image": "kubeto/busybox:1"}], "terminationGracePeriodSeconds": 0}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
