"""
The connector that ships: a FHIR R4 service, asked by `CoverageEligibilityRequest/$submit` over mutual TLS.

One question, one answer, bounded in time and size, on a connection of its own; no redirect, no proxy of the environment,
no cookie. The result token goes as bearer (RFC 6750 §2.1), and nowhere else.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final

import aiohttp

from appliance.eligibility import fhir_documents
from appliance.eligibility.fhir_documents import MEDIA_TYPE, OTHER, Insurer, Models
from appliance.eligibility.service import Answer, Question, Setup
from appliance.errors import (
    ConfigInvalid,
    EligibilityAnswerInvalid,
    EligibilityError,
    EligibilityRefused,
    EligibilityTimeout,
    EligibilityUnavailable,
)

_OPERATION: Final = "/CoverageEligibilityRequest/$submit"
_CHUNK: Final = 16 << 10
_AT_ONCE: Final = 16
_LATER: Final = frozenset((408, 425, 429))
_REASONS: Final = {401: "login", 403: "forbidden", 404: "not-found"}
"""What a status says that comes without an OperationOutcome."""


def connect(setup: Setup) -> AbstractAsyncContextManager["Fhir"]:
    """Return the service that *setup* describes (`service.Connect`); raise EligibilityPartMissing, ConfigInvalid."""
    insurer = None
    for name, value in setup.options.items():
        system, _, number = value.partition("|")
        if name != "insurer" or not system or not number:
            raise ConfigInvalid(
                "eligibility.options: the connector 'fhir' knows insurer = \"SYSTEM|NUMBER\" alone"
            )
        insurer = Insurer(system, number)
    fhir_documents.require_models()
    return _connected(setup, insurer)


@asynccontextmanager
async def _connected(setup: Setup, insurer: Insurer | None) -> AsyncIterator["Fhir"]:
    models = await asyncio.to_thread(fhir_documents.models)
    # Validation holds a processor for a moment. A thread of its own keeps the event loop free, and one is enough.
    reading = ThreadPoolExecutor(1, thread_name_prefix="eligibility")
    try:
        async with aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=setup.seconds),
            connector=aiohttp.TCPConnector(ssl=setup.tls, limit=_AT_ONCE, force_close=True),
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
        ) as session:
            yield Fhir(setup, insurer, models, session, reading)
    finally:
        reading.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True, slots=True)
class Fhir:
    """Fits `service.EligibilityService`."""

    setup: Setup
    insurer: Insurer | None
    models: Models
    session: aiohttp.ClientSession
    reading: ThreadPoolExecutor

    async def ask(self, question: Question) -> Answer:
        """Return the answer to *question*, or raise."""
        identity = self.setup.new_id()
        body = fhir_documents.request(question, identity, self.setup.clock(), self.insurer)
        # What we ask with is FHIR, too: where it were not, that would be our own bug.
        self.models.request(body)
        content = await self._post(question, json.dumps(body).encode())
        read = partial(fhir_documents.answer, content, question, identity, self.models)
        return await asyncio.get_running_loop().run_in_executor(self.reading, read)

    async def _post(self, question: Question, body: bytes) -> bytes:
        try:
            async with self.session.post(
                self.setup.url.rstrip("/") + _OPERATION,
                data=body,
                headers={
                    "Authorization": f"Bearer {question.token}",
                    "Content-Type": MEDIA_TYPE,
                    "Accept": MEDIA_TYPE,
                    "Accept-Encoding": "identity",
                    "X-Request-Id": question.request_id,
                },
                allow_redirects=False,
            ) as response:
                if response.status != 200:
                    raise await self._failure(response)
                _require_fhir(response)
                return await self._bounded(response.content)
        except TimeoutError as error:
            raise EligibilityTimeout(f"the service did not answer in {self.setup.seconds:g} s") from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise EligibilityUnavailable("the service cannot be reached, or broke off") from error

    async def _failure(self, response: aiohttp.ClientResponse) -> EligibilityError:
        """Return what an answer that is not 200 means."""
        status = response.status
        if status >= 500 or status in _LATER:
            return EligibilityUnavailable(f"the service answered with HTTP status {status}")
        if status < 400:
            return EligibilityAnswerInvalid(f"the service answered with HTTP status {status}")
        if response.content_type == MEDIA_TYPE:
            _require_fhir(response)
            content = await self._bounded(response.content)
            read = partial(fhir_documents.failure, content, self.models)
            return await asyncio.get_running_loop().run_in_executor(self.reading, read)
        reason = _REASONS.get(status, OTHER)
        return EligibilityRefused(f"the service answered with HTTP status {status}", reason)

    async def _bounded(self, stream: aiohttp.StreamReader) -> bytes:
        content = bytearray()
        while chunk := await stream.read(_CHUNK):
            content += chunk
            if len(content) > self.setup.largest_bytes:
                raise EligibilityAnswerInvalid(f"the answer has more than {self.setup.largest_bytes} bytes")
        return bytes(content)


def _require_fhir(response: aiohttp.ClientResponse) -> None:
    if response.content_type != MEDIA_TYPE or (response.charset or "utf-8").lower() != "utf-8":
        raise EligibilityAnswerInvalid(f"the answer is not {MEDIA_TYPE} in UTF-8")
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise EligibilityAnswerInvalid("the answer is packed, which nobody asked for")
