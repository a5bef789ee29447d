"""The page that others write terminals from says what the code does."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509 import load_der_x509_certificate

from appliance.card import jpki
from appliance.card.algorithm import verified
from appliance.card.cvc import Certificate, Chain
from appliance.card.dialogue import Exchange, InstitutionSignature, VerifyHolder
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.errors import TerminalMessageInvalid
from appliance.terminals import messages, scenarios
from appliance.terminals.messages import (
    Card,
    CloseCode,
    FromAppliance,
    FromTerminal,
    Hello,
    Responses,
    Result,
    Scenario,
    Start,
    TerminalCode,
    Welcome,
)
from appliance.terminals.sessions import APPLIANCE, TERMINAL, Move, Phase, TerminalMove, TerminalPhase, after
from appliance.trust.jwk import SCENARIO_CLAIMS

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "terminal-protocol.md").read_text("utf-8")
SESSION = (DOCS / "terminal-protocol.session.txt").read_text("utf-8").splitlines()
GIVEN = {
    name: bytes.fromhex(value)
    for name, _, value in (line.partition(": ") for line in SESSION if line[:2] not in {"# ", "T ", "A "})
}
FRAMES = [(line[0], line[2:]) for line in SESSION if line[:2] in {"T ", "A "}]
PROFILE = shipped("jpki-reference")


def section(title: str) -> str:
    """Return what stands under a heading, up to the next one."""
    return re.split(r"^#+ ", PAGE.split(f" {title}\n", 1)[1], maxsplit=1, flags=re.MULTILINE)[0]


def rows(text: str) -> list[tuple[str, ...]]:
    """Return the rows of the table in *text*, without its head."""
    found = [line for line in text.splitlines() if line.startswith("|")]
    return [tuple(cell.strip() for cell in line.strip("|").split("|")) for line in found[2:]]


def test_the_tables_are_those_of_the_code() -> None:
    """Whoever follows the page's state tables does what the appliance expects, entry for entry."""
    ours = {(phase.value, move.value, to.value) for (phase, move), to in APPLIANCE.items()}
    theirs = {(phase.value, move.value, to.value) for (phase, move), to in TERMINAL.items()}
    assert set(rows(section("The appliance"))) == ours
    assert set(rows(section("The terminal"))) == theirs


def test_every_code_is_on_the_page() -> None:
    """Close codes, and the codes that a terminal may report, are those of the code and no others."""
    assert {(int(code), name.strip("`").upper()) for code, name, _ in rows(section("7. Close codes"))} == {
        (code.value, code.name) for code in CloseCode
    }
    reported = {code.strip("`") for code, _ in rows(section("8. Codes that a terminal may report"))}
    assert reported == set(TerminalCode)
    claims = {
        name for cells in rows(section("6. Signed scenarios")) for name in re.findall(r"`(\w+)`", cells[0])
    }
    assert claims == SCENARIO_CLAIMS


def examples() -> list[str]:
    """Return the page's example frames."""
    return re.findall(r"^```json\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("example", examples())
def test_examples_are_messages(example: str) -> None:
    """Each example is a frame that an end of ours reads, and writes in the same way."""
    read: list[FromTerminal | FromAppliance] = []
    for decode in (messages.decode_from_terminal, messages.decode_from_appliance):
        try:
            read.append(decode(example))
        except TerminalMessageInvalid:
            continue
    assert example in {messages.encode(one) for one in read}


def test_every_message_and_member_is_on_the_page() -> None:
    """No kind of message and no member of one is missing from the page."""
    shown = {json.loads(example)["type"] for example in examples()}
    for kinds in (FromTerminal, FromAppliance):
        for kind in kinds.__args__:
            assert kind.__struct_config__.tag in shown
            for name in kind.__struct_fields__:
                assert f"`{name}`" in PAGE


def test_the_session_is_what_our_own_dialogue_says() -> None:
    """The appliance's dialogue, given what stands above the frames, says and takes exactly what was recorded."""
    chain = Chain(*(Certificate.from_bytes(GIVEN[name]) for name in ("intermediate", "leaf")))
    nonce = Nonce(GIVEN["nonce"])
    dialogue = jpki.pinless(PROFILE, chain, nonce)
    said = [messages.decode_from_appliance(frame) for who, frame in FRAMES if who == "A"]
    heard = [messages.decode_from_terminal(frame) for who, frame in FRAMES if who == "T"]
    asked = [one for one in said if isinstance(one, Scenario)]
    answers = [one for one in heard if isinstance(one, Responses)]
    assert len(asked) == len(answers) == 2
    proving = scenarios.exchange_of(asked[1]).steps[0]
    assert not isinstance(proving, VerifyHolder)
    request = next(dialogue)
    assert request == scenarios.exchange_of(asked[0])
    challenge = dialogue.send(scenarios.answers_of(request, answers[0]))
    assert isinstance(challenge, InstitutionSignature)
    leaf_key = chain.leaf.body.public_key
    assert verified(PROFILE.institution.algorithm, leaf_key, proving.command.data, challenge.challenge)
    request = dialogue.send(proving.command.data)
    assert isinstance(request, Exchange)
    (part,) = scenarios.batches(request)
    assert scenarios.scenario(asked[1].session, 1, asked[1].deadline_ms, part) == asked[1]
    with pytest.raises(StopIteration) as ended:
        dialogue.send(scenarios.answers_of(part, answers[1]))
    proof: jpki.HolderProof = ended.value.value
    holder = load_der_x509_certificate(proof.certificate).public_key()
    assert isinstance(holder, rsa.RSAPublicKey)
    signed = nonce.octets + chain.institution_code.encode()
    assert verified(PROFILE.proof.algorithm, holder, proof.signature, signed)


def test_the_session_follows_both_tables() -> None:
    """Frame for frame, the recorded session is legal for either end, and written as our own ends write."""
    ours, theirs = Phase.CALLED, TerminalPhase.WAITING
    for who, frame in FRAMES:
        message = (
            messages.decode_from_terminal(frame) if who == "T" else messages.decode_from_appliance(frame)
        )
        assert messages.encode(message) == frame
        match message:
            case Start():
                ours = after(APPLIANCE, ours, Move.CARD)
                theirs = after(TERMINAL, theirs, TerminalMove.CARD)
            case Scenario():
                ours = after(APPLIANCE, ours, Move.SEND_SCENARIO)
                theirs = after(TERMINAL, theirs, TerminalMove.SCENARIO)
            case Responses():
                ours = after(APPLIANCE, ours, Move.RESPONSES)
                theirs = after(TERMINAL, theirs, TerminalMove.SEND_RESPONSES)
            case Result():
                ours = after(APPLIANCE, ours, Move.SEND_RESULT)
                theirs = after(TERMINAL, theirs, TerminalMove.RESULT)
            case _:
                assert isinstance(message, Hello | Welcome | Card)
    assert (ours, theirs) == (Phase.LEFT, TerminalPhase.OVER)
    kinds = [json.loads(frame)["type"] for _, frame in FRAMES]
    assert [second for first, second in pairwise(kinds) if first == "start"] == ["scenario"]
