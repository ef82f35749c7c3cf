"""The endpoints that are no resources: version, health, metrics, and where the inside gRPC listens."""

import platform
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+kubeto",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2026-01-01T00:00:00Z",
    "goVersion": f"python{platform.python_version()}",
    "compiler": platform.python_implementation(),
    "platform": f"{platform.system().lower()}/{_MACHINES.get(platform.machine(), platform.machine())}",
}
"""Clients parse major, minor and gitVersion, and turn features on by them."""

Check = Callable[[], Awaitable[str]]
"""Why a part is not well; "" when it is."""


@dataclass(frozen=True, slots=True)
class Health:
    """The checks behind ``/livez``, ``/readyz`` and ``/healthz``, by name."""

    live: Mapping[str, Check]
    ready: Mapping[str, Check]

    async def report(self, path: str, only: str, excluded: frozenset[str], verbose: bool) -> tuple[int, str]:
        """Status code and text, as upstream writes them."""
        checks = self.ready if path == "readyz" else self.live
        if only:
            if only not in checks:
                return 404, "404 page not found\n"
            checks = {only: checks[only]}
        lines, failed = [], []
        for name, check in checks.items():
            if name in excluded:
                lines.append(f"[+]{name} excluded: ok")
                continue
            reason = await check()
            lines.append(f"[-]{name} failed: {reason}" if reason else f"[+]{name} ok")
            failed.extend([name] if reason else [])
        if failed:
            return 500, "\n".join([*lines, f"{path} check failed"]) + "\n"
        return 200, "\n".join([*lines, f"{path} check passed"]) + "\n" if verbose else "ok"


def router(health: Health, inside: Mapping[str, int], documents: Mapping[str, tuple[str, dict[str, Any]]]) -> APIRouter:
    """``documents``: path of a public JSON document -> media type and content."""
    routes = APIRouter()

    @routes.get("/version", summary="The API's version")
    async def version() -> dict[str, str]:
        return VERSION

    @routes.get("/kubeto/v1/inside", summary="Where the inside gRPC service listens")
    async def inside_ports() -> dict[str, int]:
        return dict(inside)

    @routes.get("/metrics", summary="Metrics in Prometheus' format")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    async def check(request: Request) -> Response:
        path, _, only = request.url.path.strip("/").partition("/")
        excluded = frozenset(request.query_params.getlist("exclude"))
        code, text = await health.report(path, only, excluded, "verbose" in request.query_params)
        return PlainTextResponse(text, code, headers={"cache-control": "no-cache, private"})

    for path in ("/livez", "/readyz", "/healthz"):
        routes.add_api_route(path, check, methods=["GET"], summary="Health")
        routes.add_api_route(path + "/{check}", check, methods=["GET"], include_in_schema=False)

    for path, (media_type, content) in documents.items():
        routes.add_api_route(path, _document(media_type, content), methods=["GET"], summary="Token issuer")
    return routes


def _document(media_type: str, content: dict[str, Any]) -> Callable[[], Awaitable[Response]]:
    async def document() -> Response:
        return JSONResponse(content, media_type=media_type)

    return document
