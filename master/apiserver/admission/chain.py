"""The admission chain: plugins that may change a write (mutate) and then may refuse it (validate).

Order is the order of the list. Every plugin mutates before the first validates, as upstream: a validator sees
what will be stored. If a webhook or a policy has changed the object, all mutate once more, for they may have something
to say to what is new.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from apimachinery.scheme import Kind

from ..auth.user import User

Object = dict[str, Any]
Operation = Literal["CREATE", "UPDATE", "DELETE", "CONNECT"]


@dataclass(frozen=True, slots=True)
class Guard:
    """A decision that holds only as long as no other API server has decided under the same name. The write moves the
    guard's key along; if another one has moved it, ``decide`` is asked again, with what that one wrote in the cache."""

    name: str
    decide: Callable[[], None]


@dataclass(slots=True)
class AdmissionRequest:
    """One write on its way to the store.

    ``object`` is None for DELETE, ``old`` is None for CREATE and CONNECT; mutate plugins change ``object`` in place or
    replace it. ``old`` is shared with the watch cache: never change it. Both are in the form that is stored; for a
    subresource that takes another kind (a Binding, the options of a CONNECT) ``object`` is of that kind.
    ``warnings`` are sent to the client as Warning headers, ``annotations`` go to the audit log.
    """

    user: User
    operation: Operation
    kind: Kind
    subresource: str
    namespace: str
    name: str
    object: Object | None
    old: Object | None
    options: Object
    dry_run: bool
    warnings: list[str]
    annotations: dict[str, str] = field(default_factory=dict)
    again: bool = False
    """Set by a plugin that has changed the object in a way which others may want to see."""
    second_round: bool = False
    guard: Guard | None = None
    kept: dict[str, Any] = field(default_factory=dict)
    """What plugins remember from the first round to the second, by their names."""


class Plugin:
    """Base of admission plugins. A refusal is an ``apimachinery.errors.ApiError``, usually Forbidden."""

    name: str = ""

    def handles(self, request: AdmissionRequest) -> bool:
        """Whether this plugin wants to see the request at all; asked once a phase, so keep it cheap."""
        raise NotImplementedError

    async def mutate(self, request: AdmissionRequest) -> None:
        """Change ``request.object``."""

    async def validate(self, request: AdmissionRequest) -> None:
        """Raise an ApiError to refuse."""


class Chain:
    """Plugins in order."""

    def __init__(self, plugins: Sequence[Plugin] = ()) -> None:
        self._mutators = [p for p in plugins if type(p).mutate is not Plugin.mutate]
        self._validators = [p for p in plugins if type(p).validate is not Plugin.validate]

    async def mutate(self, request: AdmissionRequest) -> bool:
        """Whether any plugin ran, and defaults must be applied again."""
        ran = await self._round(request)
        if request.again:
            request.second_round = True
            await self._round(request)
        return ran

    async def _round(self, request: AdmissionRequest) -> bool:
        ran = False
        for plugin in self._mutators:
            if plugin.handles(request):
                ran = True
                await plugin.mutate(request)
        return ran

    async def validate(self, request: AdmissionRequest) -> None:
        for plugin in self._validators:
            if plugin.handles(request):
                await plugin.validate(request)
