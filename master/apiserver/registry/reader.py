"""Synchronous reads of the watch cache: what authorizers, admission plugins and strategies get.

Objects are decoded once, shared by all readers, and never to be changed by them.
"""

from collections.abc import Callable, Iterable
from typing import Any, Protocol

from apimachinery.scheme import Kind

Object = dict[str, Any]


class Reader(Protocol):
    """The cluster's state as the watch cache has it: at most milliseconds behind etcd."""

    def get(self, kind: Kind, namespace: str, name: str) -> Object | None: ...

    def list(self, kind: Kind, namespace: str = "") -> Iterable[Object]:
        """All objects of a kind in a namespace; of all namespaces when it is empty."""
        ...

    def version(self, kind: Kind) -> int:
        """A number that grows with every change of any object of the kind: what derived caches compare."""
        ...

    def on_change(self, kind: Kind, listener: Callable[[], None]) -> None:
        """Call ``listener`` after every change of any object of the kind, for ever: for who decides per request and
        cannot afford to ask ``version``."""
        ...

    async def get_consistent(self, kind: Kind, namespace: str, name: str) -> Object | None:
        """The object as etcd has it now. Raises ServiceUnavailable while etcd does not answer."""
        ...
