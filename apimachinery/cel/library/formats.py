"""Named formats: ``format.dns1123Label().validate('x')`` answers what is wrong, if anything is."""

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from apimachinery import validation

from ..coercions import timestamp
from ..errors import EvaluationError
from ..overloads import declare_all, opaque
from ..values import NONE, Opaque, Optional
from .urls import url

Check = Callable[[str], Sequence[str]]
MAX_LENGTH = 10_000
"""No name is longer; the checks below may take quadratic time."""


def _bounded(check: Check) -> Check:
    return lambda text: check(text) if len(text) <= MAX_LENGTH else (validation.too_long(MAX_LENGTH),)


def _prefix(check: Check) -> Check:
    """The check of a name that something will be appended to."""
    return _bounded(lambda text: check(text[:-1] + "a" if text.endswith("-") else text))


def _unless(valid: Callable[[str], object], sentence: str) -> Check:
    def check(text: str) -> Sequence[str]:
        try:
            return () if valid(text) else (sentence,)
        except (EvaluationError, binascii.Error, ValueError) as error:
            return (str(error) if sentence == "" else sentence,)

    return check


DNS_LABEL = _bounded(validation.dns_label)
DNS_SUBDOMAIN = _bounded(validation.dns_subdomain)
_UUID = re.compile(r"[0-9a-fA-F]{8}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{4}-?[0-9a-fA-F]{12}")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")

FORMATS: dict[str, Check] = {
    "dns1123Label": DNS_LABEL,
    "dns1123Subdomain": DNS_SUBDOMAIN,
    "dns1035Label": _bounded(validation.dns_1035_label),
    "qualifiedName": _bounded(validation.qualified_name),
    "dns1123LabelPrefix": _prefix(validation.dns_label),
    "dns1123SubdomainPrefix": _prefix(validation.dns_subdomain),
    "dns1035LabelPrefix": _prefix(validation.dns_1035_label),
    "labelValue": _bounded(validation.label_value),
    "uri": _unless(url, ""),
    "uuid": _unless(_UUID.fullmatch, "does not match the UUID format"),
    "byte": _unless(lambda text: base64.b64decode(text, validate=True) is not None, "invalid base64"),
    "date": _unless(lambda text: _DATE.fullmatch(text) and timestamp(text), "invalid date"),
    "datetime": _unless(lambda text: "T" in text.upper() and timestamp(text), "invalid datetime"),
}


@opaque
@dataclass(frozen=True, slots=True)
class NamedFormat(Opaque):
    name: str

    cel_type: ClassVar[str] = "kubernetes.NamedFormat"


def _validate(form: NamedFormat, text: str) -> Optional:
    problems = FORMATS[form.name](text)
    return Optional.of(list(problems)) if problems else NONE


_N = NamedFormat.cel_type
declare_all(
    {
        f"format.named(string) -> optional_type<{_N}>": lambda n: Optional.of(NamedFormat(n)) if n in FORMATS else NONE,
        f"({_N}).validate(string) -> optional_type<list<string>>": _validate,
        **{f"format.{name}() -> {_N}": partial(NamedFormat, name) for name in FORMATS},
    }
)
