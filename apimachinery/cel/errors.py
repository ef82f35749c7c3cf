"""How an expression fails, and the budget that keeps it from running on."""

DEFAULT_COST = 1_000_000
"""What one evaluation may cost: upstream's PerCallLimit, in its units (see costs.py)."""
OBJECT_BUDGET = 10_000_000
"""What all rules of one object, or one policy with one binding, may cost: RuntimeCELCostBudget."""
MOST_WORK = 20_000_000
"""Steps that cost upstream nothing, as comparing what is in two lists: some seconds of ours."""


class CompilationError(ValueError):
    """The expression is no program. The message is the checker's."""

    @property
    def told(self) -> str:
        """As upstream tells the expression's author."""
        return str(self) if str(self).startswith("must evaluate") else f"compilation failed: {self}"


class EvaluationError(Exception):
    """The expression has no value for these variables."""


class BudgetExceeded(EvaluationError):
    """The evaluation was ended because it cost too much."""

    def __init__(self) -> None:
        super().__init__("operation cancelled: actual cost limit exceeded")


class Budget:
    """What is left to spend; several evaluations may share one. ``floor``: how far the running one may go down."""

    __slots__ = ("effort", "floor", "left")

    def __init__(self, left: int = DEFAULT_COST) -> None:
        self.left, self.floor, self.effort = left, 0, MOST_WORK

    def charge(self, cost: int) -> None:
        """Raises BudgetExceeded."""
        self.left -= cost
        if self.left < self.floor:
            raise BudgetExceeded

    def work(self, steps: int) -> None:
        """Tell of steps that are free upstream, but take time here. Raises BudgetExceeded."""
        self.effort -= steps
        if self.effort < 0:
            raise BudgetExceeded
