"""How long ago, in few letters: what ``kubectl get`` shows under AGE.

Source: ``k8s.io/apimachinery/pkg/util/duration/duration.go``.
"""

from datetime import UTC, datetime

_YEAR = 365


def human_duration(seconds: float) -> str:
    """``95s``, ``5m10s``, ``3h``, ``2d4h``, ``1y30d``; up to a second in the future counts as now."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    if whole < 0:
        return "0s"
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    if whole < 120:
        return f"{whole}s"
    if minutes < 10:
        return _two(minutes, "m", whole % 60, "s")
    if minutes < 180:
        return f"{minutes}m"
    if hours < 8:
        return _two(hours, "h", minutes % 60, "m")
    if hours < 48:
        return f"{hours}h"
    if days < 8:
        return _two(days, "d", hours % 24, "h")
    return f"{days}d" if days < 2 * _YEAR else _years(days)


def _years(days: int) -> str:
    return _two(days // _YEAR, "y", days % _YEAR, "d") if days < 8 * _YEAR else f"{days // _YEAR}y"


def _two(large: int, large_unit: str, small: int, small_unit: str) -> str:
    return f"{large}{large_unit}{small}{small_unit}" if small else f"{large}{large_unit}"


def since(timestamp: str | None, now: datetime | None = None) -> str:
    """The age of an RFC 3339 time; ``<unknown>`` without one, ``<invalid>`` of what is none."""
    if not timestamp:
        return "<unknown>"
    try:
        moment = datetime.fromisoformat(timestamp)
    except ValueError:
        return "<invalid>"
    return human_duration(((now or datetime.now(UTC)) - moment).total_seconds())
