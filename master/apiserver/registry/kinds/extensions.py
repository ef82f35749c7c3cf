"""What extends the API: definitions, API services, flow control."""

from typing import Any

from ..strategy import Strategy
from .causes import Causes, forbidden, non_negative, one_of, required
from .pod_defaults import set_default
from .printing import AGE, NAME, at, number, or_none, text

Object = dict[str, Any]


class FlowSchemaStrategy(Strategy):
    status_metadata = ()
    status_zeros = {}
    columns = (
        NAME,
        text("PriorityLevel", "spec.priorityLevelConfiguration.name"),
        number("MatchingPrecedence", "spec.matchingPrecedence"),
        text("DistinguisherMethod", lambda f: or_none(at(f, "spec.distinguisherMethod.type"))),
        AGE,
        text(
            "MissingPL",
            lambda f: next(
                (c.get("status") for c in at(f, "status.conditions", ()) if c.get("type") == "Dangling"), "?"
            ),
        ),
    )

    def default(self, obj: Object) -> None:
        set_default(obj.setdefault("spec", {}), "matchingPrecedence", 1000)

    def validate(self, obj: Object) -> Causes:
        level = at(obj, "spec.priorityLevelConfiguration.name")
        return [] if level else [required("spec.priorityLevelConfiguration.name")]


class PriorityLevelStrategy(Strategy):
    status_metadata = ()
    status_zeros = {}
    columns = (
        NAME,
        text("Type", "spec.type"),
        text("NominalConcurrencyShares", lambda p: at(p, "spec.limited.nominalConcurrencyShares", "<none>")),
        text("Queues", lambda p: at(p, "spec.limited.limitResponse.queuing.queues", "<none>")),
        text("HandSize", lambda p: at(p, "spec.limited.limitResponse.queuing.handSize", "<none>")),
        text("QueueLengthLimit", lambda p: at(p, "spec.limited.limitResponse.queuing.queueLengthLimit", "<none>")),
        AGE,
    )

    def default(self, obj: Object) -> None:
        spec = obj.setdefault("spec", {})
        limited, exempt = spec.get("limited"), spec.get("exempt")
        if limited is not None:
            limited.setdefault("nominalConcurrencyShares", 30)
            limited.setdefault("lendablePercent", 0)
            queuing = at(limited, "limitResponse.queuing")
            if queuing is not None:
                for key, value in (("queues", 64), ("handSize", 8), ("queueLengthLimit", 50)):
                    set_default(queuing, key, value)
        if spec.get("type") == "Exempt":
            exempt = spec.setdefault("exempt", {})
            exempt.setdefault("nominalConcurrencyShares", 0)
            exempt.setdefault("lendablePercent", 0)

    def validate(self, obj: Object) -> Causes:
        spec = obj.get("spec") or {}
        causes = one_of("spec.type", spec.get("type"), ("Exempt", "Limited"), optional=False)
        if spec.get("type") == "Limited" and spec.get("limited") is None:
            causes.append(required("spec.limited", "must not be empty when type is Limited"))
        if spec.get("type") == "Exempt" and spec.get("limited") is not None:
            causes.append(forbidden("spec.limited", "must be nil if the type is not Limited"))
        shares = at(spec, "limited.nominalConcurrencyShares")
        return causes + non_negative("spec.limited.nominalConcurrencyShares", shares)
