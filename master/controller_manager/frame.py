"""What every controller is given, and what it must be.

A controller is a ``ManagedController``: one file, one line in ``controllers.CONTROLLERS``. In ``__init__`` it
takes its informers from the context and adds handlers that enqueue keys; ``reconcile`` reads the stores, asks
a pure function what to do, and does it.
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from apimachinery.client.api import ApiClient
from apimachinery.client.controller import Controller
from apimachinery.client.events import EventRecorder
from apimachinery.client.informer import Informer, InformerFactory
from apimachinery.client.workqueue import WorkQueue
from apimachinery.clock import Clock, SystemClock
from apimachinery.config import ClusterAccess
from apimachinery.meta import Key, Object, key_of
from apimachinery.metrics import ControllerMetrics
from master.controller_manager.inventory import Inventory
from master.controller_manager.options import Options

K = TypeVar("K", bound=Hashable)


@dataclass(frozen=True)
class Context:
    """One term of leadership: its informers are shared by all controllers."""

    client: ApiClient
    access: ClusterAccess
    options: Options
    informers: InformerFactory
    metrics: ControllerMetrics | None = None
    clock: Clock = field(default_factory=SystemClock)
    inventory: Inventory = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "inventory", Inventory(self.informers))


class BaseController(Controller[K]):
    """A controller of this process. ``name`` is upstream's, such as ``deployment-controller``.

    ``K`` is what its queue holds; nearly always an object's key: then derive from ``ManagedController``.
    """

    component: ClassVar[str] = ""
    """As whom the controller tells events, where upstream does not do it by the controller's name."""

    def __init__(self, context: Context) -> None:
        super().__init__(queue=WorkQueue[K](clock=context.clock), metrics=context.metrics)
        self.context = context
        self.client = context.client
        self.clock = context.clock
        self.events = EventRecorder(context.client, self.component or self.name, clock=context.clock)
        if context.metrics is not None:
            context.metrics.watch_depth(self.name, self.queue.__len__)

    def prepare(self) -> None:
        """Called when all controllers are made and before their caches are filled."""

    async def close(self) -> None:
        """Called after ``run`` was cancelled: lets the events go out."""
        await self.events.close()


class ManagedController(BaseController[Key]):
    """A controller whose queue holds the keys of objects."""

    def enqueue_object(self, informer: Informer) -> None:
        """Enqueue the key of every object of ``informer`` that changes."""
        informer.add_handler(lambda event, old, new: self.queue.add(key_of(new or old or {})))

    def enqueue_by(self, informer: Informer, keys: Callable[[Object], "list[Key]"]) -> None:
        """Enqueue what ``keys`` gives for the old and the new state of every object that changes."""

        def handle(event: str, old: Object | None, new: Object | None) -> None:
            for obj in (old, new):
                if obj is not None:
                    for key in keys(obj):
                        self.queue.add(key)

        informer.add_handler(handle)


AnyController = BaseController[Any]
