"""A control plane without nodes: what upstream's tests of the API need that start no pod."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from apimachinery.pki import ensure_key
from tests.control_plane import ApiServerProgram, Etcd, Program, eventually, have_etcd
from tests.e2e.conformance.api import resource
from tests.ports import free_port


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProgram]:
    """etcd, an API server and the controllers. No node, no scheduler: a pod stays Pending."""
    if not have_etcd():
        pytest.skip("needs etcd")
    directory = tmp_path_factory.mktemp("conformance")
    ensure_key(directory / "sa.key")
    key = str(directory / "sa.key")
    etcd = Etcd(directory)
    etcd.start()
    flags = ("--service-account-signing-key-file", key, "--service-account-key-file", key)
    server = ApiServerProgram(
        directory, etcd.url, (*flags, "--service-account-issuer", "https://kubernetes.default.svc.cluster.local")
    )
    server.start()
    manager = [sys.executable, "-m", "master.controller_manager", "--kubeconfig", server.kubeconfig]
    manager += ["--healthz-port", str(free_port()), *_signing(directory)]
    controllers = Program(manager, directory / "controller-manager.log")
    controllers.start()
    yield server
    controllers.stop()
    server.program.stop()
    etcd.kill()


def _signing(directory: Path) -> list[str]:
    return [f"--cluster-signing-cert-file={directory / 'ca.crt'}", f"--cluster-signing-key-file={directory / 'ca.key'}"]


@pytest.fixture
def space(plane: ApiServerProgram, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, with its default account."""
    namespaces = resource(plane, "namespaces")
    name: str = namespaces.create({"metadata": {"generateName": "conf-"}})["metadata"]["name"]
    accounts = resource(plane, "serviceaccounts", namespace=name)
    eventually(lambda: "default" in accounts.names())
    return name
