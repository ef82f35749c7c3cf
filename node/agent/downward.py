"""What a container may learn of its own pod: ``fieldRef`` and ``resourceFieldRef``, for environment and volumes.

Source: ``pkg/fieldpath`` and ``pkg/api/v1/resource`` of Kubernetes.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_CEILING, Decimal
from typing import Final

from apimachinery import quantity
from node.agent.pod_state import Object, init_containers, regular_containers
from node.agent.resources import limits_in, requests

_SUBSCRIPT: Final = re.compile(r"^metadata\.(labels|annotations)\['(.*)'\]$")


class ConfigError(Exception):
    """A container cannot be configured as its spec says: reason CreateContainerConfigError."""


@dataclass(frozen=True, slots=True)
class PodFacts:
    """A pod and what only its node knows of it. ``allocatable`` is the node's: cores, bytes."""

    pod: Object
    pod_ips: Sequence[str] = ()
    host_ips: Sequence[str] = ()
    allocatable: Mapping[str, Decimal] = field(default_factory=dict)


def field_value(facts: PodFacts, path: str) -> str:
    """The text of a field. Raises ConfigError for a field that is not offered."""
    meta, spec = facts.pod["metadata"], facts.pod["spec"]
    match = _SUBSCRIPT.match(path)
    if match:
        return str((meta.get(match.group(1)) or {}).get(match.group(2), ""))
    if path in ("metadata.labels", "metadata.annotations"):
        return format_map(meta.get(path.removeprefix("metadata.")) or {})
    values = {
        "metadata.name": meta["name"],
        "metadata.namespace": meta.get("namespace", ""),
        "metadata.uid": meta.get("uid", ""),
        "spec.nodeName": spec.get("nodeName", ""),
        "spec.serviceAccountName": spec.get("serviceAccountName", ""),
        "status.hostIP": next(iter(facts.host_ips), ""),
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": next(iter(facts.pod_ips), ""),
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if path not in values:
        raise ConfigError(f"unsupported fieldPath: {path}")
    return str(values[path])


def format_map(values: Mapping[str, str]) -> str:
    """``key="value"`` lines, sorted, as the files of a downwardAPI volume have them."""
    return "\n".join(f'{key}="{_escape(values[key])}"' for key in sorted(values))


def _escape(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")


def resource_value(facts: PodFacts, ref: Object, container_name: str = "") -> str:
    """The amount of ``limits.cpu`` and the like in units of the divisor, rounded up. A limit not set is the node's."""
    name = ref.get("containerName") or container_name
    container = _container(facts.pod, name)
    kind, _, resource = str(ref.get("resource", "")).partition(".")
    if kind not in ("limits", "requests") or not resource:
        raise ConfigError(f"unsupported container resource : {ref.get('resource')}")
    amounts = limits_in(facts.pod, container) if kind == "limits" else requests(container)
    amount = amounts.get(resource)
    if not amount:
        amount = facts.allocatable.get(resource, Decimal(0)) if kind == "limits" else Decimal(0)
    divisor = quantity.parse(ref.get("divisor") or "1") or Decimal(1)
    return str(int((amount / divisor).to_integral_value(ROUND_CEILING)))


def _container(pod: Object, name: str) -> Object:
    for container in (*regular_containers(pod), *init_containers(pod)):
        if container["name"] == name:
            return dict(container)
    raise ConfigError(f"container {name} not found")
