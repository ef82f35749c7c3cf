"""Custom resources on a real etcd: what upstream's conformance tests ask of them, as far as it needs no pods."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.control_plane import ApiServerProgram, Etcd
from tests.custom_kinds import ANYTHING, CRDS, Converter, Custom, definition, version
from tests.integration.test_api_rest import Watching
from tests.waiting import eventually

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
STRING = {"type": "string"}
HOST_PORT = {"type": "object", "properties": {"hostPort": STRING}}
SPLIT = {"type": "object", "properties": {"host": STRING, "port": STRING}}


def an_object(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


@pytest.fixture
def converter(tmp_path: Any) -> Iterator[Converter]:
    running = Converter(tmp_path)
    yield running
    running.stop()


def names(listed: Any) -> list[str]:
    return [i["metadata"]["name"] for i in listed["items"]]


def test_a_definition_is_served_until_it_is_deleted(apiserver: ApiServerProgram, namespace: str) -> None:
    custom = Custom(apiserver, definition(version("v1beta1"), version("v2alpha1"), version("v1")), namespace)
    assert custom.condition("NamesAccepted")["reason"] == "NoConflicts"
    assert custom.created["spec"]["versions"][0]["schema"]["openAPIV3Schema"] == ANYTHING
    group = custom.ok("GET", "/apis/test.example.com")
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1", "v2alpha1"]
    assert group["preferredVersion"]["version"] == "v1"
    kinds = {r["kind"] for r in custom.ok("GET", "/apis/test.example.com/v1")["resources"]}
    assert custom.kind in kinds
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    found = custom.ok("GET", "/apis", Accept=accept)["items"]
    (mine,) = [g for g in found if g["metadata"]["name"] == "test.example.com"]
    assert custom.plural in {r["resource"] for r in mine["versions"][0]["resources"]}
    for at in ("v1", "v1beta1", "v2alpha1"):
        made = custom.create("x", at)
        gone = Watching(apiserver, f"{custom.path(at)}?watch=1&resourceVersion={made['metadata']['resourceVersion']}")
        custom.ok("DELETE", custom.path(at, "x"))
        eventually(lambda watch=gone: [t for t, _ in watch.seen()] == ["DELETED"])
        assert gone.events[0]["object"]["apiVersion"] == f"test.example.com/{at}"
    custom.create("left")
    watch = Watching(apiserver, f"{custom.path()}?watch=1&resourceVersion=0")
    custom.delete()
    eventually(lambda: watch.seen() == [("ADDED", "left"), ("DELETED", "left")])
    assert apiserver.request("GET", custom.path()).code == 404


def test_objects_with_finalizers_hold_up_the_definition(apiserver: ApiServerProgram, namespace: str) -> None:
    custom = Custom(apiserver, definition(version("v1")), namespace)
    held = custom.obj("x")
    held["metadata"]["finalizers"] = ["example.com/hold"]
    custom.ok("POST", custom.path(), held)
    custom.ok("DELETE", f"{CRDS}/{custom.name}")
    eventually(lambda: (custom.condition("Terminating") or {}).get("reason") == "InstanceDeletionInProgress")
    refused = apiserver.request("POST", custom.path(), custom.obj("y"))
    assert (refused.code, refused.json["message"]) == (
        405,
        "create not allowed while custom resource definition is terminating",
    )
    custom.ok("PATCH", custom.path(name="x"), {"metadata": {"finalizers": None}}, Content_Type=MERGE)
    eventually(lambda: apiserver.request("GET", f"{CRDS}/{custom.name}").code == 404)


def test_names_belong_to_who_came_first(apiserver: ApiServerProgram) -> None:
    first = Custom(apiserver, definition(version("v1"), scope="Cluster"))
    second = definition(version("v1"), scope="Cluster")
    second["spec"]["names"]["shortNames"] = [first.plural]
    name = second["metadata"]["name"]
    assert apiserver.request("POST", CRDS, second).code == 201

    def conditions() -> Any:
        got = apiserver.request("GET", f"{CRDS}/{name}").json["status"]["conditions"]
        return {c["type"]: (c["status"], c["reason"], c["message"]) for c in got}

    eventually(lambda: "NamesAccepted" in conditions())
    assert conditions() == {
        "NamesAccepted": ("False", "ShortNamesConflict", f'"{first.plural}" is already in use'),
        "Established": ("False", "NotAccepted", "not all names are accepted"),
    }
    first.delete()
    eventually(lambda: conditions()["Established"][0] == "True")


def test_definitions_are_listed_deleted_and_have_a_status(apiserver: ApiServerProgram) -> None:
    some = [definition(version("v1"), scope="Cluster") for _ in range(3)]
    for one in some:
        one["metadata"]["labels"] = {"suite": "listed"}
    customs = [Custom(apiserver, one) for one in some]
    kept = Custom(apiserver, definition(version("v1"), scope="Cluster"))
    listed = kept.ok("GET", f"{CRDS}?labelSelector=suite%3Dlisted")
    assert names(listed) == sorted(c.name for c in customs)
    kept.ok("DELETE", f"{CRDS}?labelSelector=suite%3Dlisted")
    eventually(lambda: not kept.ok("GET", f"{CRDS}?labelSelector=suite%3Dlisted")["items"])
    status = f"{CRDS}/{kept.name}/status"
    got = kept.ok("GET", status)
    got["status"]["conditions"].append({"type": "", "status": "", "message": "updated", "lastTransitionTime": None})
    assert kept.ok("PUT", status, got)["status"]["conditions"][-1]["message"] == "updated"
    patch = [{"op": "add", "path": "/status/conditions", "value": [{"message": "patched"}]}]
    patched = kept.ok("PATCH", status, patch, Content_Type="application/json-patch+json")
    assert patched["status"]["conditions"] == [{"message": "patched"}]
    assert patched["spec"] == kept.created["spec"]


def test_what_is_no_definition(apiserver: ApiServerProgram) -> None:
    wrong = definition(version("v1"), version("v1"), scope="Everywhere")
    wrong["spec"]["versions"][1]["storage"] = True
    wrong["spec"]["conversion"] = {"strategy": "Webhook"}
    reply = apiserver.request("POST", CRDS, wrong)
    told = {c["field"] for c in reply.json["details"]["causes"]}
    assert reply.code == 422
    assert told == {"spec.scope", "spec.versions", "spec.conversion.webhookClientConfig"} | {
        "spec.conversion.conversionReviewVersions"
    }
    custom = Custom(apiserver, definition(version("v1"), scope="Cluster"))
    changed = custom.get()
    changed["spec"]["names"]["kind"] = "Other"
    changed["spec"]["versions"] = [version("v2", storage=True)]
    reply = apiserver.request("PUT", f"{CRDS}/{custom.name}", changed)
    assert {c["field"] for c in reply.json["details"]["causes"]} == {"spec.names.kind", "status.storedVersions[0]"}


def test_defaults_for_requests_and_from_storage(apiserver: ApiServerProgram) -> None:
    custom = Custom(apiserver, definition(version("v1", an_object(a=STRING, b=STRING)), scope="Cluster"))
    custom.create("old")
    watch = Watching(apiserver, f"{custom.path()}?watch=1&resourceVersion=0")
    eventually(lambda: watch.seen() == [("ADDED", "old")])
    at = "/spec/versions/0/schema/openAPIV3Schema/properties"
    custom.patch([{"op": "add", "path": f"{at}/a/default", "value": "A"}])
    eventually(lambda: custom.ok("GET", custom.path(name="old")).get("a") == "A")
    eventually(lambda: not watch.thread.is_alive())
    (listed,) = custom.ok("GET", custom.path())["items"]
    assert listed["a"] == "A"
    assert custom.create("new")["a"] == "A"
    again = Watching(apiserver, f"{custom.path()}?watch=1&resourceVersion=0")
    eventually(lambda: len(again.events) == 2)
    assert [e["object"]["a"] for e in again.events] == ["A", "A"]
    custom.patch([{"op": "remove", "path": f"{at}/a/default"}, {"op": "add", "path": f"{at}/b/default", "value": "B"}])
    eventually(lambda: custom.ok("GET", custom.path(name="new")).get("b") == "B")
    assert custom.ok("GET", custom.path(name="new"))["a"] == "A"
    assert "a" not in custom.ok("GET", custom.path(name="old"))


def test_schemas_are_published(apiserver: ApiServerProgram) -> None:
    bars = {"type": "array", "items": {**an_object(name=STRING, age=STRING), "required": ["name"]}}
    foo = an_object(spec={**an_object(bars=bars), "description": "Specification of Foo"})
    nested = an_object(spec={**ANYTHING, "properties": {"a": STRING}, "description": "d"})
    versions = [version("v1", foo), version("v2", nested), version("v3")]
    custom = Custom(apiserver, definition(*versions, scope="Cluster"))

    def published(at: str) -> Any:
        made = custom.ok("GET", "/openapi/v2")["definitions"].get(f"com.example.test.{at}.{custom.kind}")
        if made is not None:
            assert made.pop("x-kubernetes-group-version-kind")[0]["kind"] == custom.kind
            made["properties"] = {k: v for k, v in made.pop("properties", {}).items() if k == "spec"}
        return made

    assert published("v1") == foo
    assert published("v2") == an_object(
        spec={"description": "d", "x-kubernetes-preserve-unknown-fields": True}  # kubectl cannot have more
    )
    assert published("v3") == {"type": "object", "properties": {}}
    tag = apiserver.request("GET", "/openapi/v2").headers["etag"]
    assert apiserver.request("GET", "/openapi/v2", headers={"If-None-Match": tag}).code == 304
    custom.patch([{"op": "replace", "path": "/spec/versions/1/name", "value": "v4"}])
    eventually(lambda: published("v4") and not published("v2"))
    custom.patch([{"op": "replace", "path": "/spec/versions/2/served", "value": False}])
    eventually(lambda: not published("v3"))
    assert apiserver.request("GET", custom.path("v3")).code == 404
    three = custom.ok("GET", "/openapi/v3/apis/test.example.com/v1")
    assert (
        three["components"]["schemas"][f"com.example.test.v1.{custom.kind}"]["properties"]["spec"]
        == foo["properties"]["spec"]
    )
    patch = three["paths"][f"{custom.path()}/{{name}}"]["patch"]["requestBody"]["content"]
    assert "application/strategic-merge-patch+json" not in patch
    custom.delete()
    eventually(lambda: not published("v1"))


def test_unknown_and_duplicate_fields(apiserver: ApiServerProgram) -> None:
    template = {**an_object(spec={"type": "object"}), "x-kubernetes-embedded-resource": True}
    schema = an_object(spec={**an_object(foo=STRING, template=template), "x-kubernetes-preserve-unknown-fields": True})
    custom = Custom(apiserver, definition(version("v1", schema), scope="Cluster"))
    body = custom.obj(
        "x", spec={"template": {"apiVersion": "v1", "kind": "K", "z": 1, "metadata": {"unknown": 1}}}, root=1
    )
    body["metadata"]["odd"] = 1
    text = json.dumps(body).replace('"root": 1', '"root": 1, "root": 2').encode()
    strict = apiserver.request("POST", f"{custom.path()}?fieldValidation=Strict", text)
    assert (strict.code, strict.json["message"].partition("error: ")[2]) == (
        400,
        'duplicate field "root", unknown field "metadata.odd", unknown field "root", '
        'unknown field "spec.template.metadata.unknown", unknown field "spec.template.z"',
    )
    warned = apiserver.request("POST", custom.path(), text)
    assert warned.code == 201
    assert "field" in warned.headers["warning"]
    assert warned.json["spec"] == {"template": {"apiVersion": "v1", "kind": "K", "metadata": {}}}
    query = "?fieldManager=m&fieldValidation=Strict"
    applied = f"apiVersion: test.example.com/v1\nkind: {custom.kind}\nmetadata: {{name: y}}\n"
    headers = {"Content-Type": APPLY}
    path = f"{custom.path(name='y')}{query}"
    unknown = apiserver.request("PATCH", path, (applied + "unknownField: u").encode(), headers=headers)
    assert ".unknownField: field not declared in schema" in unknown.text
    meta = apiserver.request("PATCH", path, applied.replace("name: y", "name: y, odd: 1").encode(), headers=headers)
    assert ".metadata.odd: field not declared in schema" in meta.text
    twice = apiserver.request("PATCH", path, (applied + "spec:\n  foo: a\n  foo: b").encode(), headers=headers)
    assert 'line 6: key \\"foo\\" already set in map' in twice.text
    fine = apiserver.request("PATCH", path, (applied + "spec: {foo: a, free: b}").encode(), headers=headers)
    assert (fine.code, fine.json["spec"]) == (201, {"foo": "a", "free": "b"})


def test_status_and_scale(apiserver: ApiServerProgram, namespace: str) -> None:
    scale = {"specReplicasPath": ".spec.size", "statusReplicasPath": ".status.size", "labelSelectorPath": ".status.of"}
    schema = an_object(spec=an_object(size={"type": "integer", "minimum": 0}), status=ANYTHING)
    subresources = {"status": {}, "scale": scale}
    custom = Custom(apiserver, definition(version("v1", schema, subresources=subresources)), namespace)
    made = custom.create("x", spec={"size": 1}, status={"size": 9})
    assert ("status" in made, made["metadata"]["generation"]) == (False, 1)
    sent = {**made, "status": {"size": 1, "of": "app=x"}, "spec": {"size": 5}}
    sent["metadata"] = {**made["metadata"], "labels": {"a": "b"}}
    changed = custom.ok("PUT", custom.path(name="x", subresource="status"), sent)
    assert (changed["status"], changed["spec"]) == ({"size": 1, "of": "app=x"}, {"size": 1})
    assert (changed["metadata"]["generation"], changed["metadata"].get("labels")) == (1, None)
    got = custom.ok("GET", custom.path(name="x", subresource="scale"))
    assert (got["spec"], got["status"]) == ({"replicas": 1}, {"replicas": 1, "selector": "app=x"})
    got["spec"]["replicas"] = 3
    assert custom.ok("PUT", custom.path(name="x", subresource="scale"), got)["spec"] == {"replicas": 3}
    merge = {"spec": {"replicas": 4}}
    custom.ok("PATCH", custom.path(name="x", subresource="scale"), merge, Content_Type=MERGE)
    final = custom.ok("GET", custom.path(name="x"))
    assert (final["spec"], final["metadata"]["generation"]) == ({"size": 4}, 3)
    applied = {"apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": "x"}, "spec": {"replicas": 5}}
    query = f"{custom.path(name='x', subresource='scale')}?fieldManager=m&force=true"
    assert custom.ok("PATCH", query, applied, Content_Type=APPLY)["spec"] == {"replicas": 5}
    plain = Custom(apiserver, definition(version("v1", schema)), namespace)
    made = plain.create("x", status={"size": 1})
    changed = plain.ok("PATCH", plain.path(name="x"), {"status": {"size": 2}}, Content_Type=MERGE)
    assert (made["status"], changed["metadata"]["generation"]) == ({"size": 1}, 2)


def test_patches_know_the_lists_of_the_schema(apiserver: ApiServerProgram, namespace: str) -> None:
    port = an_object(port={"type": "integer"}, protocol={"type": "string", "default": "TCP"}, name=STRING)
    ports = {"type": "array", "x-kubernetes-list-type": "map", "items": {**port, "required": ["port"]}}
    ports["x-kubernetes-list-map-keys"] = ["port", "protocol"]
    tags = {"type": "array", "x-kubernetes-list-type": "set", "items": STRING}
    custom = Custom(apiserver, definition(version("v1", an_object(spec=an_object(ports=ports, tags=tags)))), namespace)

    def apply(manager: str, **spec: Any) -> Any:
        path = f"{custom.path(name='x')}?fieldManager={manager}"
        return custom.ok("PATCH", path, custom.obj("x", spec=spec), Content_Type=APPLY)

    apply("one", ports=[{"port": 1, "name": "a"}], tags=["a"])
    both = apply("two", ports=[{"port": 2, "name": "b"}], tags=["b"])
    assert [p["name"] for p in both["spec"]["ports"]] == ["a", "b"]
    assert both["spec"]["tags"] == ["a", "b"]
    left = apply("two", tags=["b"])
    assert left["spec"]["ports"] == [{"port": 1, "name": "a", "protocol": "TCP"}]
    refused = apiserver.request(
        "PATCH", custom.path(name="x"), {}, headers={"Content-Type": "application/strategic-merge-patch+json"}
    )
    assert refused.code == 415
    assert refused.json["message"].endswith(
        "application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"
    )


def test_tables_have_the_columns_asked_for(apiserver: ApiServerProgram, namespace: str) -> None:
    columns = [
        {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
        {"name": "Ready", "type": "string", "jsonPath": '.status.conditions[?(@.type=="Ready")].status', "priority": 1},
        {"name": "Odd", "type": "integer", "jsonPath": ".spec.text"},
        {"name": "Note", "type": "string", "jsonPath": r".metadata.annotations.example\.com/note"},
        {"name": "Age", "type": "date", "jsonPath": ".metadata.creationTimestamp"},
    ]
    custom = Custom(apiserver, definition(version("v1", additionalPrinterColumns=columns)), namespace)
    body = custom.obj("x", spec={"size": 3, "text": "t"}, status={"conditions": [{"type": "Ready", "status": "True"}]})
    body["metadata"]["annotations"] = {"example.com/note": "n"}
    custom.ok("POST", custom.path(), body)
    table = custom.ok("GET", custom.path(), Accept="application/json;as=Table;g=meta.k8s.io;v=v1")
    assert [c["name"] for c in table["columnDefinitions"]] == ["Name", "Size", "Ready", "Odd", "Note", "Age"]
    assert table["rows"][0]["cells"][:5] == ["x", 3, "True", None, "n"]


def test_a_watch_of_one_name(apiserver: ApiServerProgram, namespace: str) -> None:
    custom = Custom(apiserver, definition(version("v1")), namespace)
    query = "watch=1&resourceVersion=0&fieldSelector=metadata.name%3D"
    a, b = (Watching(apiserver, f"{custom.path()}?{query}{n}") for n in "ab")
    custom.create("a")
    custom.create("b")
    custom.ok("PATCH", custom.path(name="a"), {"x": 1}, Content_Type=MERGE)
    custom.ok("DELETE", custom.path(name="a"))
    custom.ok("DELETE", custom.path(name="b"))
    eventually(lambda: a.seen() == [("ADDED", "a"), ("MODIFIED", "a"), ("DELETED", "a")])
    eventually(lambda: b.seen() == [("ADDED", "b"), ("DELETED", "b")])


def test_a_webhook_converts(apiserver: ApiServerProgram, namespace: str, converter: Converter) -> None:
    conversion = converter.conversion()
    versions = [version("v1", HOST_PORT), version("v2", SPLIT)]
    custom = Custom(apiserver, definition(*versions, conversion=conversion), namespace)
    watch = Watching(apiserver, f"{custom.path('v2')}?watch=1&resourceVersion=0")
    one = custom.create("one", hostPort="a:1")
    assert one["hostPort"] == "a:1"
    got = custom.ok("GET", custom.path("v2", "one"))
    assert ("hostPort" in got, got["host"], got["port"]) == (False, "a", "1")
    assert got["metadata"] == one["metadata"]
    stored = [{"op": "replace", "path": f"/spec/versions/{i}/storage", "value": bool(i)} for i in (0, 1)]
    custom.patch(stored)
    eventually(lambda: not watch.thread.is_alive())
    assert watch.events[0]["object"]["host"] == "a"
    eventually(lambda: custom.get()["status"]["storedVersions"] == ["v1", "v2"])
    assert custom.create("two", "v2", host="b", port="2")["port"] == "2"
    custom.create("three", hostPort="c:3")
    listed = custom.ok("GET", custom.path("v2"))["items"]
    assert [(o["apiVersion"][-2:], o["host"]) for o in listed] == [("v2", "a"), ("v2", "c"), ("v2", "b")]
    assert [o["hostPort"] for o in custom.ok("GET", custom.path())["items"]] == ["a:1", "c:3", "b:2"]
    asked = len(converter.asked)
    custom.ok("GET", custom.path())
    custom.ok("GET", custom.path("v2"))
    assert len(converter.asked) == asked  # what has been converted is kept
    custom.ok("PATCH", custom.path("v2", "one"), {"port": "9"}, Content_Type=MERGE)
    assert custom.ok("GET", custom.path(name="one"))["hostPort"] == "a:9"
    converter.broken = "no mood"
    refused = apiserver.request("POST", custom.path(), custom.obj("four", hostPort="d:4"))
    about = f"conversion webhook for test.example.com/v1, Kind={custom.kind} failed: no mood"
    assert (refused.code, refused.json["message"]) == (500, about)
    converter.broken = ""
    custom.delete()


def test_fields_to_select_by(apiserver: ApiServerProgram, namespace: str, converter: Converter) -> None:
    v1 = version("v1", HOST_PORT, selectableFields=[{"jsonPath": ".hostPort"}])
    v2 = version("v2", SPLIT, selectableFields=[{"jsonPath": ".host"}, {"jsonPath": ".port"}])
    custom = Custom(apiserver, definition(v1, v2, conversion=converter.conversion()), namespace)
    host = Watching(apiserver, f"{custom.path('v2')}?watch=1&fieldSelector=host%3Dh1")
    both = Watching(apiserver, f"{custom.path('v2')}?watch=1&fieldSelector=host%3Dh1,port%3D80")
    one = Watching(apiserver, f"{custom.path('v1')}?watch=1&fieldSelector=hostPort%3Dh1:80")
    for name, content in (
        ("a", {"host": "h1", "port": "80"}),
        ("b", {"host": "h1", "port": "8080"}),
        ("c", {"host": "h2"}),
    ):
        custom.create(name, "v2", **content)
    assert names(custom.ok("GET", f"{custom.path('v2')}?fieldSelector=host%3Dh1")) == ["a", "b"]
    assert names(custom.ok("GET", f"{custom.path('v1')}?fieldSelector=hostPort%3Dh1:8080")) == ["b"]
    custom.ok("DELETE", f"{custom.path('v2')}?fieldSelector=host%3Dh1,port%3D80")
    custom.ok("PATCH", custom.path("v2", "b"), {"host": "h2"}, Content_Type=MERGE)
    assert names(custom.ok("GET", f"{custom.path('v2')}?fieldSelector=host%3Dh1")) == []
    eventually(lambda: host.seen() == [("ADDED", "a"), ("ADDED", "b"), ("DELETED", "a"), ("DELETED", "b")])
    for watch in (both, one):
        eventually(lambda w=watch: w.seen() == [("ADDED", "a"), ("DELETED", "a")])
    unknown = apiserver.request("GET", f"{custom.path('v2')}?fieldSelector=hostPort%3Dx")
    assert (unknown.code, unknown.json["message"]) == (400, "field label not supported: hostPort")


def test_several_servers_agree(apiserver: ApiServerProgram, etcd: Etcd, tmp_path: Any) -> None:
    early = Custom(apiserver, definition(version("v1"), scope="Cluster"))
    early.create("x")
    with ApiServerProgram(tmp_path / "other", etcd.url) as other:
        assert names(other.request("GET", early.path()).json) == ["x"]
        custom = Custom(apiserver, definition(version("v1", an_object(a=STRING)), scope="Cluster"))
        eventually(lambda: other.request("GET", custom.path()).code == 200)
        there = Watching(other, f"{custom.path()}?watch=1&resourceVersion=0")
        custom.create("x", a="1")
        eventually(lambda: there.seen() == [("ADDED", "x")])
        key = f"com.example.test.v1.{custom.kind}"
        assert key in other.request("GET", "/openapi/v2").json["definitions"]
        assert other.request("DELETE", f"{CRDS}/{custom.name}").code == 200
        eventually(lambda: apiserver.request("GET", custom.path()).code == 404)
        eventually(lambda: key not in other.request("GET", "/openapi/v2").json["definitions"])


def test_rules_in_the_schema(apiserver: ApiServerProgram, namespace: str) -> None:
    spec = an_object(x={"type": "integer"}, y={"type": "integer"})
    spec["x-kubernetes-validations"] = [
        {"rule": "self.x + self.y > 0"},
        {"rule": "self.x >= oldSelf.x", "message": "grow"},
    ]
    custom = Custom(apiserver, definition(version("v1", an_object(spec=spec))), namespace)
    custom.create("x", spec={"x": 1, "y": 0})
    refused = apiserver.request("POST", custom.path(), custom.obj("y", spec={"x": 0, "y": 0}))
    assert refused.json["message"].endswith('spec: Invalid value: "object": failed rule: self.x + self.y > 0')
    shrunk = apiserver.request("PUT", custom.path(name="x"), custom.obj("x", spec={"x": 0, "y": 9}))
    assert 'spec: Invalid value: "object": grow' in shrunk.text.replace("\\", "")
    spec["x-kubernetes-validations"] = [{"rule": "self.z == 100"}]
    wrong = apiserver.request("POST", CRDS, definition(version("v1", an_object(spec=spec))))
    assert (wrong.code, "undefined field 'z'" in wrong.text) == (422, True)


def test_a_costly_rule_holds_up_nobody(apiserver: ApiServerProgram, namespace: str) -> None:
    """Its budget ends it; meanwhile others are served."""
    numbers = {"type": "array", "maxItems": 600, "items": {"type": "integer"}}
    spec = an_object(l=numbers)
    spec["x-kubernetes-validations"] = [{"rule": "self.l.all(a, self.l.all(b, a + b != -1))"}]
    custom = Custom(apiserver, definition(version("v1", an_object(spec=spec))), namespace)
    custom.create("small", spec={"l": [1, 2, 3]})
    body, served = custom.obj("slow", spec={"l": list(range(600))}), 0
    with ThreadPoolExecutor() as pool:
        refusals = [pool.submit(apiserver.request, "POST", custom.path(), body) for _ in range(3)]
        while not all(r.done() for r in refusals):
            served += apiserver.request("GET", "/livez/ping").code == 200
    assert "call cost exceeds limit for rule: self.l.all(" in refusals[0].result().json["message"]
    assert served > 10


def test_admission_sees_the_version_that_its_rules_name(
    apiserver: ApiServerProgram, namespace: str, converter: Converter
) -> None:
    versions = [version("v1", HOST_PORT), version("v2", SPLIT)]
    custom = Custom(apiserver, definition(*versions, conversion=converter.conversion()), namespace)
    group = "/apis/admissionregistration.k8s.io/v1"
    rule = {
        "apiGroups": ["test.example.com"],
        "apiVersions": ["v2"],
        "operations": ["CREATE"],
        "resources": [custom.plural],
    }
    spec = {
        "matchConstraints": {"resourceRules": [rule], "matchPolicy": "Equivalent"},
        "validations": [{"expression": "object.host != 'bad'", "message": "not this host"}],
    }
    name = {"metadata": {"name": custom.name}}
    custom.ok("POST", f"{group}/validatingadmissionpolicies", {**name, "spec": spec})
    binding = {"policyName": custom.name, "validationActions": ["Deny"]}
    custom.ok("POST", f"{group}/validatingadmissionpolicybindings", {**name, "spec": binding})

    def refused() -> Any:
        reply = apiserver.request("POST", f"{custom.path()}?dryRun=All", custom.obj("x", hostPort="bad:1"))
        return reply.code == 422 and "not this host" in reply.text

    eventually(refused)
    custom.create("y", hostPort="good:1")
    custom.delete()
    for kind in ("validatingadmissionpolicybindings", "validatingadmissionpolicies"):
        custom.ok("DELETE", f"{group}/{kind}/{custom.name}")
