"""Asking an OCSP responder: OpenSSL's as a real process, and bad ones of our own over real HTTP."""

import asyncio
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from appliance.errors import (
    CertificateRevoked,
    CertificateUnknown,
    RevocationDataInvalid,
    RevocationDefect,
    RevocationUnavailable,
)
from appliance.revocation.responder import Responder
from appliance.simulator.key_files import private_pem
from appliance.simulator.openssl_responder import OpensslResponder, Status
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import HolderCertificate
from appliance.trust.ocsp import LARGEST, Identifier
from appliance.trust.revocation import Assurance, Method, OcspAnswer, Revocation

DAY = timedelta(days=1)
Answering = Callable[[bytes], Awaitable[web.StreamResponse]]


@pytest.fixture
def moment() -> datetime:
    """Return when one test takes place: the library writes the time at which it makes an answer into it."""
    return datetime.now(UTC).replace(microsecond=0)


def asking(url: str, *, seconds: float = 10, tls: ssl.SSLContext | None = None) -> Responder:
    """Return a client of the responder at *url*."""
    numbers = iter(range(1, 255))
    return Responder(url, seconds, DAY, lambda length: bytes([next(numbers)]) * length, tls)


@pytest.mark.parametrize("status", Status)
async def test_openssl_answers(
    status: Status, hierarchy: Hierarchy, holder: HolderCertificate, tmp_path: Path
) -> None:
    """OpenSSL's responder says good, revoked or unknown, and each is a result of its own."""
    now = datetime.now(UTC)
    with OpensslResponder(hierarchy.holders, tmp_path, {holder.certificate: status}) as server:
        async with asking(server.url) as responder:
            match status:
                case Status.GOOD:
                    standing = await responder.check(holder, now)
                    assert (standing.result, standing.method) == (Revocation.GOOD, Method.OCSP)
                    assert standing.assurance is Assurance.ONLINE
                case Status.REVOKED:
                    with pytest.raises(CertificateRevoked):
                        await responder.check(holder, now)
                case Status.UNKNOWN:
                    with pytest.raises(CertificateUnknown):
                        await responder.check(holder, now)


@pytest.mark.parametrize("identifier", Identifier)
async def test_certificates_are_named_as_the_responder_knows_them(
    identifier: Identifier, hierarchy: Hierarchy, holder: HolderCertificate, tmp_path: Path
) -> None:
    """A request names the certificate by the hash that is configured; OpenSSL's responder answers by the same."""
    with OpensslResponder(hierarchy.holders, tmp_path, {holder.certificate: Status.GOOD}) as server:
        asked = asking(server.url)
        asked.identifier = identifier
        async with asked as responder:
            standing = await responder.check(holder, datetime.now(UTC))
    assert isinstance(standing.basis, OcspAnswer)
    said = ocsp.load_der_ocsp_response(standing.basis.response).hash_algorithm
    assert said.name == identifier


async def test_an_answer_is_kept_until_its_end(
    hierarchy: Hierarchy, holder: HolderCertificate, moment: datetime
) -> None:
    """A second question within nextUpdate is answered from memory, and the result says so."""
    genuine = Answers(hierarchy, holder, moment)
    async with serving(genuine.answer) as url, asking(url) as responder:
        first = await responder.check(holder, moment)
        second = await responder.check(holder, moment + timedelta(minutes=30))
        assert (first.assurance, second.assurance) == (Assurance.ONLINE, Assurance.CACHED)
        assert second.basis == first.basis
        assert second.this_update == first.this_update
        assert genuine.asked == 1
        with pytest.raises(RevocationDataInvalid):
            await responder.check(holder, moment + timedelta(hours=2))
        assert genuine.asked == 2


@dataclass(slots=True)
class Answers:
    """A responder with the hierarchy's own key; each field is a way in which an answer can be wrong."""

    hierarchy: Hierarchy
    holder: HolderCertificate
    now: datetime
    nonce: bytes | None = None
    without_nonce: bool = False
    about: x509.Certificate | None = None
    this_update: timedelta = timedelta()
    next_update: timedelta | None = timedelta(hours=1)
    signer: int = 1
    without_certificate: bool = False
    tampered: bool = False
    status: ocsp.OCSPResponseStatus = ocsp.OCSPResponseStatus.SUCCESSFUL
    asked: int = field(default=0)

    async def answer(self, request: bytes) -> web.StreamResponse:
        """Answer as the fields say."""
        self.asked += 1
        content = bytearray(self.response(request))
        if self.tampered:
            content[-1] ^= 1
        return web.Response(body=bytes(content), content_type="application/ocsp-response")

    def response(self, request: bytes) -> bytes:
        """Return the response to *request*."""
        if self.status is not ocsp.OCSPResponseStatus.SUCCESSFUL:
            return ocsp.OCSPResponseBuilder.build_unsuccessful(self.status).public_bytes(Encoding.DER)
        asked = ocsp.load_der_ocsp_request(request)
        nonce = asked.extensions.get_extension_for_class(x509.OCSPNonce).value.nonce
        generation = self.hierarchy.holders.generations[self.signer]
        start = self.now + self.this_update
        builder = (
            ocsp.OCSPResponseBuilder()
            .add_response(
                self.about or self.holder.certificate,
                self.holder.issuer,
                SHA256(),
                ocsp.OCSPCertStatus.GOOD,
                start,
                None if self.next_update is None else start + self.next_update,
                None,
                None,
            )
            .responder_id(ocsp.OCSPResponderEncoding.HASH, generation.responder)
        )
        if not self.without_certificate:
            builder = builder.certificates([generation.responder])
        if not self.without_nonce:
            builder = builder.add_extension(x509.OCSPNonce(self.nonce or nonce), critical=False)
        return builder.sign(self.hierarchy.holders.responder_key, SHA256()).public_bytes(Encoding.DER)


@asynccontextmanager
async def serving(answering: Answering, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """Serve *answering* over HTTP, and give the address."""

    async def handle(request: web.Request) -> web.StreamResponse:
        assert request.content_type == "application/ocsp-request"
        return await answering(await request.read())

    application = web.Application()
    application.router.add_post("/", handle)
    runner = web.AppRunner(application, shutdown_timeout=0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
        await site.start()
        host, port = runner.addresses[0][:2]
        yield f"{'http' if tls is None else 'https'}://{host}:{port}/"
    finally:
        await runner.cleanup()


HOURS = timedelta(hours=1)
DEFECTS = [
    ({"nonce": bytes(32)}, RevocationDefect.NONCE),
    ({"without_nonce": True}, RevocationDefect.NONCE),
    ({"this_update": -2 * HOURS}, RevocationDefect.STALE),
    ({"this_update": -2 * HOURS, "next_update": None}, RevocationDefect.STALE),
    ({"this_update": HOURS}, RevocationDefect.FUTURE),
    ({"signer": 0}, RevocationDefect.RESPONDER),
    ({"without_certificate": True}, RevocationDefect.RESPONDER),
    ({"tampered": True}, RevocationDefect.MALFORMED),
    ({"status": ocsp.OCSPResponseStatus.TRY_LATER}, RevocationDefect.RESPONDER),
    ({"status": ocsp.OCSPResponseStatus.UNAUTHORIZED}, RevocationDefect.RESPONDER),
]


@pytest.mark.parametrize(("defect", "reason"), DEFECTS, ids=str)
async def test_each_bad_answer_has_its_reason(
    defect: dict[str, object],
    reason: RevocationDefect,
    hierarchy: Hierarchy,
    holder: HolderCertificate,
    moment: datetime,
) -> None:
    """An answer with just this defect is refused for just this reason, and not kept."""
    answers = Answers(hierarchy, holder, moment, **defect)  # type: ignore[arg-type]
    async with serving(answers.answer) as url, asking(url) as responder:
        for _ in range(2):
            with pytest.raises(RevocationDataInvalid) as caught:
                await responder.check(holder, moment)
            assert caught.value.reason is reason or answers.tampered
        assert answers.asked == 2


async def test_an_answer_about_another_certificate_is_refused(
    hierarchy: Hierarchy, holder: HolderCertificate, moment: datetime
) -> None:
    """Whom the answer is about is compared before anything is made of it."""
    other = x509.load_der_x509_certificate(hierarchy.issue_card(now=moment).certificate)
    async with (
        serving(Answers(hierarchy, holder, moment, about=other).answer) as url,
        asking(url) as responder,
    ):
        with pytest.raises(RevocationDataInvalid) as caught:
            await responder.check(holder, moment)
        assert caught.value.reason is RevocationDefect.CERTIFICATE


async def test_a_large_answer_is_not_read_to_its_end(holder: HolderCertificate, moment: datetime) -> None:
    """What is longer than any answer is refused after that many bytes."""

    async def large(_: bytes) -> web.StreamResponse:
        return web.Response(body=bytes(4 * LARGEST), content_type="application/ocsp-response")

    async with serving(large) as url, asking(url) as responder:
        with pytest.raises(RevocationDataInvalid) as caught:
            await responder.check(holder, moment)
        assert caught.value.reason is RevocationDefect.TOO_LARGE


async def test_a_slow_responder_is_not_waited_for(holder: HolderCertificate, moment: datetime) -> None:
    """A responder that never ends its answer is given up after the configured time."""
    ended = asyncio.Event()

    async def slow(_: bytes) -> web.StreamResponse:
        await ended.wait()
        return web.Response()

    async with serving(slow) as url, asking(url, seconds=0.2) as responder:
        try:
            with pytest.raises(RevocationUnavailable, match=r"0\.2 s"):
                await responder.check(holder, moment)
        finally:
            ended.set()


@pytest.mark.parametrize(
    ("status", "kind", "refusal"),
    [
        (500, "application/ocsp-response", RevocationUnavailable),
        (302, "application/ocsp-response", RevocationUnavailable),
        (200, "text/html", RevocationDataInvalid),
    ],
)
async def test_what_is_not_an_answer_is_refused(
    status: int,
    kind: str,
    refusal: type[Exception],
    holder: HolderCertificate,
    moment: datetime,
) -> None:
    """Another status, a redirect, or another media type is no answer."""

    async def other(_: bytes) -> web.StreamResponse:
        return web.Response(status=status, content_type=kind, headers={"Location": "/"})

    async with serving(other) as url, asking(url) as responder:
        with pytest.raises(refusal):
            await responder.check(holder, moment)


async def test_nobody_there_is_unavailable(holder: HolderCertificate, moment: datetime) -> None:
    """A responder that does not listen is unavailable."""
    async with serving(Answers.answer) as url:  # type: ignore[arg-type]
        gone = url
    async with asking(gone) as responder:
        with pytest.raises(RevocationUnavailable):
            await responder.check(holder, moment)


@pytest.fixture
def identity(hierarchy: Hierarchy, tmp_path: Path) -> tuple[Path, Path]:
    """Return certificate and key of somebody on this machine."""
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    key.write_bytes(private_pem(hierarchy.holders.responder_key))
    subprocess.run(
        (
            *("openssl", "req", "-x509", "-key", key, "-out", certificate, "-days", "2"),
            *("-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"),
        ),
        check=True,
    )
    return certificate, key


async def test_a_client_certificate_is_shown_where_it_is_asked_for(
    hierarchy: Hierarchy, holder: HolderCertificate, moment: datetime, identity: tuple[Path, Path]
) -> None:
    """A responder behind mutual TLS answers whoever has the certificate, and nobody else."""
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=identity[0])
    server.load_cert_chain(*identity)
    server.verify_mode = ssl.CERT_REQUIRED
    known, unknown = (
        ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=identity[0]) for _ in range(2)
    )
    known.load_cert_chain(*identity)
    async with AsyncExitStack() as parts:
        url = await parts.enter_async_context(serving(Answers(hierarchy, holder, moment).answer, server))
        responder = await parts.enter_async_context(asking(url, tls=known))
        assert (await responder.check(holder, moment)).result is Revocation.GOOD
        stranger = await parts.enter_async_context(asking(url, tls=unknown))
        with pytest.raises(RevocationUnavailable):
            await stranger.check(holder, moment)
