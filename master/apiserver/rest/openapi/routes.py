"""The endpoints, with ETags: clients ask often and the answer hardly ever changes.

Source: KEP-2896 (OpenAPI v3), ``k8s.io/kube-openapi/pkg/handler3``.
"""

from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse

from apimachinery.errors import NotAcceptable

from .. import negotiation
from .documents import OpenApi

_V2 = "v2"
_JSON = "application/json"
_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_V2_FORMS = {_JSON: _JSON, _PROTOBUF: _PROTOBUF, _PROTOBUF.replace("v2.v1.0", "v2@v1.0"): _PROTOBUF}
"""What may be asked for, and what it is called in the answer: ``@`` in a media type is an old mistake of clients."""
_V3_FORMS = {_JSON: _JSON}


def router(documents: OpenApi) -> APIRouter:
    routes = APIRouter(include_in_schema=False)

    @routes.get("/openapi/v2")
    async def version_2(request: Request) -> Response:
        return await _answer(documents, request, _V2, _V2_FORMS)

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
        return await _answer(documents, request, name, _V3_FORMS, immutable=bool(asked))

    return routes


async def _answer(
    documents: OpenApi, request: Request, name: str, forms: Mapping[str, str], *, immutable: bool = False
) -> Response:
    media_type = _negotiate(request.headers.get("accept", ""), forms)
    if media_type is None:
        refusal = NotAcceptable(f"only the following media types are accepted: {', '.join(forms)}")
        return JSONResponse(refusal.to_status(), refusal.status_code, {"Vary": "Accept"})
    binary = media_type == _PROTOBUF
    tag = f'"{(await documents.hashes())[name]}{"-protobuf" if binary else ""}"'
    headers = {"ETag": tag, "Vary": "Accept"}
    headers["Cache-Control"] = "public, immutable" if immutable else "no-cache, private"
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    content = await (documents.protobuf() if binary else documents.document(name))
    return Response(content, headers=headers, media_type=media_type)


def _negotiate(header: str, forms: Mapping[str, str]) -> str | None:
    """The first form that is accepted, best quality first; None if there is none."""
    for media, _ in negotiation.clauses(header or "*/*"):
        for asked, given in forms.items():
            if media in (asked, "*/*", "application/*"):
                return given
    return None
