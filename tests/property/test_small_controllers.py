"""podCIDRs are never given twice; slices always converge in one step and stay."""

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from apimachinery.meta import Object
from master.controller_manager.node_ipam import CidrPool
from master.controller_manager.slices import Group, Plan, Template, plan

NODES = [f"n{i}" for i in range(6)]
TEMPLATE = Template("ns", "web-", {"a": "b"}, {}, {"uid": "u"})
LIMIT = 3

steps = st.lists(st.tuples(st.sampled_from(["take", "release", "claim"]), st.sampled_from(NODES), st.integers(0, 3)))


@given(steps)
def test_no_part_has_two_holders_and_none_is_lost(history: list[tuple[str, str, int]]) -> None:
    pool, held = CidrPool(ip_network("10.0.0.0/22"), 24), dict[str, str]()
    for verb, node, number in history:
        if verb == "take":
            part = pool.take(node)
            if part is None:
                assert len(held) == 4 and node not in held
            else:
                assert held.get(node, part) == part
                held[node] = part
        elif verb == "release":
            pool.release(node)
            held.pop(node, None)
        elif pool.occupy(f"10.0.{number}.0/24", node):
            held[node] = f"10.0.{number}.0/24"
        assert len(set(held.values())) == len(held)
        assert pool.holders == {part: name for name, part in held.items()}


def endpoint(number: int) -> Object:
    return {"addresses": [f"10.0.0.{number}"], "conditions": {"ready": number % 2 == 0}}


groups = st.dictionaries(st.sampled_from([80, 81]), st.sets(st.integers(1, 20), max_size=12), max_size=2)


def made(wanted: dict[int, set[int]]) -> list[Group]:
    return [Group("IPv4", [{"port": port}], [endpoint(n) for n in sorted(numbers)]) for port, numbers in wanted.items()]


def carried_out(found: list[Object], doing: Plan, start: int) -> list[Object]:
    gone = {s["metadata"]["name"] for s in doing.delete}
    changed = {s["metadata"]["name"]: s for s in doing.update}
    created = [{**s, "metadata": {**s["metadata"], "name": f"s{start + n}"}} for n, s in enumerate(doing.create)]
    return [changed.get(s["metadata"]["name"], s) for s in found if s["metadata"]["name"] not in gone] + created


@given(st.lists(groups, min_size=1, max_size=6))
def test_slices_hold_exactly_what_is_wanted_and_then_rest(history: list[dict[int, set[int]]]) -> None:
    found: list[Object] = []
    for step, wanted in enumerate(history):
        found = carried_out(found, plan(made(wanted), found, TEMPLATE, LIMIT), step * 100)
        held = sorted((s["ports"][0]["port"], e["addresses"][0]) for s in found for e in s["endpoints"])
        assert held == sorted((port, f"10.0.0.{n}") for port, numbers in wanted.items() for n in numbers)
        assert all(len(s["endpoints"]) <= LIMIT for s in found)
        again = plan(made(wanted), found, TEMPLATE, LIMIT)
        assert not again.create and not again.update and not again.delete
