"""
Knowledge from an OCSP responder, asked over HTTP (RFC 6960 Appendix A).

One question, one answer, bounded in time and size; no redirect, no proxy of the environment. Answers are kept in memory
until their own end, and nowhere else: the law allows their use for this check alone.
"""

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, Self

import aiohttp
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import (
    CertificateRevoked,
    CertificateUnknown,
    RevocationDataInvalid,
    RevocationDefect,
    RevocationUnavailable,
)
from appliance.trust import ocsp
from appliance.trust.certificates import HolderCertificate
from appliance.trust.ocsp import Answer, Identifier, Status
from appliance.trust.revocation import Assurance, Method, OcspAnswer, Revocation, Standing

MOST_KEPT: Final = 10_000
"""Answers in memory, of about 2,000 bytes each."""
_TYPE: Final = "application/ocsp-response"
_CHUNK: Final = 16 << 10


@dataclass(frozen=True, slots=True)
class _Kept:
    answer: Answer
    basis: OcspAnswer
    received: datetime


@dataclass(slots=True)
class Responder:
    """
    The responder at *url*; an async context manager. *tls* has the client certificate where one is asked for.

    An answer counts from memory until its nextUpdate, and no longer than *longest_age*.
    """

    url: str
    seconds: float
    longest_age: timedelta
    random: Callable[[int], bytes]
    tls: ssl.SSLContext | None = None
    identifier: Identifier = Identifier.SHA256
    """How requests name certificates."""
    _session: aiohttp.ClientSession | None = field(default=None, repr=False)
    _kept: OrderedDict[tuple[bytes, int], _Kept] = field(default_factory=OrderedDict, repr=False)

    method = Method.OCSP

    async def __aenter__(self) -> Self:
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=self.seconds),
            connector=aiohttp.TCPConnector(ssl=True if self.tls is None else self.tls, limit=16),
            auto_decompress=False,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def check(self, holder: HolderCertificate, now: datetime) -> Standing:
        """
        Return that *holder* is good, or refuse.

        Raises CertificateRevoked, CertificateUnknown, RevocationUnavailable where there is no answer, and
        RevocationDataInvalid for one that does not count.
        """
        key = (holder.issuer.public_bytes(Encoding.DER), holder.certificate.serial_number)
        kept = self._kept.get(key)
        if kept is not None and self._counts(kept, now):
            return _standing(kept, now, Assurance.CACHED)
        self._kept.pop(key, None)
        nonce = self.random(ocsp.NONCE_LENGTH)
        response = await self._ask(ocsp.request(holder, nonce, self.identifier))
        answer = ocsp.verify(response, holder, nonce, now)
        fresh = _Kept(answer, OcspAnswer(response, nonce), now)
        if answer.next_update is not None and answer.status is not Status.UNKNOWN:
            self._kept[key] = fresh
            if len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return _standing(fresh, now, Assurance.ONLINE)

    def _counts(self, kept: _Kept, now: datetime) -> bool:
        # A clock that was set back makes an answer come from the future; it is asked for again.
        end = kept.answer.next_update
        return end is not None and kept.received <= now <= min(
            end, kept.answer.this_update + self.longest_age
        )

    async def _ask(self, request: bytes) -> bytes:
        if self._session is None:
            raise ValueError("the responder is asked inside its context")
        try:
            async with self._session.post(
                self.url,
                data=request,
                headers={"Content-Type": "application/ocsp-request", "Accept": _TYPE},
                allow_redirects=False,
            ) as answer:
                if answer.status != 200:
                    raise RevocationUnavailable(
                        f"the OCSP responder answered with HTTP status {answer.status}"
                    )
                if answer.content_type != _TYPE:
                    raise RevocationDataInvalid(
                        RevocationDefect.MALFORMED, "the answer is not of OCSP's media type"
                    )
                return await _bounded(answer.content)
        except TimeoutError as error:
            raise RevocationUnavailable(f"the OCSP responder did not answer in {self.seconds:g} s") from error
        except (aiohttp.ClientError, OSError, asyncio.IncompleteReadError) as error:
            raise RevocationUnavailable("the OCSP responder cannot be reached") from error


async def _bounded(stream: aiohttp.StreamReader) -> bytes:
    content = bytearray()
    while chunk := await stream.read(_CHUNK):
        content += chunk
        if len(content) > ocsp.LARGEST:
            raise RevocationDataInvalid(
                RevocationDefect.TOO_LARGE, f"the answer has more than {ocsp.LARGEST} bytes"
            )
    return bytes(content)


def _standing(kept: _Kept, now: datetime, assurance: Assurance) -> Standing:
    answer = kept.answer
    match answer.status:
        case Status.REVOKED:
            raise CertificateRevoked(
                f"the responder says revoked, as of {answer.this_update:%Y-%m-%d %H:%M} UTC"
            )
        case Status.UNKNOWN:
            raise CertificateUnknown("the responder does not know the certificate")
        case Status.GOOD:
            return Standing(
                Revocation.GOOD,
                assurance,
                Method.OCSP,
                now,
                answer.this_update,
                answer.next_update,
                kept.basis,
            )
