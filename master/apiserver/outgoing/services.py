"""From a Service to the address of one of its endpoints. Pure but for the dice."""

import random
from collections.abc import Iterator

from apimachinery import scheme
from apimachinery.errors import NotFound, ServiceUnavailable

from ..registry.reader import Object, Reader

SERVICE_NAME_LABEL = "kubernetes.io/service-name"
_SUFFIX = ".svc"


def host_name(namespace: str, name: str) -> str:
    """What a Service is called in URLs and in the certificate of what serves it."""
    return f"{name}.{namespace}{_SUFFIX}"


def parse_host(host: str) -> tuple[str, str] | None:
    """Namespace and name of the Service that ``host`` names, or None."""
    match host.split("."):
        case [name, namespace, "svc"]:
            return namespace, name
    return None


def find(reader: Reader, namespace: str, name: str) -> Object:
    """Raises NotFound."""
    service = reader.get(scheme.SERVICES, namespace, name)
    if service is None:
        raise NotFound(f'services "{name}" not found', name=name, kind="services")
    return service


def resolve(reader: Reader, namespace: str, name: str, port: str) -> tuple[str, int]:
    """Address and port of one ready endpoint, by chance. ``port`` is a number, a name, or "" where there is only one.
    Raises NotFound, or ServiceUnavailable where there is none."""
    wanted = service_port(find(reader, namespace, name), port)
    found = list(endpoints(reader, namespace, name, str(wanted.get("name") or "")))
    if not found:
        raise ServiceUnavailable(f'no endpoints available for service "{name}"')
    return random.choice(found)  # noqa: S311 - spreads load, guards nothing


def service_port(service: Object, wanted: str) -> Object:
    """The port of a number or name. Raises ServiceUnavailable."""
    ports: list[Object] = list((service.get("spec") or {}).get("ports") or ())
    if not wanted and len(ports) == 1:
        return ports[0]
    for port in ports:
        if wanted in (port.get("name") or "", str(port["port"])):
            return port
    raise ServiceUnavailable(f'no service port "{wanted}" found for service "{service["metadata"]["name"]}"')


def endpoints(reader: Reader, namespace: str, service: str, port_name: str) -> Iterator[tuple[str, int]]:
    """Address and port of every ready endpoint."""
    for piece in slices(reader, namespace, service):
        ports = [p["port"] for p in piece.get("ports") or () if (p.get("name") or "") == port_name and p.get("port")]
        for endpoint in piece.get("endpoints") or ():
            if (endpoint.get("conditions") or {}).get("ready") is not False:
                yield from ((endpoint["addresses"][0], int(port)) for port in ports)


def slices(reader: Reader, namespace: str, service: str) -> Iterator[Object]:
    for piece in reader.list(scheme.ENDPOINT_SLICES, namespace):
        labels = piece["metadata"].get("labels") or {}
        if labels.get(SERVICE_NAME_LABEL) == service and piece.get("addressType") != "FQDN":
            yield piece
