"""Escalation checks are sound: who may grant some rules could do everything that they allow."""

from hypothesis import given
from hypothesis import strategies as st

from master.apiserver.auth.authorizer import RequestAttributes
from master.apiserver.auth.rbac_rules import Rule, uncovered
from master.apiserver.auth.user import User

USER = User("jo")
VERBS, GROUPS, NAMES = ("get", "list", "create"), ("", "apps"), ("one", "two")
RESOURCES = ("pods", "pods/log", "nodes", "nodes/log")
PATHS = ("/api", "/api/v1", "/metrics")


def sets(*values: str, least: int = 0) -> st.SearchStrategy[frozenset[str]]:
    return st.frozensets(st.sampled_from(values), min_size=least, max_size=3)


RULES = st.one_of(
    st.builds(
        Rule,
        sets(*VERBS, "*", least=1),
        sets(*GROUPS, "*", least=1),
        sets(*RESOURCES, "*", "*/log", least=1),
        sets(*NAMES),
    ),
    st.builds(lambda verbs, paths: Rule(verbs, paths=paths), sets(*VERBS, "*", least=1), sets(*PATHS, "/api/*", "*")),
)
REQUESTS = [
    RequestAttributes(USER, verb, group, "v1", *resource.partition("/")[::2], "", name)
    for verb in VERBS
    for group in GROUPS
    for resource in RESOURCES
    for name in ("", *NAMES)
] + [RequestAttributes(USER, verb, path=path) for verb in VERBS for path in PATHS]


@given(st.lists(RULES, max_size=3), st.lists(RULES, max_size=4))
def test_what_may_be_granted_could_be_done(wanted: list[Rule], owned: list[Rule]) -> None:
    if uncovered(wanted, owned):
        return
    for request in REQUESTS:
        if any(rule.allows(request) for rule in wanted):
            assert any(rule.allows(request) for rule in owned), request


@given(st.lists(RULES, max_size=4))
def test_everybody_may_grant_what_he_has(rules: list[Rule]) -> None:
    assert uncovered(rules, rules) == []
    assert [Rule.from_json(rule.to_json()) for rule in rules] == rules
