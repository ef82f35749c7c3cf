"""Where a proxied request goes: ``[scheme:]name[:port]`` of a pod or service becomes a URL.

Source: ``k8s.io/kubernetes/pkg/registry/core/{pod,service}`` (ResourceLocation); KEP: the proxy subresource's docs.
"""

from dataclasses import dataclass

from apimachinery import scheme
from apimachinery.errors import BadRequest, NotFound

from ..outgoing import services
from ..registry.reader import Object, Reader


@dataclass(frozen=True, slots=True)
class ProxyName:
    """``scheme`` is "http" where none is given; ``port`` is "", a number or a name."""

    scheme: str
    name: str
    port: str

    @classmethod
    def parse(cls, text: str) -> "ProxyName":
        """Raises BadRequest."""
        match text.split(":"):
            case [name]:
                return cls("http", name, "")
            case [name, port]:
                return cls("http", name, port)
            case ["" | "http" | "https" as scheme_, name, port]:
                return cls(scheme_ or "http", name, port)
        raise BadRequest(f"invalid proxy request {text!r}: expected [scheme:]name[:port]")


def pod_origin(reader: Reader, namespace: str, text: str) -> str:
    """``http://10.0.0.1:80`` of a pod. Raises NotFound, or BadRequest while it has no address."""
    wanted = ProxyName.parse(text)
    pod = reader.get(scheme.PODS, namespace, wanted.name)
    if pod is None:
        raise NotFound(f'pods "{wanted.name}" not found', name=wanted.name, kind="pods")
    ip = (pod.get("status") or {}).get("podIP")
    if not ip:
        raise BadRequest("address not allowed")
    port = _pod_port(pod, wanted.port)
    return _origin(wanted.scheme, ip, port)


def _pod_port(pod: Object, wanted: str) -> int | None:
    ports = [p for c in (pod.get("spec") or {}).get("containers") or () for p in c.get("ports") or ()]
    if not wanted:
        return int(ports[0]["containerPort"]) if ports else None
    if wanted.isdigit():
        return int(wanted)
    named = next((p for p in ports if p.get("name") == wanted), None)
    if named is None:
        raise BadRequest(f"no port {wanted!r} found for pod {pod['metadata']['name']!r}")
    return int(named["containerPort"])


def service_origin(reader: Reader, namespace: str, text: str) -> str:
    """The URL of one ready endpoint, by chance. Raises NotFound, or ServiceUnavailable where there is none."""
    wanted = ProxyName.parse(text)
    return _origin(wanted.scheme, *services.resolve(reader, namespace, wanted.name, wanted.port))


def _origin(scheme_: str, ip: str, port: int | None) -> str:
    host = f"[{ip}]" if ":" in ip else ip
    return f"{scheme_}://{host}:{port}" if port else f"{scheme_}://{host}"
