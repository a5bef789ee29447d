"""
How an authentication goes on, as server-sent events (HTML Living Standard, §9.2).

    event: stage   {"stage":"talking"}     whenever it comes to another stage
    event: done    the whole authentication, as it is read otherwise; then the stream ends

Events are numbered. Whoever comes back with `Last-Event-ID` gets what is newer, and 204 where nothing will ever be:
that is what keeps a browser from asking again. A comment now and then shows both ends that the other is still there;
a reader who does not read is cut off by the connection (`connections`).
"""

import re
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import msgspec
from aiohttp import web

from appliance.gateway.jobs import Job, Snapshot

HEADER: Final = "Last-Event-ID"
HEARTBEAT_SECONDS: Final = 15.0
_AGAIN_MILLISECONDS: Final = 2000
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
_NONE: Final = -1
_ENCODER: Final = msgspec.json.Encoder()


def event(name: str, number: int, content: object) -> bytes:
    """Return one event. JSON has no line breaks, so it is one line of data."""
    return b"event: %b\nid: %d\ndata: %b\n\n" % (name.encode(), number, _ENCODER.encode(content))


def last_seen(header: str | None) -> int:
    """Return the number in *header*; what is none of ours counts as nothing seen."""
    return int(header) if header is not None and _NUMBER.fullmatch(header) else _NONE


async def stream(
    request: web.Request, job: Job, show: Callable[[], object], heartbeat_seconds: float
) -> web.StreamResponse:
    """Tell of *job* until it ends; *show* returns what it then is."""
    seen = last_seen(request.headers.get(HEADER))
    if job.now.is_final and job.now.number <= seen:
        return web.Response(status=204)
    # A number that is not reached yet is of nothing that we have told.
    seen = seen if seen <= job.now.number else _NONE
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
    await response.prepare(request)
    # Who follows may leave at any time, and that is no failure: the authentication goes on.
    with suppress(ConnectionResetError):
        await _tell(response, job, seen, show, heartbeat_seconds)
    return response


async def _tell(
    response: web.StreamResponse,
    job: Job,
    seen: int,
    show: Callable[[], object],
    heartbeat_seconds: float,
) -> None:
    await response.write(b"retry: %d\n\n" % _AGAIN_MILLISECONDS)
    now: Snapshot | None = None
    while now is None or not now.is_final:
        now = await job.news(seen, heartbeat_seconds)
        if now is None:
            await response.write(b":\n\n")
        elif now.is_final:
            await response.write(event("done", now.number, show()))
        else:
            await response.write(event("stage", now.number, {"stage": now.phase}))
            seen = now.number
    await response.write_eof()
