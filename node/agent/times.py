"""Times as the API writes them."""

import datetime


def rfc3339(seconds: float) -> str:
    """``2026-01-02T03:04:05Z``: whole seconds, as metav1.Time."""
    return datetime.datetime.fromtimestamp(int(seconds), datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """With microseconds, as metav1.MicroTime."""
    return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since 1970. Raises ValueError for what is not a time."""
    return datetime.datetime.fromisoformat(text).timestamp()
