"""String formats that a schema can ask for. An unknown one asks for nothing.

Source: ``k8s.io/kube-openapi/pkg/validation/strfmt``.
"""

import binascii
import ipaddress
import re
from collections.abc import Callable, Mapping
from datetime import date, datetime
from urllib.parse import urlsplit

from apimachinery import validation

Check = Callable[[str], bool]


def _matches(pattern: str) -> Check:
    return lambda text: re.fullmatch(pattern, text) is not None  # compiled when first needed, then kept by ``re``


def _parses(parse: Callable[[str], object]) -> Check:
    def check(text: str) -> bool:
        try:
            parse(text)
        except ValueError:
            return False
        return True

    return check


def _uri(text: str) -> object:
    parts = urlsplit(text)
    if not (parts.scheme or text.startswith("/")):
        raise ValueError(text)
    return parts.port


def _network(text: str) -> object:
    if "/" not in text:
        raise ValueError(text)
    return ipaddress.ip_network(text, strict=False)


def _luhn(text: str) -> bool:
    digits = [int(c) for c in re.sub("[ -]", "", text)[::-1] if c.isdigit()]
    doubled = [d * 2 - 9 * (d > 4) for d in digits[1::2]]
    return 12 < len(digits) < 20 and (sum(digits[::2]) + sum(doubled)) % 10 == 0


def _isbn10(text: str) -> bool:
    text = re.sub("[ -]", "", text)
    if not re.fullmatch("[0-9]{9}[0-9X]", text):
        return False
    return sum((10 - i) * (10 if c == "X" else int(c)) for i, c in enumerate(text)) % 11 == 0


def _isbn13(text: str) -> bool:
    text = re.sub("[ -]", "", text)
    return (
        bool(re.fullmatch("[0-9]{13}", text)) and sum(int(c) * (1 + 2 * (i % 2)) for i, c in enumerate(text)) % 10 == 0
    )


_HEX = "[0-9a-fA-F]"
_CHANNEL = r"\s*([01]?[0-9]{1,2}|2[0-4][0-9]|25[0-5])\s*"
_GO_DURATION = r"[-+]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))+"
_UNITS = (
    "nanoseconds?|nano|ns|microseconds?|micros|µs|us|milliseconds?|millis|ms|seconds?|sec|s|minutes?|min|m|hours?|hr|h"
    "|days?|d|weeks?|wk|w"
)
_WORDS = rf"[0-9]+(\.[0-9]+)?\s*({_UNITS})"
_DATE_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]+)?([Zz]|[+-][0-9]{2}:?[0-9]{2})?"


def _moment(text: str) -> object:
    if not re.fullmatch(_DATE_TIME, text):
        raise ValueError(text)
    return datetime.fromisoformat(text[:19].upper())


def _uuid(version: str = "[0-9a-fA-F]") -> Check:
    variant = _HEX if len(version) > 1 else "[89abAB]"
    return _matches(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{version}{_HEX}{{3}}-?{variant}{_HEX}{{3}}-?{_HEX}{{12}}")


_FORMATS: Mapping[str, Check] = {
    "bsonobjectid": _matches(f"{_HEX}{{24}}"),
    "uri": _parses(_uri),
    "email": _matches(r"[^@\s<>]+@[^@\s<>]+"),
    "hostname": _matches(
        r"(?=.{1,253}$)[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,61}[a-zA-Z0-9])?"
        r"(\.[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*\.?"
    ),
    "ipv4": _parses(ipaddress.IPv4Address),
    "ipv6": _parses(ipaddress.IPv6Address),
    "cidr": _parses(_network),
    "mac": _matches(rf"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5}}(([:-]{_HEX}{{2}}){{2}})?|({_HEX}{{4}}\.){{2,3}}{_HEX}{{4}}"),
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
    "isbn": lambda text: _isbn10(text) or _isbn13(text),
    "isbn10": _isbn10,
    "isbn13": _isbn13,
    "creditcard": _luhn,
    "ssn": _matches("[0-9]{3}[- ]?[0-9]{2}[- ]?[0-9]{4}"),
    "hexcolor": _matches(f"#?({_HEX}{{3}}|{_HEX}{{6}})"),
    "rgbcolor": _matches(rf"rgb\({_CHANNEL},{_CHANNEL},{_CHANNEL}\)"),
    "byte": _parses(lambda text: binascii.a2b_base64(text, strict_mode=True)),
    "date": _parses(date.fromisoformat),
    "duration": _matches(rf"{_GO_DURATION}|({_WORDS}\s*)+"),
    "date-time": _parses(_moment),
    "k8s-short-name": lambda text: not validation.dns_label(text),
    "k8s-long-name": lambda text: not validation.dns_subdomain(text),
}


def fits(name: str, text: str) -> bool:
    """Whether a string has a format, such as ``date-time``; names are compared as upstream does, without dashes."""
    check = _FORMATS.get(name) or _FORMATS.get({"datetime": "date-time"}.get(name.replace("-", ""), name))
    return check is None or check(text)
