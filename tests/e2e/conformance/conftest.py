"""A control plane without nodes: what upstream's tests of the API need that start no pod."""

from collections.abc import Iterator

import pytest

from tests.control_plane import ApiServerProgram, ControlPlane, have_etcd
from tests.e2e.conformance.api import resource
from tests.waiting import eventually


@pytest.fixture(scope="session")
def plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProgram]:
    """etcd, an API server and the controllers. No node, no scheduler: a pod stays Pending."""
    if not have_etcd():
        pytest.skip("needs etcd")
    directory = tmp_path_factory.mktemp("conformance")
    with ControlPlane(directory) as running:
        ca = directory / "ca"
        running.start_controller_manager(
            f"--cluster-signing-cert-file={ca}.crt", f"--cluster-signing-key-file={ca}.key"
        )
        yield running.server


@pytest.fixture
def space(plane: ApiServerProgram, request: pytest.FixtureRequest) -> str:
    """A namespace of the test's own, with its default account."""
    namespaces = resource(plane, "namespaces")
    name: str = namespaces.create({"metadata": {"generateName": "conf-"}})["metadata"]["name"]
    accounts = resource(plane, "serviceaccounts", namespace=name)
    eventually(lambda: "default" in accounts.names())
    return name
