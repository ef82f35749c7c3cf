"""The kinds' strategies: one line a kind. A kind without one gets the generic strategy."""

from collections.abc import Mapping

from ..strategy import Strategy

STRATEGIES: Mapping[tuple[str, str], type[Strategy]] = {}
"""By group and resource."""
