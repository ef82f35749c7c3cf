"""What upstream's tests do with a typed client: every verb on one kind, over HTTPS, and a watch read as it comes.

Objects are written as protobuf, as Go's clients do, unless a kind has no message; patches and replies are JSON.
"""

import functools
import http.client
import json
import ssl
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from apimachinery import scheme
from apimachinery.protobuf.decoder import message_of
from apimachinery.scheme import Kind
from tests.control_plane import ADMIN_TOKEN, ApiServerProgram, Reply
from tests.e2e.conformance import go_protobuf

Object = dict[str, Any]
MERGE, STRATEGIC, JSON_PATCH = (
    f"application/{form}+json" for form in ("merge-patch", "strategic-merge-patch", "json-patch")
)
APPLY = "application/apply-patch+yaml"


class Refused(AssertionError):
    """An answer that is no success; ``code`` is HTTP's, ``status`` the body."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(f"{reply.code}: {reply.text[:600]}")
        self.code, self.status = reply.code, reply.json if reply.text.startswith("{") else {"message": reply.text}
        self.message: str = self.status.get("message", "")
        self.reason: str = self.status.get("reason", "")


class Watch:
    """An open watch; ``next`` blocks for at most the seconds given to ``open``."""

    def __init__(self, connection: http.client.HTTPSConnection) -> None:
        self._connection = connection
        self._reply = connection.getresponse()
        if self._reply.status != 200:
            raise Refused(Reply(self._reply.status, {}, self._reply.read().decode()))

    def next(self) -> tuple[str, Object]:
        line = self._reply.readline()
        assert line, "the watch ended"
        event = json.loads(line)
        return event["type"], event["object"]

    def until(self, wanted: Callable[[str, Object], bool]) -> Object:
        """The object of the first event that fits."""
        while True:
            kind, obj = self.next()
            if wanted(kind, obj):
                return obj

    def close(self) -> None:
        self._connection.close()


@functools.cache
def _connections(url: str, ca: str) -> httpx.Client:
    """Kept open, as a client's are: a handshake costs more than most requests."""
    return httpx.Client(base_url=url, verify=ssl.create_default_context(cafile=ca), timeout=15)


class Resource:
    """One kind in one namespace ("" = all, or a cluster kind)."""

    def __init__(self, server: ApiServerProgram, kind: Kind, namespace: str = "", token: str = ADMIN_TOKEN) -> None:
        self.server, self.kind, self.namespace, self._token = server, kind, namespace, token

    def everywhere(self) -> "Resource":
        return Resource(self.server, self.kind)

    def _path(self, name: str = "", subresource: str = "", **query: Any) -> str:
        asked = {k: str(v).lower() if isinstance(v, bool) else v for k, v in query.items() if v not in ("", None)}
        path = self.kind.path(self.namespace, name, subresource)
        return f"{path}?{urllib.parse.urlencode(asked)}" if asked else path

    def _ask(self, method: str, path: str, body: Any = None, content_type: str = "", accept: str = "") -> Any:
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content_type or "application/json"}
        content = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        answer = _connections(self.server.url, self.server.ca_file).request(
            method, path, content=content, headers=headers | ({"Accept": accept} if accept else {})
        )
        if answer.status_code >= 300:
            raise Refused(Reply(answer.status_code, dict(answer.headers), answer.text))
        return answer.json()

    def _send(self, method: str, path: str, obj: Object) -> Object:
        whole = {"apiVersion": self.kind.api_version, "kind": self.kind.kind, **obj}
        if message_of(whole["apiVersion"], whole["kind"]) is None:
            return dict(self._ask(method, path, whole))
        body, media = go_protobuf.encode(whole), go_protobuf.CONTENT_TYPE
        return dict(self._ask(method, path, body, media, f"{media},application/json"))

    def create(self, obj: Object, subresource: str = "", name: str = "", **query: Any) -> Object:
        return self._send("POST", self._path(name, subresource, **query), obj)

    def get(self, name: str, subresource: str = "", accept: str = "") -> Object:
        return dict(self._ask("GET", self._path(name, subresource), accept=accept))

    def listing(self, accept: str = "", **query: Any) -> Object:
        return dict(self._ask("GET", self._path(**query), accept=accept))

    def names(self, **query: Any) -> list[str]:
        return [i["metadata"]["name"] for i in self.listing(**query)["items"]]

    def update(self, obj: Object, subresource: str = "", **query: Any) -> Object:
        return self._send("PUT", self._path(obj["metadata"]["name"], subresource, **query), obj)

    def patch(self, name: str, body: Any, form: str = MERGE, subresource: str = "", **query: Any) -> Object:
        return dict(self._ask("PATCH", self._path(name, subresource, **query), body, form))

    def delete(self, name: str, **options: Any) -> Object:
        return self._send("DELETE", self._path(name), {"kind": "DeleteOptions", "apiVersion": "v1", **options})

    def delete_collection(self, options: Object | None = None, **query: Any) -> Object:
        return self._send(
            "DELETE", self._path(**query), {"kind": "DeleteOptions", "apiVersion": "v1", **(options or {})}
        )

    def watch(self, seconds: float = 20, **query: Any) -> Watch:
        context = ssl.create_default_context(cafile=self.server.ca_file)
        connection = http.client.HTTPSConnection("127.0.0.1", self.server.port, timeout=seconds, context=context)
        headers = {"Authorization": f"Bearer {self._token}"}
        connection.request("GET", self._path(watch="true", **query), headers=headers)
        return Watch(connection)

    def gone(self, name: str) -> bool:
        try:
            self.get(name)
        except Refused as refused:
            return refused.code == 404
        return False


def discovered(server: ApiServerProgram, kind: Kind) -> Iterator[str]:
    """Resources of a group and version, subresources included; the group is in the list of groups."""
    if kind.group:
        groups = {g["name"]: g for g in server.request("GET", "/apis").json["groups"]}
        assert kind.version in [v["version"] for v in groups[kind.group]["versions"]]
        group = server.request("GET", f"/apis/{kind.group}").json
        assert kind.version in [v["version"] for v in group["versions"]]
    listed = server.request("GET", kind.path().rpartition("/")[0]).json
    assert listed["groupVersion"] == kind.api_version
    return (r["name"] for r in listed["resources"])


def resource(server: ApiServerProgram, plural: str, group: str = "", namespace: str = "", **options: Any) -> Resource:
    return Resource(server, scheme.kind_of(plural, group), namespace, **options)


def refusal(call: Callable[[], Any]) -> Refused:
    """What the server refused the call with."""
    with pytest.raises(Refused) as caught:
        call()
    return caught.value
