"""What only pretends to be an appliance: it answers as it was told, one answer for each request, and notes the requests."""

import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

Play = Callable[[web.Request], web.StreamResponse | None]


@dataclass(slots=True)
class Pretender:
    """Plays *script*, then its last line for ever. None in it is a connection that is cut."""

    script: list[Play]
    heard: list[tuple[str, str, str | None, bytes]] = field(default_factory=list)
    """Method, path with query, Idempotency-Key, body."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Play the next line."""
        key = request.headers.get("Idempotency-Key")
        self.heard.append((request.method, request.path_qs, key, await request.read()))
        play = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        played = play(request)
        if played is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return played


@contextlib.asynccontextmanager
async def pretending(place: Path, *script: Play) -> AsyncIterator[Pretender]:
    """Have a pretender with *script* answer at the Unix socket *place*."""
    pretender = Pretender(list(script))
    application = web.Application()
    application.router.add_route("*", "/{anything:.*}", pretender.answer)
    runner = web.AppRunner(application, handler_cancellation=True)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(place)).start()
        yield pretender
    finally:
        await runner.cleanup()


def cut(_request: web.Request) -> None:
    """Cut the connection."""


def says(document: object, status: int = 200, **headers: str) -> Play:
    """Answer with a JSON *document*."""
    return lambda _request: web.json_response(document, status=status, headers=headers)


def problem(code: str, status: int, **headers: str) -> Play:
    """Answer with the problem *code*."""
    members = {
        "code": code,
        "status": status,
        "title": "T",
        "clerk": "C",
        "operator": "O",
        "request_id": "request-1",
    }
    return lambda _request: web.json_response(
        members,
        status=status,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        content_type="application/problem+json",
    )


def job(state: str, **members: object) -> dict[str, object]:
    """Return an authentication as it is shown."""
    return {"id": "job-1", "state": state, "desk": "desk-1", "mode": "pinless", **members}
