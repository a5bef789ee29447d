"""
Requests to an appliance and their answers, within bounds: of size, of time, of how often.

    once          one request. Nobody is followed elsewhere, no proxy is asked, no cookie kept, nothing unpacked
    persistently  the same again while there is time: where the connection was lost, and where the appliance says when
"""

import asyncio
import math
import random
import secrets
from dataclasses import dataclass
from typing import Final

import aiohttp

from appliance.client.address import Address
from appliance.client.answers import Problem, decoded
from appliance.client.refused import Refused
from appliance.errors import ApplianceAnswerInvalid, ApplianceUnreachable

LARGEST_ANSWER: Final = 4 << 20
"""Bytes. A front has three images; evidence and token are far smaller."""
_PROBLEM: Final = "application/problem+json"
_CONNECT_SECONDS: Final = 10.0
_LEAST_SECONDS: Final = 2.0
"""Also at the end of all patience, so that what has just ended is still heard of."""
_FIRST_PAUSE: Final = 0.2
_LONGEST_PAUSE: Final = 5.0
_FROM_BETWEEN: Final = frozenset({502, 503, 504})
"""What a load balancer says where it reaches nobody."""
_NEVER_SENT: Final = (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)
_COME_AGAIN: Final = frozenset({429, 503})
_HALFWAY: Final = 500
"""What an appliance says that has failed at something, which may be the answer to what it has begun."""


class Deadline:
    """A moment, some *seconds* from now, at which patience ends."""

    def __init__(self, seconds: float) -> None:
        self._end = asyncio.get_running_loop().time() + seconds

    def left(self) -> float:
        """Return the seconds until then, 0 at least."""
        return max(0.0, self._end - asyncio.get_running_loop().time())


@dataclass(frozen=True, slots=True)
class Ask:
    """One request: what is asked, and how many *seconds* an answer may take."""

    method: str
    path: str
    body: bytes | None = None
    key: str | None = None
    """Idempotency-Key."""
    seconds: float = 15.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request was answered with."""

    body: bytes
    request_id: str

    def __repr__(self) -> str:
        return f"Answer({len(self.body)} bytes)"


@dataclass(slots=True)
class Delivery:
    """What is known of a request, however often it was sent."""

    may_have_arrived: bool = False
    """Not where nothing could be sent, nor where the appliance has refused all that was, knowing what it did."""


class Exchange:
    """An open session with the appliance at *address*; people's texts are asked for in *language*."""

    def __init__(self, address: Address, language: str) -> None:
        self._url = address.url
        self._session = aiohttp.ClientSession(
            connector=address.connector(),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"Accept-Language": language, "Accept-Encoding": "identity"},
            trust_env=False,
            auto_decompress=False,
            raise_for_status=False,
        )

    async def close(self) -> None:
        """Close all connections."""
        await self._session.close()

    async def persistently(self, ask: Ask, deadline: Deadline, delivery: Delivery | None = None) -> Answer:
        """
        Return the answer to *ask*, sent again until the *deadline* where that may help; *delivery* is kept.

        Raises as `once`; what is asked must do no harm when it arrives twice.
        """
        pause = _FIRST_PAUSE
        delivery = delivery or Delivery()
        while True:
            had_arrived, delivery.may_have_arrived = delivery.may_have_arrived, True
            try:
                return await self.once(ask, max(_LEAST_SECONDS, deadline.left()))
            except ApplianceUnreachable as error:
                delivery.may_have_arrived = had_arrived or not isinstance(error.__cause__, _NEVER_SENT)
                if isinstance(error.__cause__, aiohttp.ClientSSLError):
                    raise
                # Which moment of the pause is drawn is no secret; that not all come back at once matters.
                wait = pause * (0.5 + random.random() / 2)  # noqa: S311
                pause = min(_LONGEST_PAUSE, 2 * pause)
                if deadline.left() <= wait:
                    raise
            except Refused as error:
                delivery.may_have_arrived = had_arrived or error.problem.status == _HALFWAY
                if error.retry_after is None or error.problem.status not in _COME_AGAIN:
                    raise
                wait = error.retry_after
                if deadline.left() <= wait:
                    raise
            await asyncio.sleep(wait)

    async def once(self, ask: Ask, most: float = math.inf) -> Answer:
        """Return the answer to *ask* within *most* seconds, or raise Refused, ApplianceUnreachable, ApplianceAnswerInvalid."""
        request_id = secrets.token_hex(16)
        headers = {"X-Request-Id": request_id}
        if ask.body is not None:
            headers["Content-Type"] = "application/json"
        if ask.key is not None:
            headers["Idempotency-Key"] = ask.key
        try:
            async with self._session.request(
                ask.method,
                self._url + ask.path,
                data=ask.body,
                headers=headers,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=min(ask.seconds, most), connect=_CONNECT_SECONDS),
            ) as response:
                return await _taken(response, request_id)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The kind of error says enough; its words may quote what was sent.
            raise ApplianceUnreachable(
                f"the appliance did not answer ({type(error).__name__})", request_id
            ) from error
        except ValueError as error:
            raise ApplianceAnswerInvalid("the answer is no HTTP", request_id) from error


async def _taken(response: aiohttp.ClientResponse, request_id: str) -> Answer:
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise ApplianceAnswerInvalid("the answer is longer than any that is meant", request_id)
    if 200 <= response.status < 300:
        return Answer(bytes(body), request_id)
    if response.content_type == _PROBLEM and response.status >= 400:
        raise Refused(decoded(bytes(body), Problem, request_id), _seconds(response))
    if response.status in _FROM_BETWEEN:
        raise ApplianceUnreachable(f"something in between answered with {response.status}", request_id)
    raise ApplianceAnswerInvalid(f"status {response.status} without a problem", request_id)


def _seconds(response: aiohttp.ClientResponse) -> float | None:
    text = response.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() and len(text) <= 6 else None
