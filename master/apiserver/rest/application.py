"""What FastAPI carries: the endpoints that are no resources, and ``/docs`` about them."""

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse

from apimachinery.errors import ApiError, MethodNotAllowed, NotFound

from ..aggregation.documents import Documents
from ..auth.authorizer import Authorizer, RequestAttributes
from ..auth.setup import Auth
from ..registry import refusals
from ..registry.catalog import Catalog
from . import node_metrics, openapi, system
from .explain import PATH, SchedulerClient


def build(
    auth: Auth,
    catalog: Catalog,
    aggregated: Documents,
    scheduler: SchedulerClient,
) -> FastAPI:
    """The application. It is given requests that are authenticated and authorized by their path."""
    api = FastAPI(title="Kubeto", version=system.VERSION["gitVersion"], redoc_url=None)
    api.include_router(system.router(auth.documents))
    api.include_router(openapi.router(openapi.OpenApi(catalog, node_metrics.KINDS, aggregated)))
    api.include_router(_explanations(scheduler, auth.authorizer))
    api.add_exception_handler(ApiError, _api_error)
    api.add_exception_handler(404, _unknown_path)
    api.add_exception_handler(405, _wrong_method)
    return api


def _explanations(client: SchedulerClient, authorizer: Authorizer) -> APIRouter:
    """Who may get a pod may ask about it."""
    routes = APIRouter()

    @routes.get(PATH, summary="Why a pod is where it is, or nowhere")
    async def explain(namespace: str, name: str, request: Request) -> dict[str, object]:
        attributes = RequestAttributes(request.state.user, "get", "", "v1", "pods", "", namespace, name)
        decision = authorizer.authorize(attributes)
        if not decision.allowed:
            raise refusals.forbidden(attributes, decision.reason)
        return await client.explain(namespace, name)

    return routes


async def _api_error(_: object, error: Exception) -> JSONResponse:
    assert isinstance(error, ApiError)  # noqa: S101 - for the type checker: it is registered for nothing else
    return _status(error)


async def _unknown_path(_: object, __: Exception) -> JSONResponse:
    return _status(NotFound("the server could not find the requested resource"))


async def _wrong_method(_: object, __: Exception) -> JSONResponse:
    return _status(MethodNotAllowed("the server does not allow this method on the requested resource"))


def _status(error: ApiError) -> JSONResponse:
    return JSONResponse(error.to_status(), error.status_code)
