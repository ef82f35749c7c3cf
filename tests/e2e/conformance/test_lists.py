"""sig-api-machinery, lists in chunks and as tables: upstream's tests, by upstream's names."""

import subprocess

from tests.control_plane import ApiServerProgram
from tests.e2e.conformance.api import refusal, resource

TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"


def test_should_return_a_406_for_a_backend_which_does_not_implement_metadata(plane: ApiServerProgram) -> None:
    body = {"spec": {"nonResourceAttributes": {"path": "/", "verb": "get"}}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    assert plane.request("POST", path, body, headers={"Accept": TABLE}).code == 406


def test_should_return_chunks_of_table_results_for_list_calls(plane: ApiServerProgram, space: str) -> None:
    templates = resource(plane, "podtemplates", namespace=space)
    spec = {"containers": [{"name": "test", "image": "test2"}]}
    for number in range(20):
        templates.create({"metadata": {"name": f"template-{number:04}"}, "template": {"spec": spec}})
    page = templates.listing(TABLE, limit=2)
    assert [row["cells"][0] for row in page["rows"]] == ["template-0000", "template-0001"]
    assert page["metadata"]["resourceVersion"]
    rest = templates.listing(TABLE, **{"continue": page["metadata"]["continue"]})
    assert (rest["rows"][0]["cells"][0], len(rest["rows"])) == ("template-0002", 18)
    assert all(len(row["cells"]) == len(page["columnDefinitions"]) for row in page["rows"])


def test_should_return_chunks_of_results_for_list_calls(plane: ApiServerProgram, space: str) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    for number in range(60):
        maps.create({"metadata": {"name": f"template-{number:04}"}})
    every = maps.names()
    found: list[str] = []
    token, version = "", ""
    while True:
        page = maps.listing(limit=17, **{"continue": token})
        meta = page["metadata"]
        found += [i["metadata"]["name"] for i in page["items"]]
        version = version or meta["resourceVersion"]
        assert meta["resourceVersion"] == version
        token = meta.get("continue", "")
        assert meta.get("remainingItemCount", 0) == len(every) - len(found)
        if not token:
            break
    assert found == every
    assert "remainingItemCount" not in meta


def test_should_continue_listing_from_the_last_key_if_the_original_version_has_been_compacted_away(
    plane: ApiServerProgram, space: str
) -> None:
    maps = resource(plane, "configmaps", namespace=space)
    for number in range(20):
        maps.create({"metadata": {"name": f"template-{number:04}"}})
    first = maps.listing(limit=7)["metadata"]
    last = maps.create({"metadata": {"name": "after"}})["metadata"]["resourceVersion"]
    compact = ["etcdctl", f"--endpoints={plane.etcd}", "compaction", last]
    subprocess.run(compact, check=True, capture_output=True, env={"PATH": "/usr/bin:/bin", "ETCDCTL_API": "3"})
    # Until the server has noticed, it may answer from what it still has.
    refused = refusal(lambda: maps.listing(limit=7, **{"continue": first["continue"]}))
    assert (refused.code, refused.reason) == (410, "Expired")
    fresh = refused.status["metadata"]["continue"]
    page = maps.listing(limit=7, **{"continue": fresh})
    assert page["items"][0]["metadata"]["name"] > "template-0005"
    assert int(page["metadata"]["resourceVersion"]) > int(first["resourceVersion"])
