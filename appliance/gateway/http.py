"""
What all resources have in common: an id, a known peer, a rule, a budget, bounded strict input, and problems.

    connection ─▶ answering ─▶ admitting ─▶ a resource
                  id, problems,  peer, rule,
                  headers, log   draining, budget

`connections` sees to what happens before there is a request: slow heads, too many connections, bytes that are no HTTP.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, TypeAlias, TypeVar

import msgspec
from aiohttp import web

from appliance.catalogue import Language, catalogue
from appliance.errors import (
    AccessDenied,
    ApplianceError,
    GatewayDraining,
    MediaTypeRefused,
    MethodRefused,
    RequestLate,
    RequestMalformed,
    RequestTooLarge,
    ResourceAbsent,
)
from appliance.gateway import access, peers, problem_page, problems, request_id
from appliance.gateway.access import PAGES, TABLE, Cost
from appliance.gateway.connections import Connection
from appliance.gateway.request_log import RequestLog
from appliance.gateway.services import PEER, SERVICES, Services

_LOG = logging.getLogger(__name__)

T = TypeVar("T")
Handler: TypeAlias = Callable[[web.Request], Awaitable[web.StreamResponse]]

LARGEST_BODY: Final = 16 << 10
"""Bytes, where a resource does not say more."""
BODY_SECONDS: Final = 10.0
"""How long a body may take."""
JSON: Final = "application/json"
_OWN_SITES: Final = frozenset({"none", "same-origin"})
"""Of the header Sec-Fetch-Site (W3C Fetch Metadata): the person in front of the browser, and our own pages."""
_LINES: Final = web.AppKey("lines", RequestLog)
_ENCODER: Final = msgspec.json.Encoder()
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def application(services: Services, routes: Iterable[web.RouteDef]) -> web.Application:
    """Return the application that serves *routes*; one that the table of access does not know is a ValueError."""
    # Read now, so that nobody's first refusal waits for it.
    catalogue()
    served = tuple(routes)
    for route in served:
        if (route.method, _canonical(route.path)) not in TABLE:
            raise ValueError(f"nobody has said who may {route.method} {route.path}")
    app = web.Application(middlewares=[_answering, _admitting], client_max_size=LARGEST_BODY)
    app[SERVICES] = services
    app[_LINES] = RequestLog(time.monotonic)
    app.on_response_prepare.append(_dress)
    app.on_cleanup.append(_close)
    app.add_routes(served)
    return app


def get(path: str, handler: Handler) -> web.RouteDef:
    """Return the route of *handler* for GET alone: HEAD would be another line in every table."""
    return web.get(path, handler, allow_head=False)


async def read_body(request: web.Request, *, most: int = LARGEST_BODY) -> bytes:
    """Return the body; raise RequestTooLarge, RequestLate, RequestMalformed, MediaTypeRefused."""
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise MediaTypeRefused("a body is not packed")
    if request.content_length is not None and request.content_length > most:
        raise RequestTooLarge(f"a body has at most {most} bytes here")
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                body += piece
                if len(body) > most:
                    raise RequestTooLarge(f"a body has at most {most} bytes here")
    except TimeoutError as error:
        raise RequestLate(f"the body did not arrive within {BODY_SECONDS:.0f} seconds") from error
    except web.RequestPayloadError as error:
        raise RequestMalformed("the body does not end as its headers say") from error
    return bytes(body)


async def read_json(request: web.Request, kind: type[T], *, most: int = LARGEST_BODY) -> T:
    """Return the JSON body as *kind*; raise as `read_body` does, and RequestMalformed where it is none."""
    if request.content_type != JSON or (request.charset or "utf-8").lower() != "utf-8":
        raise MediaTypeRefused(f"the body is to be {JSON}")
    return parse_json(await read_body(request, most=most), kind)


def parse_json(body: bytes, kind: type[T]) -> T:
    """Return *body* as *kind*, or raise RequestMalformed."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # The message names what is wrong and where; it goes back to the caller, and not into the log.
        raise RequestMalformed(f"the body is not as the contract says: {error}") from error


def json_response(
    content: object, *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """Return *content* as JSON."""
    return web.Response(status=status, body=_ENCODER.encode(content), content_type=JSON, headers=headers)


def no_query(request: web.Request, *known: str) -> None:
    """Check that the query has no other parameters than those *known*, each once; or raise RequestMalformed."""
    # By items: a mapping of several values names each key but once.
    names = [name for name, _ in request.query.items()]
    if len(set(names)) != len(names) or not set(names) <= set(known):
        raise RequestMalformed("the query has a parameter that is not in the contract, or one twice")


def language_of(request: web.BaseRequest) -> Language:
    """Return the language that the caller reads."""
    return problems.language(request.headers.get("Accept-Language"))


# --- around every resource ----------------------------------------------------------------------------------------


@web.middleware
async def _answering(request: web.Request, handler: Handler) -> web.StreamResponse:
    request_id.begin(request.headers.get(request_id.HEADER))
    loop = asyncio.get_running_loop()
    began = loop.time()
    failure: Exception | None = None
    try:
        answer = await handler(request)
    except Exception as error:
        if isinstance(error, ConnectionError) and (
            request.transport is None or request.transport.is_closing()
        ):
            # There is nobody any more to answer.
            raise
        failure = _translated(error)
        if not isinstance(failure, ApplianceError):
            _LOG.exception("request failed resource=%s", resource_of(request))
        if request.writer.output_size > 0:
            # An answer has begun, and cannot become another one: that it breaks off is what can be told.
            raise ConnectionResetError("an answer has failed in its middle") from error
        answer = _refused(failure, request)
    told, resource, rule = request.app[_LINES], resource_of(request), _rule_of(request)
    if rule is not None and rule.is_open:
        told.opened(resource, answer.status)
    else:
        alias = request[PEER].alias if PEER in request else None
        seconds = loop.time() - began
        told.answered(request.method, resource, answer.status, failure=failure, seconds=seconds, peer=alias)
    return answer


def _refused(failure: Exception, request: web.Request) -> web.Response:
    """Return *failure* as the answer to *request*: to a person who opens a page as a page."""
    answer = problems.response(failure, language_of(request), request_id.current())
    if resource_of(request) in PAGES and problem_page.is_wanted(request):
        told = problems.problem(failure, language_of(request), request_id.current())
        return problem_page.response(told, language_of(request), is_known=PEER in request)
    return answer


@web.middleware
async def _admitting(request: web.Request, handler: Handler) -> web.StreamResponse:
    services = request.app[SERVICES]
    rule = _rule_of(request)
    _require_own_page(request)
    if rule is not None and rule.is_open:
        return await handler(request)
    credentials = _credentials(request)
    peer = services.directory.identify(credentials, services.clock())
    request[PEER] = peer
    services.shown.saw(peer.alias, credentials)
    if rule is None:
        # Not found, or not with this method: looking for it costs all the same.
        services.budgets.look(peer)
        return await handler(request)
    access.require(peer, rule)
    match rule.cost:
        case Cost.NOTHING:
            return await handler(request)
        case Cost.LOOK:
            services.budgets.look(peer)
            return await handler(request)
        case Cost.BEGIN:
            if services.is_draining:
                raise GatewayDraining("the appliance is about to end")
            services.budgets.work(peer)
            return await handler(request)
        case Cost.WORK:
            services.budgets.work(peer)
            end = services.budgets.begin(peer)
            try:
                return await handler(request)
            finally:
                end()


def _require_own_page(request: web.Request) -> None:
    """
    Raise AccessDenied where a browser says that somebody else's page is asking, with its user's certificate.

    Such a page could read no answer; it shall begin nothing, either. Programs that are no browsers do not send this.
    """
    site = request.headers.get("Sec-Fetch-Site", "none")
    if site not in _OWN_SITES and resource_of(request) not in PAGES:
        raise AccessDenied("only this appliance's own pages ask from within a browser")


async def _close(app: web.Application) -> None:
    app[_LINES].close()
    app[SERVICES].close()


async def _dress(_request: web.Request, response: web.StreamResponse) -> None:
    """Give every answer what all answers have, whoever has made it."""
    headers = response.headers
    # A WebSocket has no content that these are about, and would keep them as long as it lasts.
    if not isinstance(response, web.WebSocketResponse):
        for name, value in _HEADERS.items():
            headers.setdefault(name, value)
    headers[request_id.HEADER] = request_id.current()
    # Which software this is, and of which version, is nobody's business.
    headers.popall("Server", None)


def resource_of(request: web.Request) -> str:
    """Return the path of what is asked for as the table has it: never the caller's own words."""
    resource = request.match_info.route.resource
    return "-" if resource is None else resource.canonical


def _rule_of(request: web.Request) -> access.Rule | None:
    return TABLE.get((request.method, resource_of(request)))


def _credentials(request: web.Request) -> peers.Credentials | None:
    connection = request.protocol
    return (
        connection.credentials if isinstance(connection, Connection) else peers.credentials(request.transport)
    )


def _canonical(path: str) -> str:
    return web.UrlDispatcher().add_resource(path).canonical


def _translated(error: Exception) -> Exception:
    """Return the failure of ours that *error*, if it is aiohttp's, stands for."""
    match error:
        case web.HTTPMethodNotAllowed():
            return MethodRefused("this method is not known here", tuple(sorted(error.allowed_methods)))
        case web.HTTPNotFound():
            return ResourceAbsent("there is nothing under this address")
        case web.HTTPClientError():
            return RequestMalformed(f"the request cannot be used: {error.reason}")
        case web.RequestPayloadError():
            return RequestMalformed("the body does not end as its headers say")
        case _:
            return error
