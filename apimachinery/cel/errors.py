"""How an expression fails, and the budget that keeps it from running on."""

DEFAULT_COST = 1_000_000
"""What one evaluation may cost, as upstream's PerCallLimit: about one unit a node and ten bytes touched."""


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
    """What is left to spend; several evaluations may share one."""

    __slots__ = ("left",)

    def __init__(self, left: int = DEFAULT_COST) -> None:
        self.left = left

    def charge(self, cost: int) -> None:
        """Raises BudgetExceeded."""
        self.left -= cost
        if self.left < 0:
            raise BudgetExceeded
