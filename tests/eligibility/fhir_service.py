"""A small FHIR service over mutual TLS: it verifies our token with our keys, and answers as a test wants it to."""

import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import jwt
from aiohttp import web
from fhir.resources.R4B.coverageeligibilityrequest import CoverageEligibilityRequest

from appliance.simulator.network_pki import CA, NetworkAuthority

FHIR: Final = "application/fhir+json"
NAME: Final = "被保険者 太郎"
"""Somebody's name, in every genuine answer: where it turns up in a log, something personal is there."""

Resource = dict[str, Any]
Answering = Callable[[Resource], Awaitable[web.StreamResponse]]


def answer(asked: Resource, **changes: object) -> Resource:
    """Return the answer to *asked*; a change to None takes a member away."""
    made = {
        "resourceType": "CoverageEligibilityResponse",
        "id": "answer-1",
        "identifier": [{"system": "urn:service:answers", "value": "E-4711"}],
        "status": "active",
        "purpose": ["validation"],
        "patient": {**asked["patient"], "display": NAME},
        "created": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}",
        "request": {"identifier": asked["identifier"][0]},
        "outcome": "complete",
        "insurer": {"display": "健康保険組合"},
        "insurance": [{"coverage": {"display": "1234"}, "inforce": True}],
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}


def outcome(code: str, severity: str = "error") -> Resource:
    """Return an OperationOutcome."""
    issue = {"severity": severity, "code": code, "diagnostics": f"{NAME} is not known"}
    return {"resourceType": "OperationOutcome", "issue": [issue]}


def fhir(content: Resource | bytes, status: int = 200) -> web.Response:
    """Return *content* as FHIR."""
    body = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    return web.Response(body=body, status=status, content_type=FHIR)


async def genuine(asked: Resource) -> web.StreamResponse:
    """Answer that the patient is insured."""
    return fhir(answer(asked))


@dataclass(slots=True)
class FhirService:
    """The service; *jwks* are the keys it knows, and *audience* is whom tokens have to be for."""

    jwks: dict[str, Any] = field(default_factory=dict)
    audience: str = "reception.example.jp"
    answering: Answering = genuine
    url: str = ""
    asked: list[Resource] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    certificates: list[Any] = field(default_factory=list)
    seeing: Callable[[web.Request], Awaitable[web.StreamResponse]] | None = None
    """What answers instead of it."""

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer one question."""
        if self.seeing is not None:
            return await self.seeing(request)
        assert request.transport is not None
        self.certificates.append(request.transport.get_extra_info("peercert"))
        self.headers.append({name.lower(): value for name, value in request.headers.items()})
        scheme, _, token = request.headers["Authorization"].partition(" ")
        try:
            claims = self._verified(token)
        except jwt.PyJWTError:
            return fhir(outcome("login"), 401)
        asked = CoverageEligibilityRequest.model_validate_json(await request.read())
        resource: Resource = json.loads(asked.model_dump_json(exclude_none=True))
        self.asked.append(resource)
        assert scheme == "Bearer"
        if resource["patient"]["identifier"]["value"] != claims["sub"]:
            return fhir(outcome("forbidden"), 403)
        return await self.answering(resource)

    def _verified(self, token: str) -> dict[str, Any]:
        keys = jwt.PyJWKSet.from_dict(self.jwks)
        name = jwt.get_unverified_header(token).get("kid")
        key = next((one for one in keys.keys if one.key_id == name), None)
        if key is None:
            raise jwt.InvalidKeyError
        claims: dict[str, Any] = jwt.decode(token, key, algorithms=["ES256"], audience=self.audience)
        return claims


@asynccontextmanager
async def serving(service: FhirService, tls: ssl.SSLContext) -> AsyncIterator[FhirService]:
    """Serve *service* over *tls*."""
    application = web.Application()
    application.router.add_post("/fhir/CoverageEligibilityRequest/$submit", service.handle)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        service.url = f"https://127.0.0.1:{runner.addresses[0][1]}/fhir"
        yield service
    finally:
        await runner.cleanup()


def certify(folder: Path, authority: NetworkAuthority) -> None:
    """Write certificates of the service and of its client, and what both lead to, into *folder*."""
    authority.save(folder)
    authority.issue_server(folder / "service.pem", ("127.0.0.1",))
    authority.issue_client(folder / "client.pem", "appliance.example.jp")


def server_tls(folder: Path) -> ssl.SSLContext:
    """Return the context of the service whose files are in *folder*: nobody is heard without a client certificate."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=folder / CA)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(folder / "service.pem", folder / "service-key.pem")
    return context


def client_tls(folder: Path, *, own: bool = True) -> ssl.SSLContext:
    """Return the context of the client whose files are in *folder*, with its *own* certificate or none."""
    context = ssl.create_default_context(cafile=folder / CA)
    if own:
        context.load_cert_chain(folder / "client.pem", folder / "client-key.pem")
    return context
