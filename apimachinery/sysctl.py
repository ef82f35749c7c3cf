"""Kernel settings of the caller's network namespace, by their sysctl(8) names."""

from pathlib import Path

_ROOT = Path("/proc/sys")


def ensure(name: str, value: str) -> bool:
    """Make the setting ``value``; writes only what differs.

    False when it differs and cannot be written or does not exist: in a container ``/proc/sys`` is read-only and such
    settings come from the container's own ``sysctls``. ``name`` has slashes, as interface names may have dots.
    """
    file = _ROOT / name
    try:
        if file.read_text().strip() == value:
            return True
        file.write_text(value)
    except OSError:
        return False
    return True
