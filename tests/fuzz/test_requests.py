"""Paths, queries and headers that no client of good will sends."""

import base64
from typing import Any
from urllib.parse import quote_from_bytes

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apimachinery import scheme
from tests.fuzz import shapes
from tests.fuzz.test_bodies import JSON, MAPS, fine
from tests.fuzz.victim import Victim
from tests.fuzz.wire import message

NUMBERS = (
    "",
    "0",
    "1",
    "-1",
    "+1",
    "00",
    " 1",
    "1.0",
    "1e3",
    "1_0",
    "٣",
    "x",
    "null",
    "9" * 19,
    "9" * 20,
    "9" * 5000,
    "0x1",
    "\0",
)
BOOLEANS = ("", "0", "1", "t", "T", "TRUE", "True", "tRUE", "yes", "x", "\0")
TEXTS = (*shapes.TEXTS, "All", "All,All", "Strict", "Foreground", "Exact", "NotOlderThan", "Metadata", "Object", "None")
SELECTORS = (
    "a", "!a", "a=b", "a==b", "a!=b", "a in (b,c)", "a notin (b)", "a in ()", "a in", "a in (", "a>1", "a<x", "a>" + "9" * 5000, "a=b=c",
    ",", ",,", "a,", "(a)", "!", "!!a", "a in (b))", "a in ((b))", "=b", " a = b ", "é=b", "a=é", "a/b/c=d", "a" * 300, "a=" + "b" * 100,
    "\0", "a=\n", "a in (" + "b," * 9_000 + "b)", "a," * 9_000 + "a", "(" * 9_000, "!" * 9_000, "metadata.name=x", "metadata.name==x", "metadata.name!=x",
    "metadata.name", "metadata.name=a\\,b", "metadata.name=\\", "metadata.name=a\\x", "status.phase=x", "spec.nodeName=", "x.y=z", "=,", "metadata.namespace=",
)  # fmt: skip


def token_of(value: Any) -> str:
    raw = value if isinstance(value, bytes) else orjson.dumps(value)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


_VERSION = "meta.k8s.io/v1"
TOKENS = (
    "x", "é", "=" * 10, "AAAA", token_of(b"\xff"), token_of(b"{}"), token_of(b"null"), token_of([]), token_of(1), token_of({"v": _VERSION}),
    *(token_of({"v": _VERSION, "rv": rv, "start": "a\0"}) for rv in (-1, -9, 1, 2**31, 2**62, 2**63, 1e300, True, None, "x", [], {}, "1")),
    *(token_of({"v": _VERSION, "rv": -1, "start": s}) for s in ("", "/", "..", "../../", "\0", "z" * 9_000, None, 1, [], {}, "💥")),
    token_of({"v": "v2", "rv": 1, "start": "a"}), token_of({"v": None, "rv": 1, "start": "a"}), "A" * 20_000,
)  # fmt: skip
PARAMETERS: dict[str, tuple[str, ...]] = {
    "limit": NUMBERS,
    "timeoutSeconds": NUMBERS,
    "gracePeriodSeconds": NUMBERS,
    "tailLines": NUMBERS,
    "resourceVersion": NUMBERS,
    "watch": ("0", "false"),
    "force": BOOLEANS,
    "sendInitialEvents": BOOLEANS,
    "allowWatchBookmarks": BOOLEANS,
    "orphanDependents": BOOLEANS,
    "ignoreStoreReadErrorWithClusterBreakingPotential": BOOLEANS,
    "continue": TOKENS,
    "labelSelector": SELECTORS,
    "fieldSelector": SELECTORS,
    **dict.fromkeys(
        ("resourceVersionMatch", "fieldManager", "fieldValidation", "dryRun", "propagationPolicy", "includeObject", "pretty",
         "preconditions.uid", "preconditions.resourceVersion", "", "\0", "é", "a" * 300),
        TEXTS,
    ),
}  # fmt: skip


def test_every_parameter_with_every_odd_value(victim: Victim) -> None:
    assert victim.call("POST", MAPS, b'{"metadata":{"name":"x"}}', JSON).code in (201, 409)
    for name, values in PARAMETERS.items():
        for value in values:
            query = f"{quoted(name)}={quoted(value)}"
            for method, path in (("GET", MAPS), ("GET", f"{MAPS}/x"), ("DELETE", f"{MAPS}/y")):
                if not future(name, value):
                    fine(victim.call(method, f"{path}?{query}".encode()), query[:200])
            fine(victim.call("POST", f"{MAPS}?{query}&dryRun=All".encode(), b"{}", JSON), query[:200])
            watch = f"{MAPS}?watch=1&timeoutSeconds=-1&{query}"
            if name in ("resourceVersionMatch", "sendInitialEvents") and value in (
                "1",
                "x",
                "\0",
                "Exact",
                "NotOlderThan",
            ):
                fine(victim.call("GET", watch.encode()), watch)


def future(name: str, value: str) -> bool:
    """Versions that may yet come: the server waits for those, for three seconds."""
    tokens = [token_of({"v": _VERSION, "rv": rv, "start": "a\0"}) for rv in (2**31, 2**62)]
    return (name == "resourceVersion" and len(value) == 19) or (name == "continue" and value in tokens)


def quoted(text: str) -> str:
    return quote_from_bytes(text.encode("utf-8", "surrogatepass"), safe="")


def test_queries_of_many_parameters(victim: Victim, effort: int) -> None:
    pair = st.sampled_from(sorted(PARAMETERS)).flatmap(lambda n: st.tuples(st.just(n), st.sampled_from(PARAMETERS[n])))
    paths = [k.path("default") for k in scheme.KINDS if k.stored] + [f"{MAPS}/x", f"{MAPS}/x/status"]

    @settings(settings.get_profile("attack"), max_examples=100 * effort)
    @given(st.sampled_from(paths), st.lists(pair, max_size=5), st.sampled_from(["GET", "HEAD", "PATCH", "PUT", "POST"]))
    def attack(path: str, pairs: Any, method: str) -> None:
        query = "&".join(f"{quoted(n)}={quoted(v)}" for n, v in pairs if not future(n, v))
        answer = victim.call(method, f"{path}?{query}".encode(), b"" if method in ("GET", "HEAD") else b"{}", JSON)
        assert answer.code < 500, (path, query, answer)

    attack()


PATHS = [
    b"", b"/", b"//", b"///api", b"/api", b"/api/", b"/api//", b"/api/v1", b"/api/v1/", b"/api/v1//", b"/api/v2/pods", b"/apis/", b"/apis//",
    b"/apis///", b"/apis/apps", b"/apis/apps/", b"/apis/apps/v1/", b"/apis/apps/v9/deployments", b"/apis/x/v1/y", b"/api/v1/namespaces//pods",
    b"/api/v1/namespaces/%00/pods", b"/api/v1/namespaces/a%2Fb/pods", b"/api/v1/namespaces/../pods", b"/api/v1/namespaces/%2e%2e/configmaps/x",
    b"/api/v1/namespaces/default/configmaps/%ff", b"/api/v1/namespaces/default/configmaps/%C3%A9", b"/api/v1/namespaces/default/configmaps/%",
    b"/api/v1/namespaces/default/configmaps/%zz", b"/api/v1/namespaces/default/configmaps/%ED%A0%80", b"/api/v1/namespaces/default/configmaps/a%0d%0aX:y",
    b"/api/v1/namespaces/default/configmaps/" + b"a" * 60_000, b"/api/v1/namespaces/default/configmaps/x/", b"/api/v1/namespaces/default/configmaps/x//",
    b"/api/v1/namespaces/default/configmaps/x/y/z/w", b"/api/v1/namespaces/default/pods/x/proxy/", b"/api/v1/namespaces/default/pods/x:y:z:w/proxy",
    b"/api/v1/namespaces/default/pods/http:x:99999/proxy/%00", b"/api/v1/namespaces/default/services/%2F:80/proxy/..%2f", b"/api/v1/nodes/x/proxy/\x7f",
    b"/api/v1/namespaces/default/pods/x/log?container=%00", b"/api/v1/namespaces/default/pods/x/log?tailLines=-1&sinceTime=x&limitBytes=-1",
    b"/api/v1/namespaces/default/pods/x/exec", b"/api/v1/namespaces/default/pods/x/exec?command=%00&stdin=x", b"/api/v1/namespaces/default/pods/x/attach?tty=9",
    b"/api/v1/namespaces/default/pods/x/portforward?ports=99999999999", b"/api/v1/watch/pods", b"/api/v1/proxy/nodes/x", b"/openapi/v3/apis/../x", b"/openapi/v3/x",
    b"/openapi/v2?timeout=x", b"/openapi/v3/api/v1?hash=%00", b"/livez/x", b"/livez?exclude=%00&verbose", b"/readyz/etcd?verbose=x", b"/metrics?x", b"/version?x",
    b"/kubeto/v1/inside?x", b"/kubeto/v1/namespaces/a%2Fb/pods/x/explain", b"/kubeto/v1/namespaces/x/pods/y/explain", b"/docs", b"/openapi.json",
    b"/.well-known/openid-configuration?x", b"/openid/v1/jwks/x", b"*", b"?", b"#", b"/%", b"/\xff", b"http://x/api", b"http://[::1", b"/a b", b"a:b", b"/../../etc/passwd",
    b"/apis/metrics.k8s.io/v1beta1/nodes/x", b"/apis/metrics.k8s.io/v1beta1/pods?labelSelector=!!", b"/logs/", b"/debug/pprof/", b"/configz", b"/;", b"/api;x/v1",
]  # fmt: skip


@pytest.mark.parametrize(
    "method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "FOO", "get"]
)
def test_paths_that_lead_nowhere(victim: Victim, method: str) -> None:
    for path in PATHS:
        answer = victim.call(method, path, b"" if method in ("GET", "HEAD") else b"{}", JSON)
        waits = any(p in path for p in (b"proxy", b"explain", b"/exec", b"/attach", b"/portforward", b"/log?"))
        assert answer.code < 500 or (waits and answer.code in (502, 503)) or answer.code == 501, (path, answer)


IDENTITIES = [
    b"", b" ", b"Bearer", b"Bearer ", b"Bearer  x", b"bearer x", b"Basic x", b"Basic " + base64.b64encode(b"a:b"), b"Digest x", b"Bearer \xff\xfe", b"Bearer \xc3\xa9",
    b"Bearer " + b"x" * 60_000, b"Bearer a.b.c", b"Bearer ..", b"Bearer " + b"." * 9_999, b"Bearer abcdef.0123456789abcdef", b"Bearer x, Bearer y", b"\xff", b"\t",
    *(b"Bearer " + b".".join(base64.urlsafe_b64encode(p).rstrip(b"=") for p in parts) for parts in (
        (b'{"alg":"none"}', b"{}", b""), (b'{"alg":"HS256"}', b"{}", b"x"), (b'{"alg":"RS256","kid":1}', b"[]", b"x"), (b"[]", b"[]", b"x"), (b"null", b"1", b"x"),
        (b'{"alg":"ES256","kid":{}}', b'{"exp":"x"}', b"x"), (b'{"alg":["x"]}', b"{}", b"x"), (b"[" * 20_000, b"{}", b"x"), (b'{"alg":"RS256"}', b"[" * 20_000, b"x"),
        (b'{"alg":"RS256","crit":["x"]}', b'{"iss":1,"aud":{},"exp":1e999}', b"x"), (b"\xff", b"\xff", b"\xff"), (b'{"alg":"RS256","b64":false}', b"{}", b"x"))),
]  # fmt: skip


def test_credentials_that_are_none(victim: Victim) -> None:
    for value in IDENTITIES:
        raw = b"GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\nAuthorization: " + value + b"\r\n\r\n"
        assert victim.raw(raw).code in (401, 400, 431, 403), value
    for protocol in (b"!!!", b"", b"x" * 9_999, b"\xff", b"AAA=A", b"4pyT"):
        header = b"Sec-WebSocket-Protocol: base64url.bearer.authorization.k8s.io." + protocol
        raw = b"GET /api/v1/nodes HTTP/1.1\r\nHost: x\r\n" + header + b"\r\n\r\n"
        assert victim.raw(raw).code in (401, 400), protocol


IMPERSONATIONS = [
    [("Impersonate-User", "")], [("Impersonate-Group", "x")], [("Impersonate-Uid", "x")], [("Impersonate-Extra-x", "y")], [("Impersonate-", "y")],
    [("Impersonate-User", "\xff")], [("Impersonate-User", "a"), ("Impersonate-User", "b")], [("Impersonate-User", "a"), ("Impersonate-Extra-%", "y")],
    [("Impersonate-User", "a"), ("Impersonate-Extra-%ff%00", "y")], [("Impersonate-User", "system:serviceaccount:x")], [("Impersonate-User", "system:serviceaccount:a:b:c")],
    [("Impersonate-User", "system:serviceaccount::")], [("Impersonate-User", "a"), ("Impersonate-Group", "")], [("Impersonate-User", "a"), *[("Impersonate-Group", f"g{i}") for i in range(500)]],
    [("Impersonate-User", "a" * 30_000)], [("Impersonate-User", "system:anonymous")], [("Impersonate-User", "a"), ("Impersonate-Foo", "x")],
]  # fmt: skip


def test_impersonations_of_nobody(victim: Victim) -> None:
    for headers in IMPERSONATIONS:
        for token in ("admin-token", "user-token"):
            assert victim.call("GET", "/api/v1/nodes", headers=headers, token=token).code in (200, 400, 401, 403), (
                headers
            )


HEADERS = [
    ("Accept", ""), ("Accept", ";"), ("Accept", ",,,"), ("Accept", "a" * 30_000), ("Accept", "*/*;q=x"), ("Accept", "*/*;q=nan"), ("Accept", "*/*;q=-inf, a/b;q=1e999"), ("Accept", "\xff/\xff"),
    ("Accept", "application/json;as=Table"), ("Accept", "application/json;as=Table;v=v9;g=x"), ("Accept", "application/json;as=X;v=v1;g=meta.k8s.io"), ("Accept", "a/b," * 5_000),
    ("Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"), ("Accept", "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"),
    ("Accept-Encoding", "gzip;q=x, br, \xff"), ("Content-Type", ""), ("Content-Type", ";;;"), ("Content-Type", "application/json; charset=\xff"), ("Content-Type", "application/json" * 900),
    ("Content-Encoding", "gzip"), ("User-Agent", "\xff" * 999), ("User-Agent", "/"), ("User-Agent", "a" * 30_000), ("If-None-Match", '"'), ("If-Match", "x"), ("Range", "bytes=0-99999999999999999999"),
    ("Audit-ID", "\xff" * 99), ("X-Forwarded-For", "1"), ("Origin", "\xff"), ("Cookie", "a" * 30_000), ("Upgrade", "h2c"), ("Upgrade", "SPDY/3.1"), ("Upgrade", "websocket"), ("Expect", "100-continue"),
    ("Expect", "x"), ("Connection", "close, upgrade, keep-alive"), ("Connection", "\xff"), ("Traceparent", "x"), ("Traceparent", "00-" + "f" * 32 + "-" + "f" * 16 + "-ff"), ("Date", "x"), ("Host", "\xff"), ("Host", ""),
    ("Sec-WebSocket-Version", "99"), ("X-Stream-Protocol-Version", "\xff"), ("Proxy-Authorization", "x"), ("Warning", "x"), ("Te", "trailers"), ("Trailer", "x"), ("Via", "x"), ("Priority", "u=9"),
]  # fmt: skip


def test_headers_that_mean_nothing(victim: Victim) -> None:
    for name, value in HEADERS:
        for method, path, body in (
            ("GET", MAPS, b""),
            ("GET", "/openapi/v2", b""),
            ("POST", f"{MAPS}?dryRun=All", b'{"metadata":{"name":"h"}}'),
        ):
            extra = [(name, value)] if body == b"" or name.startswith("Content") else [(name, value), *JSON]
            answer = victim.raw(message(method, path, body, extra), method)
            assert answer.code < 500 and answer.code != 0, (name, value[:50], path, answer)
            victim.drop()
