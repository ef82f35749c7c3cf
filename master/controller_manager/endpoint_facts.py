"""What a pod is to a Service: its address, its ports, whether it takes traffic. Pure.

Source: ``staging/src/k8s.io/endpointslice`` and ``pkg/controller/endpoint``.
"""

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

from apimachinery import pods as pod_facts
from apimachinery.client.informer import Informer
from apimachinery.meta import Key, Object, is_deleting, key_of, labels_of, namespace_of
from apimachinery.selectors import from_map

HEADLESS_LABEL = "service.kubernetes.io/headless"
NAMESPACE_INDEX = "namespace"


def selects_pods(service: Object) -> bool:
    """Whether controllers fill the Service's endpoints. One without selector is filled by others."""
    spec = service.get("spec") or {}
    return bool(spec.get("selector")) and spec.get("type") != "ExternalName"


def is_headless(service: Object) -> bool:
    return (service.get("spec") or {}).get("clusterIP") == "None"


def publishes_unready(service: Object) -> bool:
    return bool((service.get("spec") or {}).get("publishNotReadyAddresses"))


def families(service: Object) -> list[str]:
    """``IPv4`` and/or ``IPv6``."""
    return (service.get("spec") or {}).get("ipFamilies") or ["IPv4"]


def family_of(address: str) -> str:
    return f"IPv{ip_address(address).version}"


def pod_address(pod: Object, family: str) -> str:
    """The pod's address of a family, "" while it has none."""
    status = pod.get("status") or {}
    known = [entry["ip"] for entry in status.get("podIPs") or () if entry.get("ip")] or [status.get("podIP")]
    return next((ip for ip in known if ip and family_of(ip) == family), "")


def has_endpoint(pod: Object) -> bool:
    """Whether it has an address and containers that have not ended for good."""
    status = pod.get("status") or {}
    return bool(status.get("podIP") or status.get("podIPs")) and not pod_facts.is_finished(pod)


def target(pod: Object) -> Object:
    namespace, name = key_of(pod)
    return {"kind": "Pod", "namespace": namespace, "name": name, "uid": pod["metadata"]["uid"]}


def host_name(pod: Object, service: Object) -> str:
    """The DNS name that the pod has under this Service, if it has one."""
    spec = pod.get("spec") or {}
    return spec.get("hostname") or "" if spec.get("subdomain") == service["metadata"]["name"] else ""


def pod_ports(pod: Object, service: Object) -> list[Object]:
    """The Service's ports with the numbers that they have in this pod; named ones that it lacks are left out."""
    out = []
    for port in (service.get("spec") or {}).get("ports") or ():
        number = _number(pod, port)
        if number is not None:
            entry: Object = {"name": port.get("name") or "", "port": number, "protocol": port.get("protocol") or "TCP"}
            if port.get("appProtocol"):
                entry["appProtocol"] = port["appProtocol"]
            out.append(entry)
    return out


def _number(pod: Object, port: Object) -> int | None:
    wanted: Any = port.get("targetPort") or port.get("port")
    if not isinstance(wanted, str):
        return int(wanted)
    if wanted.isdigit():
        return int(wanted)
    protocol = port.get("protocol") or "TCP"
    for container in _serving_containers(pod):
        for open_port in container.get("ports") or ():
            if open_port.get("name") == wanted and (open_port.get("protocol") or "TCP") == protocol:
                return int(open_port["containerPort"])
    return None


def _serving_containers(pod: Object) -> Iterable[Object]:
    spec = pod.get("spec") or {}
    yield from spec.get("containers") or ()
    yield from (c for c in spec.get("initContainers") or () if c.get("restartPolicy") == "Always")


def _relevant(pod: Object) -> tuple[object, ...]:
    status, spec = pod.get("status") or {}, pod.get("spec") or {}
    return (
        labels_of(pod),
        status.get("podIP"),
        status.get("podIPs"),
        status.get("phase"),
        pod_facts.is_ready(pod),
        is_deleting(pod),
        spec.get("nodeName"),
    )


def pods_of(service: Object, pods: Informer) -> list[Object]:
    """The pods that a Service selects."""
    selector = from_map(service["spec"].get("selector"))
    return [p for p in pods.store.by_index(NAMESPACE_INDEX, namespace_of(service)) if selector.matches(labels_of(p))]


def follow_pods(pods: Informer, services: Informer, enqueue: Callable[[Key], None]) -> None:
    """Enqueue the Services that select a pod whenever something of it changes that endpoints show."""
    for informer in (pods, services):
        informer.add_index(NAMESPACE_INDEX, lambda obj: [namespace_of(obj)])

    def handle(_: str, old: Object | None, new: Object | None) -> None:
        if old is not None and new is not None and _relevant(old) == _relevant(new):
            return
        for pod in (old, new):
            if pod is not None:
                for service in services.store.by_index(NAMESPACE_INDEX, namespace_of(pod)):
                    if from_map((service.get("spec") or {}).get("selector")).matches(labels_of(pod)):
                        enqueue(key_of(service))

    pods.add_handler(handle)
