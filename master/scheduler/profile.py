"""The default plugins. A new one takes its own file and a line here.

Filters stand in the order in which upstream runs them: the first that refuses a node gives the reason.
"""

from master.scheduler.framework import Profile
from master.scheduler.plugins.dynamic_resources import DynamicResources
from master.scheduler.plugins.image_locality import ImageLocality
from master.scheduler.plugins.inter_pod_affinity import InterPodAffinity
from master.scheduler.plugins.node_affinity import NodeAffinity
from master.scheduler.plugins.node_name import NodeName
from master.scheduler.plugins.node_ports import NodePorts
from master.scheduler.plugins.node_resources_balanced_allocation import NodeResourcesBalancedAllocation
from master.scheduler.plugins.node_resources_fit import NodeResourcesFit
from master.scheduler.plugins.node_unschedulable import NodeUnschedulable
from master.scheduler.plugins.node_volume_limits import NodeVolumeLimits
from master.scheduler.plugins.pod_topology_spread import PodTopologySpread
from master.scheduler.plugins.taint_toleration import TaintToleration
from master.scheduler.plugins.volume_binding import VolumeBinding
from master.scheduler.plugins.volume_restrictions import VolumeRestrictions

_VOLUMES = VolumeBinding()

DEFAULT_PROFILE = Profile(
    filters=(
        NodeUnschedulable(),
        NodeName(),
        TaintToleration(),
        NodeAffinity(),
        NodePorts(),
        NodeResourcesFit(),
        VolumeRestrictions(),
        NodeVolumeLimits(),
        _VOLUMES,
        DynamicResources(),
        PodTopologySpread(),
        InterPodAffinity(),
    ),
    scores=(
        TaintToleration(),
        NodeAffinity(),
        NodeResourcesFit(),
        PodTopologySpread(),
        InterPodAffinity(),
        NodeResourcesBalancedAllocation(),
        ImageLocality(),
    ),
    pre_binds=(_VOLUMES,),
)
