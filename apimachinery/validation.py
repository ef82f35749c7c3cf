"""Checks of names, label keys and values: ``[]`` when right, else upstream's sentences.

Source: ``k8s.io/apimachinery/pkg/util/validation/validation.go``.
"""

import ipaddress
import re

from .memo import memo

DNS_LABEL_LENGTH = 63
DNS_SUBDOMAIN_LENGTH = 253
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_LABEL_1035 = "[a-z]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = rf"{_LABEL}(\.{_LABEL})*"
_QUALIFIED = "([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]"
_VALUE = f"({_QUALIFIED})?"
_CONFIG_KEY = "[-._a-zA-Z0-9]+"
_PERCENT = "[0-9]+%"
_PORT_NAME = re.compile("[-a-z0-9]+")


def too_long(limit: int) -> str:
    return f"must be no more than {limit} bytes"


def _regex_error(text: str, pattern: str, *examples: str) -> str:
    shown = " or ".join(f"'{example}', " for example in examples)
    return f"{text} (e.g. {shown}regex used for validation is '{pattern}')"


_SUBDOMAIN_ERROR = _regex_error(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', "
    "and must start and end with an alphanumeric character",
    _SUBDOMAIN,
    "example.com",
)
_LABEL_ERROR = _regex_error(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', "
    "and must start and end with an alphanumeric character",
    _LABEL,
    "my-name",
    "123-abc",
)
_LABEL_1035_ERROR = _regex_error(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', "
    "start with an alphabetic character, and end with an alphanumeric character",
    _LABEL_1035,
    "my-name",
    "abc-123",
)
_QUALIFIED_ERROR = _regex_error(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an alphanumeric character",
    _QUALIFIED,
    "MyName",
    "my.name",
    "123-abc",
)
_VALUE_ERROR = _regex_error(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', "
    "and must start and end with an alphanumeric character",
    _VALUE,
    "MyValue",
    "my_value",
    "12345",
)
_CONFIG_KEY_ERROR = _regex_error(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    _CONFIG_KEY,
    "key.name",
    "KEY_NAME",
    "key-name",
)
_PERCENT_ERROR = _regex_error(
    "a valid percent string must be a numeric string followed by an ending '%'", _PERCENT, "1%", "93%"
)
_EXAMPLE = "(e.g. 'example.com/MyName')"
_IP_ERROR = "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
_CIDR_ERROR = "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)"
_LOCAL_MULTICAST = ipaddress.ip_network("224.0.0.0/24")
_label = re.compile(_LABEL).fullmatch
_label_1035 = re.compile(_LABEL_1035).fullmatch
_subdomain = re.compile(_SUBDOMAIN).fullmatch
_qualified = re.compile(_QUALIFIED).fullmatch
_value = re.compile(_VALUE).fullmatch


@memo(4096)
def dns_subdomain(text: str) -> tuple[str, ...]:
    """RFC 1123 subdomain: the name of most objects."""
    errors = [too_long(DNS_SUBDOMAIN_LENGTH)] if len(text) > DNS_SUBDOMAIN_LENGTH else []
    if not _subdomain(text):
        errors.append(_SUBDOMAIN_ERROR)
    return tuple(errors)


@memo(4096)
def dns_label(text: str) -> tuple[str, ...]:
    """RFC 1123 label: namespaces, containers, volumes."""
    errors = [too_long(DNS_LABEL_LENGTH)] if len(text) > DNS_LABEL_LENGTH else []
    if not _label(text):
        errors.append(_LABEL_ERROR)
    return tuple(errors)


@memo(1024)
def dns_1035_label(text: str) -> tuple[str, ...]:
    """RFC 1035 label: services."""
    errors = [too_long(DNS_LABEL_LENGTH)] if len(text) > DNS_LABEL_LENGTH else []
    if not _label_1035(text):
        errors.append(_LABEL_1035_ERROR)
    return tuple(errors)


@memo(4096)
def qualified_name(text: str) -> tuple[str, ...]:
    """A label or annotation key: ``[prefix/]name``."""
    errors: list[str] = []
    prefix, slash, name = text.rpartition("/")
    if prefix.count("/"):
        return (f"a qualified name {_QUALIFIED_ERROR} with an optional DNS subdomain prefix and '/' {_EXAMPLE}",)
    if slash and not prefix:
        errors.append("prefix part must be non-empty")
    elif slash:
        errors += [f"prefix part {e}" for e in dns_subdomain(prefix)]
    if not name:
        errors.append("name part must be non-empty")
    elif len(name) > DNS_LABEL_LENGTH:
        errors.append(f"name part {too_long(DNS_LABEL_LENGTH)}")
    if not _qualified(name):
        errors.append(f"name part {_QUALIFIED_ERROR}")
    return tuple(errors)


@memo(4096)
def label_value(text: str) -> tuple[str, ...]:
    errors = [too_long(DNS_LABEL_LENGTH)] if len(text) > DNS_LABEL_LENGTH else []
    if not _value(text):
        errors.append(_VALUE_ERROR)
    return tuple(errors)


def path_segment(text: str) -> tuple[str, ...]:
    """Names that only need to fit in a URL: roles and bindings."""
    if text in (".", ".."):
        return (f"may not be '{text}'",)
    return tuple(f"may not contain '{c}'" for c in "/%" if c in text)


def config_key(text: str) -> tuple[str, ...]:
    """A key of a ConfigMap or Secret: also a file name."""
    errors = [too_long(DNS_SUBDOMAIN_LENGTH)] if len(text) > DNS_SUBDOMAIN_LENGTH else []
    if not re.fullmatch(_CONFIG_KEY, text):
        errors.append(_CONFIG_KEY_ERROR)
    return (*errors, *_no_dots(text))


def _no_dots(text: str) -> tuple[str, ...]:
    if text in (".", ".."):
        return (f"must not be '{text}'",)
    return ("must not start with '..'",) if text.startswith("..") else ()


def env_name(text: str) -> tuple[str, ...]:
    """An environment variable: any printable ASCII but ``=`` since v1.32 (relaxed validation)."""
    if text and all(" " <= c <= "~" and c != "=" for c in text):
        return ()
    return ("a valid environment variable name must consist only of printable ASCII characters other than '='",)


def port_number(port: int) -> tuple[str, ...]:
    return () if 1 <= port <= 65535 else ("must be between 1 and 65535, inclusive",)


def port_name(text: str) -> tuple[str, ...]:
    """An IANA service name, as container ports are named."""
    errors = []
    if len(text) > 15:
        errors.append("must be no more than 15 characters")
    if not _PORT_NAME.fullmatch(text):
        errors.append("must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)")
    if not re.search("[a-z]", text):
        errors.append("must contain at least one letter (a-z)")
    if "--" in text:
        errors.append("must not contain consecutive hyphens")
    if text and (text[0] == "-" or text[-1] == "-"):
        errors.append("must not begin or end with a hyphen")
    return tuple(errors)


def percent(text: str) -> tuple[str, ...]:
    return () if re.fullmatch(_PERCENT, text) else (_PERCENT_ERROR,)


def ip_address(text: str) -> tuple[str, ...]:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return (_IP_ERROR,)
    return ()


def canonical_ip(text: str) -> tuple[str, ...]:
    """An address written the one way that names an IPAddress object."""
    errors = ip_address(text)
    if errors:
        return errors
    canonical = str(ipaddress.ip_address(text))
    return () if text == canonical else (f'must be in canonical form ("{canonical}")',)


def unicast_ip(text: str) -> tuple[str, ...]:
    """An address that other hosts can be reached at."""
    address = ipaddress.ip_address(text)
    ranges = (
        (address.is_unspecified, "unspecified (0.0.0.0 or ::)"),
        (address.is_loopback, "in the loopback range (127.0.0.0/8, ::1/128)"),
        (address.is_link_local, "in the link-local range (169.254.0.0/16, fe80::/10)"),
        (address in _LOCAL_MULTICAST, "in the link-local multicast range (224.0.0.0/24, ff02::/10)"),
    )
    return tuple(f"may not be {where}" for inside, where in ranges if inside)


def cidr(text: str) -> tuple[str, ...]:
    try:
        ipaddress.ip_network(text, strict=False)
    except ValueError:
        return (_CIDR_ERROR,)
    return () if "/" in text else (_CIDR_ERROR,)
