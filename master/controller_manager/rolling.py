"""The numbers of rolling updates: ``maxSurge``, ``maxUnavailable`` and other counts that may be percentages."""

import math


def scaled(value: int | str | None, total: int, *, round_up: bool, default: int | str = 0) -> int:
    """A count, or a percentage such as ``"25%"`` of ``total``. Raises ValueError for anything else."""
    value = default if value is None else value
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        raise ValueError(f"{value!r} is neither a number nor a percentage")
    exact = total * int(value[:-1]) / 100
    return math.ceil(exact) if round_up else math.floor(exact)


def fenceposts(surge: int | str | None, unavailable: int | str | None, desired: int) -> tuple[int, int]:
    """(surge, unavailable) of a Deployment: one of them must be more than 0, or nothing could ever move."""
    more = scaled(surge, desired, round_up=True, default="25%")
    fewer = scaled(unavailable, desired, round_up=False, default="25%")
    return (more, 1) if more == 0 and fewer == 0 else (more, fewer)
