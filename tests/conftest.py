"""Fixtures for all tests: a real etcd, a real API server on it that nothing else writes to, and a whole cluster."""

import os
import shutil
from collections.abc import Iterator

import pytest

from tests.control_plane import ApiServerProgram, Etcd, have_etcd
from tests.e2e.local_cluster import RUNTIME, LocalCluster, local_cluster


@pytest.fixture(scope="session")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Etcd]:
    """An etcd of the session's own."""
    if not have_etcd():
        pytest.skip("needs etcd")
    with Etcd(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture(scope="session")
def apiserver(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProgram]:
    """An API server, alone: no controllers. Admin by certificate (``kubeconfig``) and by token."""
    with ApiServerProgram(tmp_path_factory.mktemp("apiserver"), etcd.url) as running:
        yield running


@pytest.fixture
def namespace(apiserver: ApiServerProgram, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, with the account that pods need."""
    body = {"metadata": {"generateName": "test-"}}
    name: str = apiserver.request("POST", "/api/v1/namespaces", body).json["metadata"]["name"]
    apiserver.request("POST", f"/api/v1/namespaces/{name}/serviceaccounts", {"metadata": {"name": "default"}})
    return name


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """One process-mode cluster of three nodes on Docker for all end-to-end and fault tests."""
    if os.geteuid() != 0 or shutil.which("docker") is None:
        pytest.skip("needs root and Docker")
    directory = tmp_path_factory.mktemp("kubeto") / "cluster"
    with local_cluster(directory, "--nodes=3", f"--runtime={RUNTIME}") as running:
        yield running
