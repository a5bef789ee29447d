"""The client against the daemon: HSM, card and ledger are real ones, over the socket and over TLS."""

import asyncio
import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from appliance.catalogue import Language
from appliance.client import (
    ApplianceUnreachable,
    Client,
    FaceCheck,
    Front,
    Network,
    Printed,
    Refused,
    Socket,
    VisualCheck,
    told,
)
from appliance.errors import BY_CODE
from appliance.simulator.card_data import CardData
from appliance.simulator.network_pki import CA
from tests.daemon.process import ORDER, Daemon, Site

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
AUDIENCE = "reception.example.jp"
OPERATOR = "operator-1"
DESK = str(ORDER["desk"])
DEVICE = ORDER["identity_check"]["device"]  # type: ignore[index]  # a dictionary in a dictionary of objects


def client_at(site: Site, language: Language = Language.EN) -> Client:
    """Return a client on the socket of the daemon at *site*."""
    return Client(Socket(site.socket), audience=AUDIENCE, language=language)


def printed_on(card: CardData) -> tuple[date, int, str]:
    """Return birth date, year of expiry and security code of *card*; the era of the date is not in 照合番号B."""
    found = re.search(rb"\xdf\x22\x08([0-9]{8})", b"".join((*card.surface.values(), *card.text.values())))
    assert found is not None
    number = card.secrets.number_b
    return date.fromisoformat(found[1].decode()), int(number[6:10]), number[10:]


def run(example: str, *arguments: str) -> str:
    """Return what an example prints."""
    done = subprocess.run(
        (sys.executable, EXAMPLES / example, *arguments), capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


async def test_a_card_at_a_desk_becomes_a_verified_result(daemon: Daemon) -> None:
    """One call: nonce, wait, keys, signature, audience, time; the evidence comes along where it is asked for."""
    with daemon.site.card():
        async with client_at(daemon.site) as client:
            first = await client.authenticate(DESK, "pinless", FaceCheck(DEVICE), evidence=True)
            second = await client.authenticate(DESK, "pinless", FaceCheck(DEVICE), nonce="visit-4711")
    assert first.claims.sub == second.claims.sub
    assert first.claims.nonce != second.claims.nonce == "visit-4711"
    assert (first.evidence is not None, second.evidence) == (True, None)
    assert first.claims.log.index < second.claims.log.index


async def test_a_refusal_speaks_to_people(daemon: Daemon) -> None:
    """In the language that was asked for, with the number under which the log has it."""
    async with client_at(daemon.site, Language.JA) as client:
        with pytest.raises(Refused) as caught:
            await client.authenticate("desk-9", "pin")
    shown = told(caught.value, Language.JA)
    assert (shown.code, caught.value.problem.status) == ("desk_unknown", 404)
    assert shown.title.endswith("。")
    assert any(line["request"] == shown.request_id for line in daemon.logged())


async def test_who_gives_up_frees_the_desk(daemon: Daemon) -> None:
    """A cancelled task leaves no authentication that waits for a card, so the next one finds the desk free."""
    async with client_at(daemon.site) as client:
        waiting = asyncio.create_task(client.authenticate(DESK, "pinless", FaceCheck(DEVICE)))
        while {desk.desk: desk.state for desk in await client.desks()}[DESK] != "busy":  # noqa: ASYNC110 - nobody calls
            await asyncio.sleep(0.02)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        with daemon.site.card():
            await client.authenticate(DESK, "pinless", FaceCheck(DEVICE))


async def test_the_front_is_read_for_the_staff(daemon: Daemon) -> None:
    """Images come as PNG, and none of it is in any repr; a wrong number is told with the tries that are left."""
    site = daemon.site
    birth, year, code = printed_on(CardData.load(site.folder / "card"))
    with site.card():
        async with client_at(site) as client:
            with pytest.raises(Refused) as caught:
                await client.read_front(DESK, birth, year - 1, code)
            assert caught.value.problem.tries_left is not None
            front = await client.read_front(DESK, birth, year, code)
    assert (front.birth, front.photo[:4], repr(front)) == (birth, b"\x89PNG", "Front()")


async def test_the_visual_check_is_made_in_the_same_session(daemon: Daemon) -> None:
    """The front is shown to whoever compares; what they say decides, and the card stays where it is."""
    site = daemon.site
    printed = Printed(*printed_on(CardData.load(site.folder / "card")))
    said = [True, False]
    seen: list[Front] = []

    async def compare(front: Front) -> bool:
        seen.append(front)
        return said.pop(0)

    check = VisualCheck(OPERATOR, printed, compare)
    with site.card():
        async with client_at(site) as client:
            result = await client.authenticate(DESK, "pinless", check)
            with pytest.raises(Refused) as caught:
                await client.authenticate(DESK, "pinless", check)
    assert result.claims.identity_check["operator"] == OPERATOR
    assert caught.value.code == "holder_not_matched"
    assert [front.photo[:4] for front in seen] == [b"\x89PNG"] * 2


async def test_a_comparison_ends_with_the_authentication(daemon: Daemon) -> None:
    """Who still looks at the front when it is too late for a decision has it taken off their screen, and is told so."""
    site = daemon.site
    printed = Printed(*printed_on(CardData.load(site.folder / "card")))
    ended = asyncio.Event()

    async def compare(_front: Front) -> bool:
        try:
            return await asyncio.Event().wait()
        finally:
            ended.set()

    with site.changed(("decision_seconds = 120.0", "decision_seconds = 5.0")), site.card():
        daemon.reload()
        async with client_at(site) as client:
            with pytest.raises(Refused) as caught:
                await client.authenticate(DESK, "pinless", VisualCheck(OPERATOR, printed, compare))
    daemon.reload()
    assert caught.value.code == "decision_late"
    assert ended.is_set()


async def test_a_certificate_that_is_no_peers_is_told_apart(daemon: Daemon) -> None:
    """Who is known but may not ask is refused; whose certificate leads elsewhere reaches nobody, and need not wait."""
    site = daemon.site
    tls = site.folder / "tls"
    url = f"https://localhost:{site.port}"
    ward = Network(url, tls / CA, tls / "ward-1.pem", tls / "ward-1-key.pem")
    async with Client(ward, audience=AUDIENCE) as client:
        with pytest.raises(Refused) as caught:
            await client.authenticate(DESK, "pinless", FaceCheck(DEVICE))
    assert caught.value.code == "access_denied"
    elsewhere = Network(url, tls / "ward-1.pem", tls / "ward-1.pem", tls / "ward-1-key.pem")
    async with Client(elsewhere, audience=AUDIENCE) as client:
        with pytest.raises(ApplianceUnreachable):
            await client.authenticate(DESK, "pinless", FaceCheck(DEVICE))


def test_the_example_has_twenty_lines_and_works(daemon: Daemon) -> None:
    """What integrators read first is what runs here."""
    text = (EXAMPLES / "authenticate.py").read_text("utf-8")
    assert len(text.splitlines()) <= 20
    with daemon.site.card():
        assert f"{DESK}: " in run("authenticate.py", str(daemon.site.socket), AUDIENCE, DESK, DEVICE)
    refused = run("authenticate.py", str(daemon.site.socket), AUDIENCE, "desk-9", DEVICE)
    assert refused[1:].split("]")[0] in BY_CODE


def test_the_example_without_an_event_loop_works(daemon: Daemon) -> None:
    """Over TLS, as a peer of the role `reception` with a certificate."""
    site = daemon.site
    tls = site.folder / "tls"
    site.authority.issue_client(tls / "reception-2.pem", "reception-2.example.jp")
    before = site.file.read_text()
    site.add(
        '[[peer]]\nalias = "reception-2"\nrole = "reception"\ncertificate_name = "reception-2.example.jp"\n'
    )
    try:
        daemon.reload()
        with site.card():
            printed = run(
                "without_event_loop.py",
                *(f"https://localhost:{site.port}", str(tls / CA)),
                *(str(tls / "reception-2.pem"), str(tls / "reception-2-key.pem"), AUDIENCE, DESK, DEVICE),
            )
        assert int(printed.split()[1]) > 100
    finally:
        site.file.write_text(before)
        daemon.reload()
