"""Fixtures of the attacks: a server of their own, so that what it suffers is theirs."""

from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.control_plane import ApiServerProgram, Etcd
from tests.effort import EFFORT
from tests.fuzz.victim import Victim

settings.register_profile(
    "attack",
    deadline=None,
    derandomize=EFFORT == 1,
    database=None,
    phases=(Phase.generate,),  # the server's state is another one the second time: nothing can be shrunk
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="session")
def effort() -> int:
    return EFFORT


@pytest.fixture(scope="package")
def attacked(etcd: Etcd, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServerProgram]:
    flags = ("--etcd-prefix=/attacked", "--v=9")
    with ApiServerProgram(tmp_path_factory.mktemp("attacked"), etcd.url, flags) as running:
        yield running


@pytest.fixture(scope="module")
def victim(attacked: ApiServerProgram) -> Iterator[Victim]:
    """Ends with a check of the server's health."""
    found = Victim(attacked)
    yield found
    found.check()
