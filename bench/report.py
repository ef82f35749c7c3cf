"""One figure beside its goal, and the table that ``make bench`` ends with."""

from dataclasses import dataclass

from rich.console import Console
from rich.table import Table


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure. ``goal`` is a bound in the same unit: from below where ``more_is_better``."""

    work: str
    value: float
    unit: str
    goal: float | None = None
    more_is_better: bool = False

    def reached(self) -> bool | None:
        if self.goal is None:
            return None
        return self.value >= self.goal if self.more_is_better else self.value <= self.goal


def show(figures: list[Figure]) -> None:
    """Print the figures as a table."""
    table = Table("work", "measured", "goal", "", box=None, pad_edge=False)
    for figure in figures:
        sign = "≥" if figure.more_is_better else "≤"
        goal = "—" if figure.goal is None else f"{sign} {figure.goal:,.4g} {figure.unit}"
        mark = {True: "[green]reached[/]", False: "[yellow]not yet[/]", None: ""}[figure.reached()]
        table.add_row(figure.work, f"{figure.value:,.4g} {figure.unit}", goal, mark)
    Console(width=120, highlight=False).print(table)
