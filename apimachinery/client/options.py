"""The flags of every process that works while it leads: how it reaches the cluster, its lease, what it logs."""

from dataclasses import dataclass

from ..flags import flag, required
from .leader import LeaseTimes


@dataclass(frozen=True, kw_only=True)
class LeaderOptions:
    """Durations are in seconds. A process declares its own ``leader_elect_resource_name``."""

    kubeconfig: str = required("how to reach the API server")
    leader_elect: bool = flag(True, "of several such processes, let one work")
    leader_elect_lease_duration: float = flag(15.0, "a silent leader is replaced after this")
    leader_elect_renew_deadline: float = flag(10.0, "a leader gives up after this")
    leader_elect_retry_period: float = flag(2.0, "between attempts to take or renew the lease")
    leader_elect_resource_name: str = flag("", "the lease's name in kube-system")
    v: int = flag(2, "how much is logged: 0 warnings, 2 usual, 4 debug")

    @property
    def lease_times(self) -> LeaseTimes:
        return LeaseTimes(
            int(self.leader_elect_lease_duration), self.leader_elect_renew_deadline, self.leader_elect_retry_period
        )
