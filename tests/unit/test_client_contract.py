"""The client's contract on the in-memory cluster."""

from collections.abc import AsyncIterator

import pytest

from apimachinery.client.api import ApiClient
from tests import fakes
from tests.contract.client_contract import ClientContract


class TestFakeCluster(ClientContract):
    @pytest.fixture
    async def client(self) -> AsyncIterator[ApiClient]:
        client = fakes.client(fakes.FakeCluster())
        yield client
        await client.close()
