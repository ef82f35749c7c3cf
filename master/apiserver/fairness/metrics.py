"""What fairness counts, under upstream's names. Counted where it happens, gathered when somebody looks."""

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .fairness import Fairness

_PREFIX = "apiserver_flowcontrol_"
_LEVEL = ["priority_level"]
_SCHEMA = ["priority_level", "flow_schema"]


class FairnessMetrics(Collector):
    def __init__(self, fairness: Fairness) -> None:
        self._fairness = fairness

    def collect(self) -> Iterator[Metric]:
        yield from self._levels()
        dispatched = CounterMetricFamily(f"{_PREFIX}dispatched_requests", "Requests that got seats.", labels=_SCHEMA)
        rejected = CounterMetricFamily(f"{_PREFIX}rejected_requests", "Requests refused.", labels=[*_SCHEMA, "reason"])
        for (level, schema), tally in self._fairness.tallies.items():
            dispatched.add_metric([level, schema], tally.dispatched)
            for reason, count in tally.rejected.items():
                rejected.add_metric([level, schema, reason], count)
        yield from (dispatched, rejected)

    def _levels(self) -> Iterator[Metric]:
        levels = self._fairness.pool.levels.values()
        figures = {
            "nominal_limit_seats": ("Seats by a level's shares.", [lv.config.nominal for lv in levels]),
            "lower_limit_seats": ("Seats that are never lent.", [lv.config.guaranteed for lv in levels]),
            "upper_limit_seats": ("Seats at most, with borrowed ones.", [lv.config.most for lv in levels]),
            "current_executing_seats": ("Seats taken.", [lv.in_use for lv in levels]),
            "current_executing_requests": ("Requests seated.", [lv.executing for lv in levels]),
            "current_inqueue_requests": ("Requests that wait for seats.", [lv.waiting for lv in levels]),
        }
        for name, (text, values) in figures.items():
            metric = GaugeMetricFamily(_PREFIX + name, text, labels=_LEVEL)
            for level, value in zip(levels, values, strict=True):
                metric.add_metric([level.config.name], value)
            yield metric
