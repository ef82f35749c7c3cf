"""Bodies that are wrong in every way: the server says so, and nothing else happens to it."""

import json
import time
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery import schema, scheme
from apimachinery.scheme import Kind
from tests.fuzz import shapes
from tests.fuzz.victim import Victim
from tests.fuzz.wire import Answer

MAPS = "/api/v1/namespaces/default/configmaps"
JSON = [("Content-Type", "application/json")]
YAML = [("Content-Type", "application/yaml")]
MERGE = [("Content-Type", "application/merge-patch+json")]
STRATEGIC = [("Content-Type", "application/strategic-merge-patch+json")]
APPLY = [("Content-Type", "application/apply-patch+yaml")]
OPERATIONS = [("Content-Type", "application/json-patch+json")]


def fine(answer: Answer, about: Any) -> None:
    """An answer that says what is wrong, and with whom: never with the server."""
    told = f"{answer.code} {answer.body[:500]!r} to {about!r:.2000}"
    assert 200 <= answer.code < 500, told
    if answer.code >= 400:
        assert answer.json["kind"] == "Status" and answer.json["code"] == answer.code, told


def collection(kind: Kind) -> str:
    return kind.path("default")


def every_wrong_type() -> list[tuple[Kind, bytes]]:
    """For every kind, at every place of its schema: each sort of value once, in turn."""
    wrong: tuple[Any, ...] = ({}, [], "x", 0, True, 1.5, [[]], [None], {"": None}, -1, "", 2**63, [{}], None)
    found = []
    for kind in shapes.WRITTEN:
        whole = schema.load().of(kind)
        for number, (path, _) in enumerate(shapes.paths(whole)):
            for choice in (number % len(wrong), (number * 7 + 3) % len(wrong)):
                body = shapes.placed(path, wrong[choice], whole)
                if isinstance(body, dict):
                    metadata = body.setdefault("metadata", {})
                    if isinstance(metadata, dict):
                        metadata.setdefault("name", "x")
                found.append((kind, orjson.dumps(body)))
    return found


def test_wrong_types_at_every_place_of_every_schema(victim: Victim, effort: int) -> None:
    attacks = every_wrong_type()
    for kind, body in attacks[:: max(1, len(attacks) // (400 * effort))]:
        fine(victim.call("POST", f"{collection(kind)}?dryRun=All", body, JSON), (kind.resource, body))


@pytest.mark.parametrize("kind", shapes.WRITTEN, ids=lambda k: f"{k.resource}.{k.group}.{k.version}")
def test_objects_made_of_odd_values(victim: Victim, effort: int, kind: Kind) -> None:
    """Created, updated and patched, in all their parts; what was accepted is read back in each form."""

    @settings(settings.get_profile("attack"), max_examples=3 * effort)
    @given(shapes.body(kind), shapes.body(kind), st.sampled_from([MERGE, STRATEGIC, APPLY, JSON]))
    def attack(first: Any, second: Any, media: Any) -> None:
        path = collection(kind)
        data = encoded(first)
        made = victim.call("POST", path, data, JSON)
        fine(made, data)
        if made.code != 201 or not kind.stored:
            return
        name = made.json["metadata"]["name"]
        method = "PUT" if media is JSON else "PATCH"
        for part in ("", *(f"/{s}" for s in kind.subresources if s in ("status", "scale", "resize"))):
            query = "fieldManager=f&force=true" if media is APPLY else "fieldManager=f"
            fine(victim.call(method, f"{path}/{name}{part}?{query}", encoded(second), media), (data, part, second))
        shown(victim, path)
        victim.call("DELETE", f"{path}/{name}?gracePeriodSeconds=0")
        victim.call("PATCH", f"{path}/{name}", b'{"metadata":{"finalizers":null}}', MERGE)

    attack()


def encoded(value: Any) -> bytes:
    """Numbers of any size, as only this encoder writes them."""
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")


def shown(victim: Victim, path: str) -> None:
    for accept in ("application/json", "application/json;as=Table;v=v1;g=meta.k8s.io", "application/yaml"):
        answer = victim.call("GET", path, headers=[("Accept", accept)])
        assert answer.code == 200, answer


TEXTS = [
    b"", b" ", b"{", b"}", b"[]", b"null", b"1", b'"x"', b"{}{}", b"\xef\xbb\xbf{}", b"\xff\xfe{\0}\0", b"{'a': 1}", b"NaN",
    b'{"a": NaN}', b'{"metadata": {"name": Infinity}}', b'{"a": -Infinity}', b'{"metadata":{"name":"\xff"}}',
    b'{"metadata":{"name":"\xed\xa0\x80"}}', b'{"metadata":{"name":"\\ud800"}}', b'{"metadata":{"name":"\\u0000"}}',
    b'{"metadata":{"name":"a\\u0000b"}}', b'{"metadata":{"name":"x","name":"y"}}', b'{"data":{"\\ud83d\\ude00":"\\udc00"}}',
    b'{"a":1e999999}', b'{"metadata":{"generation":1e400}}', b'{"metadata":{"generation":%b}}' % (b"9" * 100_000),
    b'{"metadata":{"generation":-0}}', b'{"metadata":{"generation":1.0}}', b'{"metadata":{"generation":1E2}}',
    b'{"metadata":{"labels":{"a":null}}}', b'{"metadata":{"annotations":{"":""}}}', b'{"metadata":[]}', b'{"metadata":null}',
    b'{"kind":1}', b'{"kind":null,"apiVersion":null}', b'{"kind":"Pod"}', b'{"apiVersion":"v1/v1/v1"}', b'{"apiVersion":{}}',
    b'{"metadata":{"name":"x","managedFields":[{}]}}', b'{"metadata":{"name":"x","managedFields":[{"fieldsV1":{"x":1}}]}}',
    b'{"metadata":{"name":"x","ownerReferences":[{}]}}', b'{"metadata":{"name":"x","selfLink":"\\r\\nX: y"}}',
    b'{"metadata":{"name":"x"},"\\r\\nInjected: yes":1}', b'{"metadata":{"name":"x"},"\\u0000":1}',
    '{"metadata":{"name":"x"},"ключ💥":1}'.encode(), b"{" + b'"a":1,' * 50_000 + b'"a":1}',
    b'{"metadata":{"name":"x"},' + b",".join(b'"f%d":1' % i for i in range(50_000)) + b"}",
    b'{"metadata":{"name":"x","labels":{' + b",".join(b'"l%d":"v"' % i for i in range(40_000)) + b"}}}",
    b"[" * 100_000, b'{"a":' * 100_000, b"[" * 500 + b"]" * 500, b'{"data":' * 1_100 + b"1" + b"}" * 1_100,
    b'{"metadata":{"name":"x"},"data":' + b'{"a":' * 200 + b"1" + b"}" * 201, b'"' + b"\\" * 99_999, b" " * 3_000_000,
]  # fmt: skip


@pytest.mark.parametrize("media", [JSON, YAML, MERGE, STRATEGIC, APPLY, OPERATIONS, [("Content-Type", "\xff")]])
def test_texts_that_are_no_objects(victim: Victim, media: Any) -> None:
    victim.call("POST", MAPS, b'{"metadata":{"name":"x"}}', JSON)
    for text in TEXTS:
        query = "fieldManager=f&dryRun=All"
        fine(victim.call("POST", f"{MAPS}?{query}", text, media), text[:200])
        fine(victim.call("PUT", f"{MAPS}/x?{query}&fieldValidation=Strict", text, media), text[:200])
        fine(victim.call("PATCH", f"{MAPS}/x?{query}", text, media), text[:200])
        fine(victim.call("DELETE", f"{MAPS}/x?{query}", text, media), text[:200])


def test_what_is_nested_too_deeply_is_not_kept(victim: Victim) -> None:
    """Free-form places hold any depth that can be written, read and shown again."""
    revisions = "/apis/apps/v1/namespaces/default/controllerrevisions"
    for depth in (50, 120, 250, 500, 900, 1_100, 5_000, 100_000):
        data = b'{"a":' * depth + b"1" + b"}" * depth
        body = b'{"metadata":{"name":"deep%d"},"revision":1,"data":%b}' % (depth, data)
        fine(victim.call("POST", revisions, body, JSON), depth)
        fine(victim.call("PATCH", f"{revisions}/deep{depth}", b'{"data":%b}' % data, MERGE), depth)
        applied = b'{"apiVersion":"apps/v1","kind":"ControllerRevision",' + body[1:]
        fine(victim.call("PATCH", f"{revisions}/deep{depth}?fieldManager=f&force=1", applied, APPLY), depth)
        shown(victim, revisions)
    for depth in (50, 120, 250, 500, 900):
        victim.call("DELETE", f"{revisions}/deep{depth}")


def bomb(levels: int) -> bytes:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x]"]
    lines += [f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines).encode()


YAMLS = [
    bomb(9), bomb(3), b"a: &a [*a]", b"&a {a: *a}", b"a: *nothing", b"<<: {a: 1}\nb: 2", b"<<: [1]", b"<<: *x", b"x: &x\n  <<: *x",
    b"!!python/object/apply:os.system [id]", b"!!python/name:os.system", b"a: !!binary x", b"a: !!set {x}", b"a: !!omap [x]",
    b"a: !!float x", b"a: !!int x", b"a: !!int 1:60", b"a: !!bool x", b"a: !!timestamp x", b"a: !local x", b"a: !!null x", b"? [a]\n: b",
    b"? {a: b}\n: c", b"a: 1\na: 2", b"---\na: 1\n---\nb: 2", b"%YAML 9.9\n---\na", b"%TAG ! tag:x\n---\n!a b", b"\xff\xfe", b"\0",
    b"a: \x01", b"a: \xed\xa0\x80", b'a: "\\ud800"', b'a: "\\x00"', b"a: .inf", b"a: -.nan", b"a: 1e400", b"a: 0o777", b"a: 0x" + b"f" * 9_999,
    b"a: " + b"9" * 99_999, b"a: 190:20:30", b"a: 2001-01-01", b"a: 2001-02-31", b"- " * 20_000, b"[" * 20_000, b"a: {" * 20_000,
    b"a:\n" + b"  - x\n" * 100_000, b"a: |\n" + b"  x\n" * 100_000, b"? " * 5_000, b"a: >" + b"\n" * 100_000, b"\t", b"@", b"`", b"%", b"&", b"*",
    b"true: 1\n1: 2\n1.5: 3\nnull: 4\n2001-01-01: 5", b"~", b"...", b"a: !<" + b"x" * 9_999 + b"> y", b"\xf0\x9f\x92\xa5: 1", b"a: '",
]  # fmt: skip


def test_yaml_that_means_harm(victim: Victim) -> None:
    victim.call("POST", MAPS, b'{"metadata":{"name":"x"}}', JSON)
    for text in YAMLS:
        for prefix in (b"", b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"):
            began = time.monotonic()
            fine(victim.call("POST", f"{MAPS}?dryRun=All", prefix + text, YAML), text[:200])
            query = "fieldManager=f&dryRun=All&fieldValidation=Strict"
            fine(victim.call("PATCH", f"{MAPS}/x?{query}", prefix + text, APPLY), text[:200])
            assert time.monotonic() - began < 10, text[:200]


@pytest.mark.parametrize("media", ["application/json", "application/yaml", "application/merge-patch+json"])
def test_random_bytes(victim: Victim, effort: int, media: str) -> None:
    seed = b'{"metadata":{"name":"x","labels":{"a":"b"}},"data":{"k":"v \\u00e9 \\n"},"immutable":false}'

    @settings(settings.get_profile("attack"), max_examples=70 * effort)
    @given(st.lists(st.tuples(st.integers(0, len(seed)), st.integers(0, 3), st.binary(max_size=4)), max_size=5))
    def attack(changes: list[tuple[int, int, bytes]]) -> None:
        body = seed
        for at, cut, new in changes:
            body = body[:at] + new + body[at + cut :]
        fine(victim.call("POST", f"{MAPS}?dryRun=All", body, [("Content-Type", media)]), body)
        fine(victim.call("PATCH", f"{MAPS}/x?dryRun=All", body, [("Content-Type", media)]), body)

    attack()


POINTERS = ["", "/", "//", "/data", "/data/k", "/data/-", "/data/k/0", "/data/~", "/data/~2", "/data/~0~1", "/metadata", "/metadata/name",
            "/metadata/labels/a~1b", "/metadata/finalizers/-", "/metadata/finalizers/0", "/metadata/finalizers/99999999999999999999",
            "/metadata/finalizers/-1", "/metadata/finalizers/٣", "/metadata/finalizers/01", "x", "/\0", "/kind", "/metadata/uid", 1, None, [], {}]  # fmt: skip


def test_patches_of_absurd_operations(victim: Victim, effort: int) -> None:
    body = b'{"metadata":{"name":"p","labels":{"a/b":"c"},"finalizers":["x.y/z"]},"data":{"k":"v"}}'
    assert victim.call("POST", MAPS, body, JSON).code in (201, 409)
    operations = st.fixed_dictionaries(
        {"op": st.sampled_from(["add", "remove", "replace", "move", "copy", "test", "", "x", None, 1, []])},
        optional={"path": st.sampled_from(POINTERS), "from": st.sampled_from(POINTERS), "value": shapes.junk},
    )

    @settings(settings.get_profile("attack"), max_examples=120 * effort)
    @given(st.lists(operations | shapes.junk, max_size=4) | shapes.junk)
    def attack(operations: Any) -> None:
        fine(victim.call("PATCH", f"{MAPS}/p?dryRun=All", encoded(operations), OPERATIONS), operations)

    attack()
    grow = [
        {"op": "add", "path": "/data/k", "value": {"a": "b"}},
        *[{"op": "copy", "from": "/data", "path": "/data/x"}] * 60,
    ]
    fine(victim.call("PATCH", f"{MAPS}/p", encoded(grow), OPERATIONS), "copies of copies")
    many = [{"op": "test", "path": "/data/k", "value": "v"}] * 20_000
    fine(victim.call("PATCH", f"{MAPS}/p", encoded(many), OPERATIONS), "many operations")
    victim.call("PATCH", f"{MAPS}/p", b'{"metadata":{"finalizers":null}}', MERGE)


DIRECTIVES = [
    {"$patch": "delete"}, {"$patch": "replace"}, {"$patch": "x"}, {"$patch": 1}, {"$patch": None}, {"spec": {"$patch": "delete"}},
    {"spec": {"containers": [{"$patch": "delete"}]}}, {"spec": {"containers": [{"$patch": "replace"}]}}, {"spec": {"containers": {}}},
    {"spec": {"containers": [1]}}, {"spec": {"containers": [None]}}, {"spec": {"containers": [[]]}}, {"spec": {"containers": [{}]}},
    {"spec": {"containers": "x"}}, {"spec": {"$setElementOrder/containers": 1}}, {"spec": {"$setElementOrder/containers": [{}]}},
    {"spec": {"$setElementOrder/containers": ["x"]}}, {"spec": {"$setElementOrder/containers": [{"name": "zz"}]}},
    {"metadata": {"$deleteFromPrimitiveList/finalizers": 1}}, {"metadata": {"$deleteFromPrimitiveList/finalizers": [{}]}},
    {"metadata": {"$deleteFromPrimitiveList/labels": ["x"]}}, {"spec": {"$retainKeys": 1}}, {"spec": {"$retainKeys": ["x", 1, None]}},
    {"spec": {"$retainKeys": ["volumes"], "volumes": [{"name": "v", "$retainKeys": ["name"], "emptyDir": None}]}}, {"$retainKeys": []},
    {"spec": {"containers": [{"name": {}, "image": "x"}]}}, {"spec": {"containers": [{"name": "c", "ports": [{"containerPort": []}]}]}},
    {"spec": {"containers": [{"name": "c", "env": [{"name": "e", "value": {"$patch": "delete"}}]}]}}, {"metadata": {"labels": []}}, {"metadata": 1},
    {"spec": {"containers": [{"name": "c", "$patch": "merge"}, {"name": "c", "$patch": "delete"}]}}, {"$setElementOrder/": []}, {"$": 1},
]  # fmt: skip


def test_directives_of_strategic_patches(victim: Victim) -> None:
    pods = "/api/v1/namespaces/default/pods"
    victim.call("POST", "/api/v1/namespaces/default/serviceaccounts", b'{"metadata":{"name":"default"}}', JSON)
    body = {"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    assert victim.call("POST", pods, encoded(body), JSON).code in (201, 409)
    for part in ("", "/status", "/resize", "/ephemeralcontainers"):
        for change in DIRECTIVES:
            for media in (STRATEGIC, MERGE, APPLY):
                typed = {"apiVersion": "v1", "kind": "Pod", **change} if media is APPLY else change
                fine(victim.call("PATCH", f"{pods}/p{part}?dryRun=All&fieldManager=f", encoded(typed), media), change)


def test_reviews_and_subresources_made_of_odd_values(victim: Victim, effort: int) -> None:
    places = [
        "pods/p/eviction",
        "pods/p/binding",
        "bindings",
        "serviceaccounts/default/token",
        "pods/p/ephemeralcontainers",
    ]

    @settings(settings.get_profile("attack"), max_examples=60 * effort)
    @given(st.sampled_from(places), st.sampled_from(scheme.KINDS).flatmap(shapes.body) | shapes.junk)
    def attack(place: str, made: Any) -> None:
        method = "PUT" if place.endswith("ephemeralcontainers") else "POST"
        if isinstance(made, dict):
            made.pop("kind", None), made.pop("apiVersion", None)
        fine(victim.call(method, f"/api/v1/namespaces/default/{place}?dryRun=All", encoded(made), JSON), (place, made))

    attack()
