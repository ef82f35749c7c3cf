"""Cron schedules: five fields, ``@hourly`` and its like, and ``@every 1h30m``.

Source: ``robfig/cron/v3`` as CronJob uses it. If both the day of month and the day of week are restricted, either
one is enough.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from apimachinery.flags import duration

_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_DAYS = {n: i for i, n in enumerate(["sun", "mon", "tue", "wed", "thu", "fri", "sat"])}
_FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 6, _DAYS),
)
_PART = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d+))?")
_HORIZON_DAYS = 366 * 5  # 29 February is at most eight years away, and upstream looks no further than five


@dataclass(frozen=True)
class Schedule:
    """Moments are whole minutes on the wall clock of ``zone``."""

    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool
    zone: tzinfo
    every: float = 0.0

    def next(self, after: datetime) -> datetime | None:
        """The first moment after ``after``; None if there is none in five years."""
        if self.every:
            return after.replace(microsecond=0) + timedelta(seconds=max(1.0, self.every))
        moment = after.astimezone(self.zone).replace(second=0, microsecond=0) + timedelta(minutes=1)
        end = moment + timedelta(days=_HORIZON_DAYS)
        while moment < end:
            if not self._is_day(moment):
                moment = (moment + timedelta(days=1)).replace(hour=0, minute=0)
            elif moment.hour not in self.hours:
                moment = moment.replace(minute=0) + timedelta(hours=1)
            elif moment.minute not in self.minutes:
                moment += timedelta(minutes=1)
            else:
                return moment.astimezone(after.tzinfo)
        return None

    def _is_day(self, moment: datetime) -> bool:
        if moment.month not in self.months:
            return False
        by_date, by_weekday = moment.day in self.days, moment.isoweekday() % 7 in self.weekdays
        return by_date and by_weekday if self.any_day or self.any_weekday else by_date or by_weekday


def parse(text: str, zone: tzinfo) -> Schedule:
    """Raises ValueError that says which part is wrong."""
    text = _ALIASES.get(text.strip(), text.strip())
    if text.startswith("@every "):
        nothing: frozenset[int] = frozenset()
        seconds = duration(text.removeprefix("@every ").strip())
        return Schedule(nothing, nothing, nothing, nothing, nothing, True, True, zone, seconds)
    parts = text.split()
    if len(parts) != len(_FIELDS):
        raise ValueError(f"expected exactly 5 fields, found {len(parts)}: {text}")
    minutes, hours, days, months, weekdays = (_field(part, *about) for part, about in zip(parts, _FIELDS, strict=True))
    any_day, any_weekday = (parts[i].startswith(("*", "?")) for i in (2, 4))
    return Schedule(minutes, hours, days, months, weekdays, any_day, any_weekday, zone)


def _field(text: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    found: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise ValueError(f"cannot read {part!r} in {text!r}")
        first, last, step = match.groups()
        if first in {"*", "?"}:
            start, stop = low, high
        else:
            start = _number(first, names)
            stop = _number(last, names) if last else (high if step else start)
        if not low <= start <= stop <= high or (step is not None and int(step) < 1):
            raise ValueError(f"{part!r} is not within {low}-{high}")
        found.update(range(start, stop + 1, int(step or 1)))
    return frozenset(found)


def _number(text: str, names: Mapping[str, int]) -> int:
    if text.lower()[:3] in names and not text.isdigit():
        return names[text.lower()[:3]]
    if not text.isdigit():
        raise ValueError(f"failed to parse int from {text}")
    return int(text)
