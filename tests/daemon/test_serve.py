"""The daemon as reception, Prometheus and systemd know it."""

import asyncio
import shutil
import subprocess
from datetime import UTC, datetime
from typing import Any

import aiohttp
import pytest
from cryptography import x509

from appliance.gateway import token as tokens
from appliance.simulator.card_data import CardData
from tests.daemon.process import ORDER, Daemon, Site, session
from tests.daemon.tls import client_context

AUDIENCE = "reception.example.jp"


async def authenticated(client: aiohttp.ClientSession, **order: object) -> dict[str, Any]:
    """Return the finished authentication of the card at the desk."""
    async with client.post("/v1/authentications?wait=20", json={**ORDER, **order}) as answer:
        assert answer.status == 201, await answer.text()
        found: dict[str, Any] = await answer.json()
        return found


async def test_reception_gets_a_token_that_the_published_keys_verify(daemon: Daemon) -> None:
    """What a reception asks for over the socket comes back signed, for it and with its nonce."""
    with daemon.site.card():
        async with session(daemon.site) as client:
            job = await authenticated(client, nonce="visit-4711")
            assert job["state"] == "authenticated", job
            async with client.get("/.well-known/jwks.json") as answer:
                jwks = await answer.read()
    claims = tokens.verify(job["token"], jwks, AUDIENCE, datetime.now(UTC), "visit-4711")
    assert (claims["terminal"], claims["mode"]) == ("desk-1", "pinless")


async def test_a_scrape_is_clean_and_holds_everything(daemon: Daemon) -> None:
    """`promtool check metrics` has nothing to say, and each metric of the conventions is there from the start."""
    promtool = shutil.which("promtool")
    assert promtool is not None, "promtool is not installed (Debian package prometheus)"
    async with aiohttp.ClientSession() as client, client.get(daemon.metrics) as answer:
        assert answer.headers["Content-Type"].startswith("text/plain")
        scrape = await answer.text()
    checked = subprocess.run(  # noqa: ASYNC221 - nothing else is under way
        (promtool, "check", "metrics"), input=scrape, capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")
    lines = scrape.splitlines()
    for shown in (
        'jpki_hsm_up{hsm="hsm-1"} 1.0',
        'jpki_hsm_workers{hsm="hsm-1",state="ready"} 2.0',
        'jpki_reader_up{reader="desk-1"} 1.0',
        'jpki_terminal_connected{terminal="ward-1"} 0.0',
        'jpki_hsm_errors_total{ckr="CKR_DEVICE_ERROR",class="transient",hsm="hsm-1"} 0.0',
    ):
        assert shown in lines, shown
    assert not [line for line in lines if "Virtual PCD" in line]


async def test_a_scrape_can_be_openmetrics(daemon: Daemon) -> None:
    """Who asks for the newer format gets it."""
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}
    async with aiohttp.ClientSession(headers=accept) as client, client.get(daemon.metrics) as answer:
        assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
        assert (await answer.text()).endswith("# EOF\n")


async def test_the_network_needs_a_certificate(daemon: Daemon) -> None:
    """TLS 1.3 and a certificate of the configured CA; whose it is decides what may be asked."""
    site, url = daemon.site, f"https://localhost:{daemon.site.port}/v1/status"
    async with aiohttp.ClientSession() as client:
        async with client.get(url, ssl=client_context(site, "operator-1")) as answer:
            assert (answer.status, (await answer.json())["ready"]) == (200, True)
        async with client.get(url, ssl=client_context(site, "ward-1")) as answer:
            assert (answer.status, (await answer.json())["code"]) == (403, "access_denied")
        for context in (client_context(site, None), client_context(site, "operator-1", newest=False)):
            with pytest.raises(aiohttp.ClientError):
                await client.get(url, ssl=context)


async def test_logs_are_lines_of_json_without_what_is_personal_or_secret(daemon: Daemon) -> None:
    """Each line names its request; no PIN, name, serial number, key, nonce or token is in any of them."""
    site = daemon.site
    with site.card():
        async with session(site) as client:
            job = await authenticated(client, nonce="PLANTED-NONCE")
            headers = {"Idempotency-Key": "PLANTED-KEY", "X-Request-Id": "request-12345678"}
            await client.post("/v1/authentications", data=b'{"PLANTED-BODY": 1}', headers=headers)
            await client.get("/v1/authentications/PLANTED-ID?PLANTED-QUERY=1", headers=headers)
    assert any(line["request"] == "request-12345678" for line in daemon.logged())
    card = CardData.load(site.folder / "card")
    serial = x509.load_der_x509_certificate(card.certificate).serial_number
    text = daemon.log.read_text()
    for planted in (
        "PLANTED",
        str(serial),
        f"{serial:x}",
        job["token"],
        job["claims"]["sub"],
        (site.folder / "softhsm" / "user.pin").read_text().strip(),
        (site.folder / "pseudonym.key").read_bytes().hex(),
    ):
        assert planted.lower() not in text.lower()


async def test_reading_the_configuration_again_drops_nobody(daemon: Daemon) -> None:
    """Authentications go on, one after another, while it is read again and again, with other HSM settings."""
    site, done = daemon.site, []

    async def keep_asking(client: aiohttp.ClientSession, until: asyncio.Event) -> None:
        while not until.is_set():
            done.append((await authenticated(client))["state"])

    with site.card():
        async with session(site) as client:
            enough = asyncio.Event()
            asking = asyncio.create_task(keep_asking(client, enough))
            for rate in ("60001", "60002"):
                with site.changed(("challenges_per_minute = 60000", f"challenges_per_minute = {rate}")):
                    await asyncio.to_thread(daemon.reload)
            enough.set()
            await asking
    assert len(done) > 3
    assert set(done) == {"authenticated"}


async def test_what_is_read_again_counts(daemon: Daemon) -> None:
    """The next result is of the new issuer's and lasts as it says; what needs a start is named."""
    site = daemon.site
    changes = (
        ("lifetime_seconds = 300", "lifetime_seconds = 77"),
        ("append_seconds = 20.0", "append_seconds = 30.0"),
    )
    with site.card():
        async with session(site) as client:
            with site.changed(*changes):
                await asyncio.to_thread(daemon.reload)
                claims = (await authenticated(client))["claims"]
            assert claims["exp"] - claims["iat"] == 77
            await asyncio.to_thread(daemon.reload)
            claims = (await authenticated(client))["claims"]
            assert claims["exp"] - claims["iat"] == 300
    assert any("from_next_start=ledger" in line["event"] for line in daemon.logged())


async def test_a_bad_configuration_changes_nothing(daemon: Daemon) -> None:
    """What is wrong is logged with its code, and the daemon serves on as before."""
    site = daemon.site
    with site.card():
        async with session(site) as client:
            for change in (
                ('alias = "operator-1"\nrole = "operator"', 'alias = "operator-1"\nrole = "king"'),
                (' = "pseudonym.key"', ' = "nowhere.key"'),
            ):
                with site.changed(change):
                    await asyncio.to_thread(daemon.reload)
            assert (await authenticated(client))["state"] == "authenticated"
    refused = [line for line in daemon.logged() if "code=config_invalid" in line["event"]]
    assert len(refused) == 2


async def test_another_server_certificate_counts_without_a_restart(daemon: Daemon, site: Site) -> None:
    """Who connects after a reload sees the new certificate; who is connected stays."""
    url, path = f"https://localhost:{site.port}/healthz", site.folder / "tls" / "server.pem"
    key, old = path.with_name("server-key.pem"), path.read_bytes()
    old_key = key.read_bytes()
    async with aiohttp.ClientSession() as client:
        async with client.get(url, ssl=client_context(site, "operator-1")) as answer:
            assert answer.status == 200
        site.authority.issue_server(path, ("localhost", "renewed.example.jp"))
        await asyncio.to_thread(daemon.reload)
        async with client.get(url, ssl=client_context(site, "operator-1")) as answer:
            assert answer.status == 200
        _, writer = await asyncio.open_connection(
            "localhost",
            site.port,
            ssl=client_context(site, "operator-1"),
            server_hostname="renewed.example.jp",
        )
        writer.close()
        await writer.wait_closed()
    path.write_bytes(old)
    key.write_bytes(old_key)
    await asyncio.to_thread(daemon.reload)
