"""The APIServices as the watch cache has them."""

import base64
import binascii
from collections.abc import Iterable
from typing import Any

from apimachinery import meta, scheme
from apimachinery.scheme import Kind

from ..outgoing import services
from ..outgoing.trust import Trust
from ..registry.reader import Reader

Object = dict[str, Any]
API_SERVICES = scheme.kind_of("apiservices", "apiregistration.k8s.io")
OWN_GROUPS = frozenset(k.group for k in scheme.KINDS)
"""Groups that nobody else can answer for."""
DEFAULT_PORT = 443
AVAILABLE = "Available"


class ApiServices:
    """``version`` grows with every change of any of them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._seen = -1
        self._remote: dict[tuple[str, str], Object] = {}

    @property
    def version(self) -> int:
        return self._reader.version(API_SERVICES)

    def remote(self, group: str, version: str) -> Object | None:
        """The APIService by which another server answers for a group version."""
        self._refresh()
        return self._remote.get((group, version))

    def all_remote(self) -> Iterable[Object]:
        """Those that lead to another server, the groups and versions that come first in discovery first."""
        self._refresh()
        return self._remote.values()

    def _refresh(self) -> None:
        version = self.version
        if version != self._seen:
            found = sorted((a for a in self._reader.list(API_SERVICES) if service_of(a)), key=_rank)
            self._remote = {group_version(a): a for a in found}
            self._seen = version


def _rank(api_service: Object) -> tuple[int, str, int, str]:
    spec = api_service["spec"]
    return -spec["groupPriorityMinimum"], spec["group"], -spec["versionPriority"], spec["version"]


def service_of(api_service: Object) -> Object | None:
    service: Object | None = (api_service.get("spec") or {}).get("service")
    return service


def group_version(api_service: Object) -> tuple[str, str]:
    spec = api_service["spec"]
    return spec.get("group", ""), spec["version"]


def is_available(api_service: Object) -> bool:
    return meta.condition_is_true(api_service, AVAILABLE)


def base_url(api_service: Object) -> str:
    service = service_of(api_service) or {}
    host = services.host_name(service.get("namespace", ""), service.get("name", ""))
    return f"https://{host}:{service.get('port') or DEFAULT_PORT}"


def trust_of(api_service: Object, certificate: tuple[str, str] | None) -> Trust:
    """How the other server is known, and how we are to it. Raises ValueError for a caBundle that is none."""
    spec = api_service["spec"]
    try:
        ca = base64.b64decode(spec.get("caBundle") or "", validate=True).decode("ascii")
    except (binascii.Error, UnicodeDecodeError) as error:
        raise ValueError("the caBundle is not PEM in base64") from error
    return Trust(ca, not spec.get("insecureSkipTLSVerify"), certificate)


def made_up_kind(group: str, version: str, resource: str) -> Kind:
    """What stands for a resource of which only its place is known."""
    return Kind(group, version, "", resource)
