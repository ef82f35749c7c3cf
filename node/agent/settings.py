"""What an agent is told at its start, and what all parts of one node share."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal

from node.agent import pressure
from node.agent.names import Resolver
from node.agent.pressure import Threshold

DEFAULT_EVICTION = (
    "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%,imagefs.available<15%,imagefs.inodesFree<5%,"
    "pid.available<5%"
)
KUBELET_VERSION = "v1.36.1"


@dataclass(frozen=True, slots=True, order=True)
class Period:
    """At a shutdown, pods of ``priority`` and above, up to the next period's, have ``seconds``."""

    priority: int
    seconds: int


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """One node. Intervals are seconds."""

    node_name: str
    root_dir: str
    node_ips: tuple[str, ...] = ()
    cluster_dns: tuple[str, ...] = ("10.96.0.10",)
    cluster_domain: str = "cluster.local"
    port: int = 10250
    cni_conf_dir: str = "/etc/cni/net.d"
    max_pods: int = 110
    labels: Mapping[str, str] = field(default_factory=dict)
    taints: tuple[Mapping[str, str], ...] = ()
    lease_interval: float = 10.0
    lease_duration: int = 40
    status_interval: float = 10.0  # how often the node's facts are looked at
    status_report_interval: float = 300.0  # how often they are reported although nothing changed
    relist_interval: float = 30.0  # with events from the runtime
    relist_interval_without_events: float = 1.0
    pod_manifest_path: str = ""  # the folder of static pods; "" = there are none
    cpus: Decimal | None = None  # a share of the machine; None = all that is there
    memory_bytes: int | None = None
    eviction_thresholds: tuple[Threshold, ...] = pressure.parse(DEFAULT_EVICTION)
    eviction_max_grace: int = 0  # of pods that go at a soft threshold
    eviction_transition: float = 300.0  # how long a pressure condition outlives its shortage
    unsafe_sysctls: tuple[str, ...] = ()  # that pods may set besides the safe ones: kernel.msg*, net.core.somaxconn
    shutdown_periods: tuple[Period, ...] = ()  # none = a shutdown of the machine is sudden


@dataclass(slots=True)
class NodeFacts:
    """What becomes known while the node runs; the parts of the agent read it when they need it."""

    host_ips: tuple[str, ...] = ()
    runtime_name: str = "containerd"
    memory_capacity: int = 0
    allocatable: dict[str, Decimal] = field(default_factory=dict)
    labels: dict[str, str] = field(default_factory=dict)
    resolver: Resolver = field(default_factory=Resolver)
    network_ready: bool = False
    pressure: frozenset[str] = frozenset()
    """The pressure conditions that are true."""
    volumes_in_use: frozenset[str] = frozenset()
    """Unique names of attached volumes that are, or are being, mounted."""
    volumes_reported: frozenset[str] = frozenset()
    """Those that the Node's status tells of: only they may be mounted, for the others may be detached."""
    shutting_down: bool = False
    """Whether the machine is about to go down."""
    strict_groups: bool | None = None
    """Whether the runtime can do ``supplementalGroupsPolicy: Strict``; None = it has not answered yet."""
    image_volumes: bool = True
    """Whether the runtime mounts images (KEP-4639)."""
    stop_signals: bool = True
    """Whether a container may choose the signal that stops it (KEP-4960)."""
    recursive_read_only: frozenset[str] = frozenset()
    """The runtime's handlers that can mount recursively read-only."""
