"""A watch that is resumed whenever it breaks, as an informer's is, and a check of what it saw against etcd's history."""

import base64
import http.client
import json
import ssl
import threading
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.control_plane import ADMIN_TOKEN, ApiServerProgram

Change = tuple[str, str, int]
"""Type, key and version."""


@dataclass
class Piece:
    """A list and what was watched from there on, until ``version``. ``listed``: the versions by key."""

    listed: dict[str, int]
    began: int
    version: int
    events: list[Change] = field(default_factory=list)


class Recorder:
    """Follows a collection on one or several API servers in turn; where the past is gone (410) it lists again."""

    def __init__(self, servers: list[ApiServerProgram], path: str) -> None:
        self.pieces: list[Piece] = []
        self.broken = 0
        self._servers, self._path, self._behind = servers, path, False
        self._stopped = threading.Event()
        self._list(servers[0])
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    @property
    def events(self) -> list[Change]:
        return [event for piece in self.pieces for event in piece.events]

    @property
    def version(self) -> int:
        return self.pieces[-1].version

    def _list(self, server: ApiServerProgram) -> None:
        reply = server.request("GET", self._path)
        if reply.code != 200:
            raise OSError(reply.text)
        listed = {_key(item): int(item["metadata"]["resourceVersion"]) for item in reply.json["items"]}
        version = int(reply.json["metadata"]["resourceVersion"])
        self.pieces.append(Piece(listed, version, version))
        self._behind = False

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(15)

    def _follow(self) -> None:
        turn = 0
        while not self._stopped.is_set():
            server = self._servers[turn % len(self._servers)]
            try:
                if self._behind:
                    self._list(server)
                self._watch(server)
            except (OSError, http.client.HTTPException, ValueError):
                time.sleep(0.05)
            self.broken += 1
            turn += 1

    def _watch(self, server: ApiServerProgram) -> None:
        address = urlsplit(server.url)
        context = ssl.create_default_context(cafile=server.ca_file)
        connection = http.client.HTTPSConnection(address.netloc, timeout=2, context=context)
        query = f"?watch=1&allowWatchBookmarks=1&resourceVersion={self.version}&timeoutSeconds=30"
        try:
            connection.request("GET", self._path + query, headers={"Authorization": f"Bearer {ADMIN_TOKEN}"})
            reply = connection.getresponse()
            while not self._stopped.is_set() and (line := reply.readline()):
                if reply.status == 200:
                    self._take(json.loads(line))
        finally:
            connection.close()

    def _take(self, event: Any) -> None:
        if event["type"] == "ERROR":
            assert event["object"]["code"] == 410, event
            self._behind = True
            raise ValueError("behind the history")
        piece = self.pieces[-1]
        piece.version = int(event["object"]["metadata"]["resourceVersion"])
        if event["type"] != "BOOKMARK":
            piece.events.append((event["type"], _key(event["object"]), piece.version))


def _key(obj: Any) -> str:
    return f"{obj['metadata']['namespace']}/{obj['metadata']['name']}"


def check(recorder: Recorder, history: list[Change]) -> None:
    """``history`` is etcd's, of the same collection: each list shows what it comes to by then, and what was watched is
    all of it from there on, in order, once."""
    for piece in recorder.pieces:
        assert piece.listed == replay(history, piece.began)
        last = piece is recorder.pieces[-1]
        until = max((version for _, _, version in history), default=0) if last else piece.version
        assert piece.events == [change for change in history if piece.began < change[2] <= until]


def replay(history: list[Change], until: int) -> dict[str, int]:
    """The versions by key after all changes until a version."""
    state: dict[str, int] = {}
    for type_, key, version in history:
        if version <= until:
            state.pop(key, None) if type_ == "DELETED" else state.update({key: version})
    return state


def history(url: str, prefix: str) -> list[Change]:
    """Every change under a prefix (without its last slash) since revision 1, as a watch should tell it."""
    known: set[str] = set()
    found = []
    for event in etcd_watch(url, prefix):
        key = event["key"].removeprefix(prefix + "/")
        if event["deleted"]:
            known.discard(key)
            found.append(("DELETED", key, event["revision"]))
        else:
            found.append(("MODIFIED" if key in known else "ADDED", key, event["revision"]))
            known.add(key)
    return found


def etcd_watch(url: str, prefix: str) -> list[dict[str, Any]]:
    """The history by etcd's own watch, over its JSON gateway."""
    begin, end = prefix + "/", prefix + "0"
    create = {"key": base64.b64encode(begin.encode()).decode(), "range_end": base64.b64encode(end.encode()).decode()}
    body = json.dumps({"create_request": {**create, "start_revision": "1"}}).encode()
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.netloc, timeout=1.5)
    connection.request("POST", "/v3/watch", body)
    reply = connection.getresponse()
    found: list[dict[str, Any]] = []
    try:
        while line := reply.readline():
            for event in json.loads(line)["result"].get("events", ()):
                kv = event["kv"]
                deleted = event.get("type") == "DELETE"
                key = base64.b64decode(kv["key"]).decode()
                value = base64.b64decode(kv.get("value", "")).decode()
                found.append({"key": key, "deleted": deleted, "revision": int(kv["mod_revision"]), "value": value})
    except TimeoutError:
        pass
    finally:
        connection.close()
    return found
