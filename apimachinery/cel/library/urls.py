"""URLs: ``url('https://example.com:80/path?a=b').getHostname()``."""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from ..errors import EvaluationError
from ..overloads import declare_all, opaque
from ..values import Opaque

_U = "kubernetes.URL"


@opaque
@dataclass(frozen=True, slots=True)
class URL(Opaque):
    parts: SplitResult

    cel_type: ClassVar[str] = _U


def url(text: str) -> URL:
    """An absolute URI or an absolute path, as Go's ParseRequestURI takes them."""
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018 - checks it
    except ValueError as error:
        raise EvaluationError(f"URL parse error during conversion from string: {error}") from None
    if not (parts.scheme or text.startswith("/")) or any(c.isspace() or ord(c) < 0x20 for c in parts.netloc):
        raise EvaluationError(f'URL parse error during conversion from string: parse "{text}": invalid URI for request')
    return URL(parts)


def _is_url(text: str) -> bool:
    try:
        url(text)
    except EvaluationError:
        return False
    return True


def _host(value: URL) -> str:
    return value.parts.netloc.rpartition("@")[2]


def _hostname(value: URL) -> str:
    address = _host(value)
    return address[1:].partition("]")[0] if address.startswith("[") else address.partition(":")[0]


declare_all(
    {
        f"url(string) -> {_U}": url,
        "isURL(string) -> bool": _is_url,
        f"({_U}).getScheme() -> string": lambda u: u.parts.scheme,
        f"({_U}).getHost() -> string": _host,
        f"({_U}).getHostname() -> string": _hostname,
        f"({_U}).getPort() -> string": lambda u: str(u.parts.port) if u.parts.port is not None else "",
        f"({_U}).getEscapedPath() -> string": lambda u: quote(unquote(u.parts.path), safe="/:@!$&'()*+,;=-._~"),
        f"({_U}).getQuery() -> map<string, list<string>>": lambda u: parse_qs(u.parts.query, keep_blank_values=True),
    }
)
