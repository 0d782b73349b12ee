"""Who may ask which route of REST v1: what its operation says, before its handler runs."""

from functools import partial

from aiohttp import web

from headscale.api.acts import Acts
from headscale.api.grants import check_route
from headscale.api.problems import Handler
from headscale.api.v1.description import DESCRIPTION
from headscale.api.v1.operations import OPERATIONS


def guarded(route: web.RouteDef, acts: Acts) -> web.RouteDef:
    """The route behind its scopes. Raises KeyError for one that is not described: nobody could say who may ask it."""
    operation = OPERATIONS[route.method, route.path.removeprefix(DESCRIPTION.base)]
    if not operation.scopes:
        return route

    async def asked(handler: Handler, request: web.Request) -> web.StreamResponse:
        check_route(request, acts.snapshot, operation.scopes, is_own=operation.is_own)
        return await handler(request)

    return web.route(route.method, route.path, partial(asked, route.handler), **route.kwargs)
