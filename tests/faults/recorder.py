"""A watch that is resumed whenever it breaks, as an informer's is, and a check of what it saw against etcd's history."""

import base64
import http.client
import json
import ssl
import threading
import time
from typing import Any
from urllib.parse import urlsplit

from tests.control_plane import ADMIN_TOKEN, ApiServerProgram


class Recorder:
    """Follows a collection on one or several API servers in turn. ``events`` are (type, key, version), in order."""

    def __init__(self, servers: list[ApiServerProgram], path: str) -> None:
        self.events: list[tuple[str, str, int]] = []
        self.relisted = self.broken = 0
        self._servers, self._path = servers, path
        self._stopped = threading.Event()
        self.version = int(servers[0].request("GET", path).json["metadata"]["resourceVersion"])
        self.began = self.version
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join(15)

    def _follow(self) -> None:
        turn = 0
        while not self._stopped.is_set():
            server = self._servers[turn % len(self._servers)]
            try:
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
            self.relisted += 1
            raise ValueError("behind the history")
        meta = event["object"]["metadata"]
        self.version = int(meta["resourceVersion"])
        if event["type"] != "BOOKMARK":
            self.events.append((event["type"], f"{meta['namespace']}/{meta['name']}", self.version))


def check(recorder: Recorder, history: list[tuple[str, str, int]]) -> None:
    """``history`` is etcd's, of the same collection: what was seen is all of it from where it began, in order, once."""
    assert not recorder.relisted
    assert recorder.events == [change for change in history if change[2] > recorder.began]


def history(url: str, prefix: str) -> list[tuple[str, str, int]]:
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
