"""The My Number itself is never read: no dialogue can ask a card for it."""

from datetime import date

import pytest

from appliance.card import jpki, surface
from appliance.card.apdu import Command, Response
from appliance.card.dialogue import Dialogue, InstitutionSignature, Step
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped, shipped_names
from appliance.card.reach import MY_NUMBER_FILE, TEXT_APPLICATION
from appliance.card.verification_number import VerificationNumber
from appliance.errors import ApplianceError
from tests.card.conftest import Institution

NONCE = Nonce(b"\xff" * 32)
NUMBER = VerificationNumber.of(date(1980, 2, 17), 2035, "2285")
LONGEST = bytes.fromhex("FF20827EFB")
"""The beginning of a front as long as one may be."""


def commands(dialogue: Dialogue[object]) -> list[Command]:
    """Return every command of *dialogue* with a card that says yes to everything."""
    sent: list[Command] = []
    answer: tuple[Response, ...] | bytes | None = None
    try:
        while True:
            request = next(dialogue) if answer is None else dialogue.send(answer)
            if isinstance(request, InstitutionSignature):
                answer = bytes(256)
                continue
            steps = [step for step in request.steps if isinstance(step, Step)]
            sent += [step.command for step in steps]
            answer = tuple(
                Response(
                    LONGEST.ljust(256) if "read" in getattr(step, "name", "") else bytes(_wanted(step)),
                    0x9000,
                )
                for step in request.steps
            )
    except (StopIteration, ApplianceError):
        return sent


def _wanted(step: object) -> int:
    return (step.command.le or 0) if isinstance(step, Step) else 0


@pytest.mark.parametrize("name", shipped_names())
def test_no_dialogue_selects_the_my_number(name: str, institution: Institution) -> None:
    """Neither its picture, nor the application that holds it as text, nor its credential is ever asked for."""
    profile = shipped(name)
    dialogues: list[Dialogue[object]] = [
        jpki.pinless(profile, institution.chain, NONCE),
        jpki.with_pin(profile, NONCE),
        jpki.inspect(profile),
        surface.read_front(profile, NUMBER, NONCE),
    ]
    sent = [command for dialogue in dialogues for command in commands(dialogue)]
    assert any(command.ins == 0xB0 and command.p1 == 0x7E for command in sent), "the whole front was read"
    application = b""
    for command in sent:
        assert not (command.ins == 0xB0 and command.p1 & 0x80), (
            "files are read by selection, never by short id"
        )
        if command.ins == 0xA4 and command.p1 == 0x04:
            application = command.data
            assert not application.startswith(TEXT_APPLICATION)
        if command.ins == 0xA4 and command.p1 == 0x02 and application == profile.surface.aid:
            assert command.data != MY_NUMBER_FILE
        if command.ins == 0x20:
            assert len(command.data) != 12, "twelve digits would be the My Number as a credential"
