"""The endpoints, with ETags: clients ask often and the answer hardly ever changes.

Source: KEP-2896 (OpenAPI v3), ``k8s.io/kube-openapi/pkg/handler3``.
"""

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from apimachinery.errors import NotAcceptable

from .documents import OpenApi

_V2 = "v2"
_PROTOBUF = "proto-openapi.spec.v2"


def router(documents: OpenApi) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi/v2")
    async def version_2(request: Request) -> Response:
        accepted = request.headers.get("accept", "")
        if _PROTOBUF in accepted and "json" not in accepted and "*/*" not in accepted:
            refusal = NotAcceptable("OpenAPI v2 is served as application/json only; clients of v1.27 on use version 3")
            return JSONResponse(refusal.to_status(), refusal.status_code)
        return await _answer(documents, request, _V2)

    @routes.get("/openapi/v3")
    async def index() -> Response:
        hashes = await documents.hashes()
        paths = {
            name: {"serverRelativeURL": f"/openapi/v3/{name}?hash={value}"}
            for name, value in sorted(hashes.items())
            if name != _V2
        }
        return JSONResponse({"paths": paths})

    @routes.get("/openapi/v3/{name:path}")
    async def version_3(name: str, request: Request) -> Response:
        current = (await documents.hashes()).get(name)
        asked = request.query_params.get("hash")
        if current is None or name == _V2:
            return Response("404 page not found\n", 404, media_type="text/plain")
        if asked and asked != current:
            return RedirectResponse(f"/openapi/v3/{name}?hash={current}", 301)
        return await _answer(documents, request, name, immutable=bool(asked))

    return routes


async def _answer(documents: OpenApi, request: Request, name: str, *, immutable: bool = False) -> Response:
    tag = f'"{(await documents.hashes())[name]}"'
    headers = {"ETag": tag, "Vary": "Accept"}
    headers["Cache-Control"] = "public, immutable" if immutable else "no-cache, private"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    content = await documents.document(name)
    return Response(content, headers=headers, media_type="application/json")
