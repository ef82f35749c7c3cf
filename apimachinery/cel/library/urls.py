"""URLs: ``url('https://example.com:80/path?a=b').getHostname()``."""

from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import SplitResult, parse_qs, quote, unquote, urlsplit

from ..errors import EvaluationError
from ..overloads import function, opaque
from ..values import Opaque


@opaque
@dataclass(frozen=True, slots=True)
class URL(Opaque):
    parts: SplitResult

    cel_type: ClassVar[str] = "kubernetes.URL"


@function("url(string) -> kubernetes.URL")
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


@function("isURL(string) -> bool")
def is_url(text: str) -> bool:
    try:
        url(text)
    except EvaluationError:
        return False
    return True


@function("(kubernetes.URL).getScheme() -> string")
def scheme(value: URL) -> str:
    return value.parts.scheme


@function("(kubernetes.URL).getHost() -> string")
def host(value: URL) -> str:
    return value.parts.netloc.rpartition("@")[2]


@function("(kubernetes.URL).getHostname() -> string")
def hostname(value: URL) -> str:
    address = host(value)
    if address.startswith("["):
        return address[1:].partition("]")[0]
    return address.partition(":")[0]


@function("(kubernetes.URL).getPort() -> string")
def port(value: URL) -> str:
    return str(value.parts.port) if value.parts.port is not None else ""


@function("(kubernetes.URL).getEscapedPath() -> string")
def escaped_path(value: URL) -> str:
    return quote(unquote(value.parts.path), safe="/:@!$&'()*+,;=-._~")


@function("(kubernetes.URL).getQuery() -> map<string, list<string>>")
def query(value: URL) -> dict[str, list[str]]:
    return parse_qs(value.parts.query, keep_blank_values=True)
