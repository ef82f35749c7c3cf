import pytest

from apimachinery import selectors
from apimachinery.errors import BadRequest

LABELS = {"app": "web", "tier": "front", "n": "5"}


@pytest.mark.parametrize(
    ("text", "matches"),
    [
        ("", True),
        ("app=web", True),
        ("app==web,tier!=back", True),
        ("app in (web,api)", True),
        ("app notin (web)", False),
        ("absent notin (x)", True),
        ("absent!=x", True),
        ("app", True),
        ("!app", False),
        ("!absent", True),
        ("absent", False),
        ("n>4", True),
        ("n<5", False),
        ("app>1", False),
        ("app=", False),
        (" app = web , tier in ( front ) ", True),
        ("in in (in)", False),
    ],
)
def test_labels(text: str, matches: bool) -> None:
    selector = selectors.parse_labels(text)
    assert selector.matches(LABELS) is matches
    assert selectors.parse_labels(str(selector)) == selector


@pytest.mark.parametrize(
    "text", ["=x", "a=b=c", "a in x", "a in (x", "a b", "a,,b", "a,", "a/b/c=d", "a=-", "n>x", "!"]
)
def test_bad_labels(text: str) -> None:
    with pytest.raises(BadRequest):
        selectors.parse_labels(text)


def test_objects() -> None:
    assert not selectors.from_object(None).matches({})
    assert selectors.from_object({}).matches({})
    expression = {"matchLabels": {"app": "web"}, "matchExpressions": [{"key": "n", "operator": "In", "values": ["5"]}]}
    assert selectors.from_object(expression).matches(LABELS)
    with pytest.raises(BadRequest):
        selectors.from_object({"matchExpressions": [{"key": "n", "operator": "Near"}]})


def test_fields() -> None:
    selector = selectors.parse_fields("metadata.name=x,spec.nodeName!=a\\,b,status.phase==Running")
    fields = {"metadata.name": "x", "spec.nodeName": "n", "status.phase": "Running"}
    assert selector.matches(lambda f: fields[f])
    assert selector.terms[1].value == "a,b"
    assert selector.required("metadata.name") == "x"
    assert selectors.parse_fields(str(selector)) == selector
    with pytest.raises(BadRequest):
        selectors.parse_fields("metadata.name")
