"""
The ledger for auditors: `/v1/log/`, with the paths of C2SP tlog-tiles below it.

    checkpoint           the newest signed note
    tile/...             hashes, and bundles of entries, as files that never change once they are full
    entries/INDEX        one entry
    proofs/INDEX         that it is under the newest checkpoint (C2SP tlog-proof)

All is read from the store beside the log's writer, which does not notice.
"""

import re
from typing import Final

from aiohttp import web

from appliance.errors import ResourceAbsent
from appliance.gateway import http
from appliance.gateway.services import SERVICES

_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,15}")
_PARTIAL: Final = ".p/"
_FOREVER: Final = "private, max-age=31536000, immutable"
_BYTES: Final = "application/octet-stream"


def routes() -> list[web.RouteDef]:
    """Return where the ledger is found."""
    return [
        http.get("/v1/log/checkpoint", _checkpoint),
        http.get("/v1/log/tile/{path:.+}", _tile),
        http.get("/v1/log/entries/{index}", _entry),
        http.get("/v1/log/proofs/{index}", _proof),
    ]


async def _checkpoint(request: web.Request) -> web.Response:
    http.no_query(request)
    services = request.app[SERVICES]
    return _text(await services.reading.run(services.log.checkpoint))


async def _tile(request: web.Request) -> web.Response:
    http.no_query(request)
    services, path = request.app[SERVICES], "tile/" + request.match_info["path"]
    content = await services.reading.run(lambda: services.log.tile(path))
    # A partial tile stays as it is, too; but the full one takes its place, and is the one worth keeping.
    headers = {} if _PARTIAL in path else {"Cache-Control": _FOREVER}
    return web.Response(body=content, content_type=_BYTES, headers=headers)


async def _entry(request: web.Request) -> web.Response:
    http.no_query(request)
    services, index = request.app[SERVICES], _index(request)
    content = await services.reading.run(lambda: services.log.entry(index))
    return web.Response(body=content, content_type=http.JSON)


async def _proof(request: web.Request) -> web.Response:
    http.no_query(request)
    services, index = request.app[SERVICES], _index(request)
    return _text(await services.reading.run(lambda: services.log.proof(index)))


def _index(request: web.Request) -> int:
    named = request.match_info["index"]
    if _INDEX.fullmatch(named) is None:
        raise ResourceAbsent("this is no index of an entry")
    return int(named)


def _text(content: bytes) -> web.Response:
    return web.Response(body=content, content_type="text/plain", charset="utf-8")
