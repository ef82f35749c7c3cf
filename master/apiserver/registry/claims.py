"""What an object needs that no other may have: service IPs, node ports. Claimed in the object's own transaction.

A claim is a key of its own that must be absent; when a transaction finds it taken, the claimer is asked again.
"""

from collections.abc import Sequence
from typing import Any, Protocol

from ..storage.interface import Op

Object = dict[str, Any]


class Claimer(Protocol):
    def claim(self, obj: Object, old: Object | None) -> Sequence[Op]:
        """Fill in what ``obj`` needs and return the operations that claim it, and release what it no longer needs.
        Raises Invalid if something asked for by value is taken."""
        ...

    def release(self, obj: Object) -> Sequence[Op]:
        """The operations that give a removed object's claims back."""
        ...
