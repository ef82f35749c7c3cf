"""Lists, pages and watches of a real API server, against what etcd was asked to store: whatever the history was.

A model keeps the collection at every version; each answer must be the model at the version that the answer names.
"""

import json
import ssl
import urllib.request
from typing import Any
from urllib.parse import quote

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from tests.control_plane import ADMIN_TOKEN, ApiServerProgram
from tests.effort import EFFORT

Object = dict[str, Any]
NAMES = [f"{letter}{number}" for letter in "abc" for number in range(4)]
SELECTORS = {
    "": lambda labels: True,
    "x": lambda labels: "x" in labels,
    "!x": lambda labels: "x" not in labels,
    "x=1": lambda labels: labels.get("x") == "1",
    "x!=1": lambda labels: labels.get("x") != "1",
    "x in (1,2),y": lambda labels: labels.get("x") in ("1", "2") and "y" in labels,
    "y notin (1)": lambda labels: labels.get("y") != "1",
    "x>1": lambda labels: labels.get("x", "").isdigit() and int(labels["x"]) > 1,
}
_labels = st.dictionaries(st.sampled_from("xy"), st.sampled_from(["", "1", "2", "z"]), max_size=2)
_selector = st.sampled_from(sorted(SELECTORS))
_serial = iter(range(10**9))


class Reading(RuleBasedStateMachine):
    """``history`` is the collection after each of our writes, by version: name -> labels and the object's version."""

    server: ApiServerProgram
    pages = Bundle("pages")
    watches = Bundle("watches")

    @initialize()
    def begin(self) -> None:
        self.path = f"/api/v1/namespaces/r{next(_serial)}-{id(self.server) % 97}/configmaps"
        name = self.path.split("/")[4]
        made = self.server.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        assert made.code == 201, made
        self.now = int(made.json["metadata"]["resourceVersion"])
        self.history: dict[int, dict[str, tuple[dict[str, str], int]]] = {self.now: {}}
        self.sinks: list[tuple[Any, str, dict[str, int]]] = []

    def at(self, version: int) -> dict[str, tuple[dict[str, str], int]]:
        return self.history[max(v for v in self.history if v <= version)]

    @rule(name=st.sampled_from(NAMES), labels=_labels, data=st.text("ab", max_size=1))
    def put(self, name: str, labels: dict[str, str], data: str) -> None:
        body = {"metadata": {"name": name, "labels": labels}, "data": {"k": data}}
        held = self.at(self.now).get(name)
        if held:
            reply = self.server.request("PUT", f"{self.path}/{name}", body)
        else:
            reply = self.server.request("POST", self.path, body)
        assert reply.code in (200, 201), reply
        version = int(reply.json["metadata"]["resourceVersion"])
        assert version > self.now or (held and version == held[1]), "versions grow, and only with a change"
        self.now = max(self.now, version)
        self.history[self.now] = self.at(self.now) | {name: (labels, version)}

    @rule(name=st.sampled_from(NAMES))
    def delete(self, name: str) -> None:
        before = self.at(self.now)
        reply = self.server.request("DELETE", f"{self.path}/{name}")
        assert reply.code == (200 if name in before else 404)
        if name in before:
            self.now = int(self.server.request("GET", f"{self.path}?limit=1").json["metadata"]["resourceVersion"])
            self.history[self.now] = {n: v for n, v in before.items() if n != name}

    @rule(selector=_selector, version=st.sampled_from(["", "0", "exact", "exactly", "newer", "old"]))
    def whole(self, selector: str, version: str) -> None:
        some = sorted(self.history)[len(self.history) // 2]
        query = {
            "": "",
            "0": "&resourceVersion=0",
            "exact": f"&resourceVersion={some}&resourceVersionMatch=Exact",
            "exactly": f"&resourceVersion={self.now}&resourceVersionMatch=Exact&limit=500",
            "newer": f"&resourceVersion={some}&resourceVersionMatch=NotOlderThan",
            "old": f"&resourceVersion={self.now}",
        }[version]
        reply = self.server.request("GET", f"{self.path}?labelSelector={quote(selector)}{query}")
        assert reply.code == 200, reply
        told = int(reply.json["metadata"]["resourceVersion"])
        if version.startswith("exact"):
            assert told == (some if version == "exact" else self.now)
        else:
            assert told >= (some if version == "newer" else self.now if version in ("", "old") else 0)
        self.compare(reply.json["items"], told, selector)

    def compare(self, items: list[Object], version: int, selector: str, after: str = "", before: str = "~") -> None:
        chosen = {n: v for n, v in self.at(version).items() if SELECTORS[selector](v[0]) and after < n < before}
        assert {i["metadata"]["name"]: int(i["metadata"]["resourceVersion"]) for i in items} == {
            n: v[1] for n, v in chosen.items()
        }
        assert [i["metadata"]["name"] for i in items] == sorted(chosen)

    @rule(target=pages, selector=_selector, limit=st.integers(1, 5))
    def first_page(self, selector: str, limit: int) -> Any:
        reply = self.server.request("GET", f"{self.path}?labelSelector={quote(selector)}&limit={limit}")
        return self._page(reply.json, selector, limit, None, "")

    @rule(target=pages, page=consumes(pages), limit=st.integers(1, 5))
    def next_page(self, page: Any, limit: int) -> Any:
        token, selector, version, last = page
        reply = self.server.request(
            "GET", f"{self.path}?labelSelector={quote(selector)}&limit={limit}&continue={token}"
        )
        assert reply.code == 200, reply
        return self._page(reply.json, selector, limit, version, last)

    def _page(self, listed: Object, selector: str, limit: int, version: int | None, last: str) -> Any:
        meta, items = listed["metadata"], listed["items"]
        told = int(meta["resourceVersion"])
        assert version in (None, told), "all pages are of one version"
        assert len(items) <= limit
        end = items[-1]["metadata"]["name"] + "\0" if "continue" in meta else "~"
        self.compare(items, told, selector, last, end)
        if "continue" not in meta:
            return multiple()
        if "remainingItemCount" in meta:
            assert selector == "" and meta["remainingItemCount"] == sum(n > end for n in self.at(told))
        return meta["continue"], selector, told, items[-1]["metadata"]["name"]

    @rule(selector=_selector, back=st.integers(0, 30))
    def watch_from_the_past(self, selector: str, back: int) -> None:
        """What a watch tells from any version on is the way from that state to this."""
        versions = sorted(self.history)
        start = versions[max(0, len(versions) - 1 - back)]
        view = {n: v[1] for n, v in self.at(start).items() if SELECTORS[selector](v[0])}
        last = start
        for event in self.events(f"labelSelector={quote(selector)}&resourceVersion={start}"):
            last = self.step(view, event, last)
        assert view == {n: v[1] for n, v in self.at(self.now).items() if SELECTORS[selector](v[0])}

    @rule(selector=_selector)
    def watch_list(self, selector: str) -> None:
        """``sendInitialEvents``: the state as ADDED events, then a bookmark that says so."""
        query = f"labelSelector={quote(selector)}&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
        *added, bookmark = self.events(query)
        assert bookmark["type"] == "BOOKMARK"
        assert bookmark["object"]["metadata"]["annotations"] == {"k8s.io/initial-events-end": "true"}
        assert int(bookmark["object"]["metadata"]["resourceVersion"]) >= self.now
        assert all(e["type"] == "ADDED" for e in added)
        view = {e["object"]["metadata"]["name"]: int(e["object"]["metadata"]["resourceVersion"]) for e in added}
        assert view == {n: v[1] for n, v in self.at(self.now).items() if SELECTORS[selector](v[0])}

    @rule(selector=_selector)
    def open_watch(self, selector: str) -> None:
        """A watch that stays open, and is compared at the end."""
        if len(self.sinks) < 4:
            context = ssl.create_default_context(cafile=self.server.ca_file)
            url = f"{self.server.url}{self.path}?watch=1&labelSelector={quote(selector)}&resourceVersion={self.now}&timeoutSeconds=60"
            asked = urllib.request.Request(url, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
            reply = urllib.request.urlopen(asked, timeout=10, context=context)
            view = {n: v[1] for n, v in self.at(self.now).items() if SELECTORS[selector](v[0])}
            self.sinks.append((reply, selector, view))

    def teardown(self) -> None:
        if not hasattr(self, "sinks"):
            return
        marks = [f"z{i}" for i in range(3)]
        labels = ({"x": "1", "y": "2"}, {}, {"x": "2", "y": "z"})
        for mark, label in zip(marks, labels, strict=True):  # between them they are chosen by every selector
            self.server.request("POST", self.path, {"metadata": {"name": mark, "labels": label}})
        for reply, selector, view in self.sinks:
            wanted = [m for m, label in zip(marks, labels, strict=True) if SELECTORS[selector](label)]
            last = 0
            while not set(wanted) <= set(view):
                last = self.step(view, json.loads(reply.readline()), last)
            reply.close()
            assert {n: v for n, v in view.items() if n not in marks} == {
                n: v[1] for n, v in self.at(self.now).items() if SELECTORS[selector](v[0])
            }

    def step(self, view: dict[str, int], event: Object, last: int) -> int:
        """Take one event: ADDED once, then MODIFIED, then DELETED, in the order of versions."""
        meta, kind = event["object"]["metadata"], event["type"]
        name, version = meta["name"], int(meta["resourceVersion"])
        assert version > last, "in order, once"
        assert kind == ("DELETED" if kind == "DELETED" else "MODIFIED" if name in view else "ADDED"), (event, view)
        if kind == "DELETED":
            assert name in view
            del view[name]
        else:
            view[name] = version
        return version

    def events(self, query: str) -> list[Object]:
        """What comes at once."""
        reply = self.server.request("GET", f"{self.path}?watch=1&timeoutSeconds=-1&{query}")
        assert reply.code == 200, reply
        return [json.loads(line) for line in reply.text.splitlines()]

    @invariant()
    def reads_are_never_older_than_writes(self) -> None:
        if hasattr(self, "path"):
            listed = self.server.request("GET", f"{self.path}?limit=1").json["metadata"]
            assert int(listed["resourceVersion"]) >= self.now


def test_the_future_is_refused(apiserver: ApiServerProgram) -> None:
    """After a while, and without a trace of it."""
    path = "/api/v1/namespaces/default/configmaps"
    now = int(apiserver.request("GET", path).json["metadata"]["resourceVersion"])
    reply = apiserver.request("GET", f"{path}?resourceVersion={now + 1_000_000}")
    assert reply.code == 504 and reply.json["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"
    assert int(apiserver.request("GET", path).json["metadata"]["resourceVersion"]) < now + 1_000


def test_reads_are_the_history(apiserver: ApiServerProgram) -> None:
    Reading.server = apiserver
    case: Any = Reading.TestCase
    case.settings = settings(
        max_examples=12 * EFFORT, stateful_step_count=25, deadline=None, derandomize=EFFORT == 1, database=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    case().runTest()
