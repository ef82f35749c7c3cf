"""The endpoints that are no resources: version and metrics; ``health`` has those that are asked early."""

import platform
from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from apimachinery import checkout

_MACHINES = {"x86_64": "amd64", "aarch64": "arm64"}

VERSION = {
    "major": "1",
    "minor": "36",
    "gitVersion": "v1.36.0+kubeto",
    "goVersion": f"python{platform.python_version()}",
    "compiler": platform.python_implementation(),
    "platform": f"{platform.system().lower()}/{_MACHINES.get(platform.machine(), platform.machine())}",
}
"""Clients parse major, minor and gitVersion, and turn features on by them."""


@cache
def version() -> dict[str, str]:
    """With what is known of the sources: read when first asked for, and "archive" where they are no checkout."""
    built = checkout.read()
    state = "clean" if built.known else "archive"
    return VERSION | {"gitCommit": built.commit, "gitTreeState": state, "buildDate": built.date}


def router(documents: Mapping[str, tuple[str, dict[str, Any]]]) -> APIRouter:
    """``documents``: path of a public JSON document -> media type and content."""
    routes = APIRouter()

    @routes.get("/version", summary="The API's version")
    async def told() -> dict[str, str]:
        return version()

    @routes.get("/metrics", summary="Metrics in Prometheus' format")
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    for path, (media_type, content) in documents.items():
        routes.add_api_route(path, _document(media_type, content), methods=["GET"], summary="Token issuer")
    return routes


def _document(media_type: str, content: dict[str, Any]) -> Callable[[], Awaitable[Response]]:
    async def document() -> Response:
        return JSONResponse(content, media_type=media_type)

    return document
