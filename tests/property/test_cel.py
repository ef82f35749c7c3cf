"""Our evaluation against that of the C++ implementation, on expressions that nobody would write."""

from typing import Any

from cel_expr_python import cel as reference
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from apimachinery import cel

VALUES = {"n": 7, "z": 0, "s": "abc", "l": [3, 1, 2], "m": {"a": 1, "b": [1, "x"]}, "f": 1.5}
TYPES = {"n": "int", "z": "int", "s": "string", "l": "list<int>", "m": "map<string, dyn>", "f": "double"}
_ENVIRONMENT = reference.NewEnv(variables={name: reference.Type(text) for name, text in TYPES.items()})

ints = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["n", "z", "0", "1", "-3", "9223372036854775807", "l[0]", "l[9]", "int(f)", "m.a", "m.nope"]),
        st.builds("({} {} {})".format, ints, st.sampled_from("+-*/%"), ints),
        st.builds("({} ? {} : {})".format, bools, ints, ints),
        st.builds("size({})".format, st.one_of(texts, lists)),
        st.builds("-({})".format, ints),
    )
)
texts = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["s", "''", "'ab'", "'é'", "m.b[1]"]),
        st.builds("({} + {})".format, texts, texts),
        st.builds("string({})".format, st.one_of(ints, bools)),
    )
)
lists = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["l", "[]", "[1]"]),
        st.builds("({} + {})".format, lists, lists),
        st.builds("[{}, {}]".format, ints, ints),
        st.builds("{}.map(x, {})".format, lists, st.one_of(ints, st.just("x + 1"))),
        st.builds("{}.filter(x, {})".format, lists, st.one_of(bools, st.just("x > 1"))),
    )
)
bools = st.deferred(
    lambda: st.one_of(
        st.sampled_from(["true", "false", "has(m.a)", "has(m.nope)", "'a' in m"]),
        st.builds("({} {} {})".format, bools, st.sampled_from(["&&", "||", "==", "!="]), bools),
        st.builds("({} {} {})".format, ints, st.sampled_from(["<", "<=", ">", ">=", "==", "!="]), ints),
        st.builds("({} {} {})".format, texts, st.sampled_from(["<", "==", "!="]), texts),
        st.builds("({} {} {})".format, lists, st.sampled_from(["==", "!="]), lists),
        st.builds("({} in {})".format, ints, lists),
        st.builds("{}.{}(x, {})".format, lists, st.sampled_from(["all", "exists", "exists_one"]), bools),
        st.builds("{}.{}(x, 6 / x > 2)".format, lists, st.sampled_from(["all", "exists"])),
        st.builds("{}.{}({})".format, texts, st.sampled_from(["startsWith", "endsWith", "contains"]), texts),
        st.builds("!({})".format, bools),
    )
)


class Failed:
    """All failures are alike: what matters is that there is no value."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Failed)

    def __repr__(self) -> str:
        return "failed"


def theirs(expression: str) -> Any:
    try:
        value = _ENVIRONMENT.compile(expression).eval(data=VALUES)
    except RuntimeError:
        return Failed()
    return Failed() if value.type() == reference.Type.ERROR else value.plain_value()


def ours(expression: str) -> Any:
    try:
        return cel.compile(expression, TYPES).evaluate(VALUES)
    except (cel.EvaluationError, cel.CompilationError):
        return Failed()


def is_mixed(expression: str) -> bool:
    """Whether it has a list of several types, which only Kubernetes refuses."""
    try:
        cel.compile(expression, TYPES)
    except cel.CompilationError as error:
        return "expected type" in str(error)
    return False


@settings(max_examples=150, deadline=None)
@given(st.one_of(ints, texts, lists, bools).filter(lambda e: len(e) < 200))
def test_expressions_have_the_values_of_the_reference(expression: str) -> None:
    assume(not is_mixed(expression))
    assert ours(expression) == theirs(expression), expression
