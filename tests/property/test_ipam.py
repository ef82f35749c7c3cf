"""Any sequence of allocate, release, crash and collect keeps: one owner an address, one address an owner."""

import tempfile
from ipaddress import IPv4Network
from pathlib import Path

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from cni.ipam.allocator import RangeFull, gateway_of
from cni.ipam.store import Owner, Store

NETWORK = IPv4Network("10.1.2.0/29")  # five addresses for pods
OWNERS = st.builds(Owner, st.sampled_from(["a", "b", "c.d", "e-f", "g_h", "i", "j"]), st.sampled_from(["eth0", "net1"]))


class Ipam(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.directory = tempfile.TemporaryDirectory()
        self.model: dict[Owner, str] = {}
        self.reopen()

    def teardown(self) -> None:
        self.directory.cleanup()

    @rule()
    def reopen(self) -> None:
        """A crash and a new process: nothing but the folder is left."""
        self.store = Store(Path(self.directory.name), NETWORK)

    @rule()
    def tear_the_hint(self) -> None:
        (Path(self.directory.name) / "last").write_text("10.1.")

    @rule(owner=OWNERS)
    def allocate(self, owner: Owner) -> None:
        try:
            address = str(self.store.allocate(owner))
        except RangeFull:
            assert len(self.model) == 5
            assert owner not in self.model
            return
        assert self.model.get(owner, address) == address
        self.model[owner] = address

    @rule(owner=OWNERS)
    def release(self, owner: Owner) -> None:
        self.store.release(owner)
        self.model.pop(owner, None)

    @rule(valid=st.sets(OWNERS))
    def collect(self, valid: set[Owner]) -> None:
        self.store.collect(valid)
        self.model = {owner: address for owner, address in self.model.items() if owner in valid}

    @invariant()
    def what_is_stored_is_what_was_given(self) -> None:
        assert {owner: str(address) for address, owner in self.store.all().items()} == self.model
        assert len(set(self.model.values())) == len(self.model)
        assert str(gateway_of(NETWORK)) not in self.model.values()


Ipam.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestIpam = Ipam.TestCase
