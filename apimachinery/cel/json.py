"""A value of CEL as JSON."""

import base64
from datetime import datetime, timedelta
from typing import Any

from .errors import EvaluationError
from .library.standard import string_duration, string_timestamp
from .values import type_name


def to_json(value: Any) -> Any:
    """Copies. Raises EvaluationError for what JSON cannot say."""
    if isinstance(value, dict):
        return {_name(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list):
        return [to_json(v) for v in value]
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        return string_timestamp(value)
    if isinstance(value, timedelta):
        return string_duration(value)
    if value is None or isinstance(value, (bool, str, float)):
        return value
    if isinstance(value, int):
        return int(value)
    raise EvaluationError(f"a value of type {type_name(value)} has no form in JSON")


def _name(key: Any) -> str:
    if not isinstance(key, str):
        raise EvaluationError(f"a map with keys of type {type_name(key)} has no form in JSON")
    return key
