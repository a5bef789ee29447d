"""The two authentications as dialogues, played from transcripts."""

import contextlib
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card import jpki, surface
from appliance.card.apdu import Command, Response
from appliance.card.dialogue import Dialogue, Exchange, InstitutionSignature, VerifyHolder
from appliance.card.jpki import CardInspection, HolderProof
from appliance.card.nonce import Nonce
from appliance.card.profile import Profile
from appliance.card.refusal import MEANINGS, PIN, VERIFICATION_NUMBER
from appliance.card.surface import FrontReading
from appliance.card.verification_number import VerificationNumber
from appliance.errors import BY_CODE, ApplianceError, CardAnswerMalformed, CardStatusUnexpected, PinRejected
from tests.card.conftest import Institution
from tests.card.transcript import CERTIFICATE, Player, Transcript, read

TRANSCRIPTS = [
    read(path) for path in sorted((Path(__file__).parents[1] / "vectors" / "transcripts").iterdir())
]
NONCE = Nonce(bytes(range(31)) + b"\x80")
NUMBER = VerificationNumber.of(date(1980, 2, 17), 2035, "2285")


def start(
    name: str, profile: Profile, institution: Institution, *, last_try: bool = False
) -> Dialogue[HolderProof | CardInspection | FrontReading]:
    """Return the dialogue called *name*."""
    match name:
        case "pinless":
            return (yield from jpki.pinless(profile, institution.chain, NONCE))
        case "with_pin":
            return (yield from jpki.with_pin(profile, NONCE, last_try=last_try))
        case "inspect":
            return (yield from jpki.inspect(profile))
        case _:
            assert name == "read_front"
            return (yield from surface.read_front(profile, NUMBER, NONCE, last_try=last_try))


ENDS = {"proof": HolderProof, "inspection": CardInspection, "reading": FrontReading}


@pytest.mark.parametrize("transcript", TRANSCRIPTS, ids=lambda transcript: transcript.name)
def test_the_dialogue_follows_the_transcript(
    transcript: Transcript, profile: Profile, institution: Institution
) -> None:
    """Each recorded conversation is spoken to the letter and ends as the transcript says, for its reason."""
    dialogue = start(transcript.dialogue, profile, institution)
    if transcript.ends in ENDS:
        result = Player(transcript).play(dialogue)
        assert isinstance(result, ENDS[transcript.ends])
        if isinstance(result, HolderProof):
            assert result == HolderProof(NONCE, b"\x5a" * 256, CERTIFICATE, result.institution)
    else:
        with pytest.raises(BY_CODE[transcript.ends]) as caught:
            Player(transcript).play(dialogue)
        assert caught.value.code == transcript.ends


def test_every_meaning_of_a_status_word_has_a_transcript(profile: Profile, institution: Institution) -> None:
    """Whatever a dialogue makes of a status word at a step is shown by a recorded conversation that meets it there."""
    met: set[tuple[str, int]] = set()
    for transcript in TRANSCRIPTS:
        player = Player(transcript)
        with contextlib.suppress(ApplianceError):
            player.play(start(transcript.dialogue, profile, institution))
        met |= set(player.unexpected)
    meant = {(step, status) for step, meanings in MEANINGS.items() for status in meanings}
    blocked = [int(word) for word in profile.pin.blocked]
    for credential in (PIN, VERIFICATION_NUMBER):
        meant |= {(step, status) for step in (credential.query, credential.verify) for status in blocked}
        meant |= {(credential.query, 0x63C1), (credential.verify, 0x63C1)}
    assert meant <= met


def test_pinless_is_exactly_two_exchanges(profile: Profile, institution: Institution) -> None:
    """A PIN-less authentication costs two round trips to the terminal, and one institution signature between."""
    (transcript,) = (transcript for transcript in TRANSCRIPTS if transcript.name == "pinless")
    player = Player(transcript)
    player.play(start("pinless", profile, institution))
    assert [type(request) for request in player.requests] == [Exchange, InstitutionSignature, Exchange]


def test_the_last_try_is_used_when_that_was_allowed(profile: Profile, institution: Institution) -> None:
    """With one try left the PIN is asked for only on explicit demand."""
    request = next(start("with_pin", profile, institution, last_try=True))
    assert isinstance(request, Exchange)
    (query,) = (step for step in request.steps if step.name == "query-pin")
    assert {0x63C1, 0x63C2, 0x63C3} < query.expect


def test_a_wrong_pin_says_how_many_tries_are_left(profile: Profile, institution: Institution) -> None:
    """The number of tries left reaches whoever has to tell the holder."""
    (transcript,) = (transcript for transcript in TRANSCRIPTS if transcript.name == "pin-wrong")
    with pytest.raises(PinRejected) as caught:
        Player(transcript).play(start("with_pin", profile, institution))
    assert caught.value.tries_left == 2


def test_an_unexpected_status_names_its_step(profile: Profile, institution: Institution) -> None:
    """A status word that no rule foresees is told with the step that met it."""
    (transcript,) = (transcript for transcript in TRANSCRIPTS if transcript.name == "challenge-refused")
    with pytest.raises(CardStatusUnexpected) as caught:
        Player(transcript).play(start("pinless", profile, institution))
    assert (caught.value.step, caught.value.status) == ("get-challenge", 0x6F00)


@pytest.mark.parametrize("answers", [0, 2, 40])
def test_a_terminal_that_counts_wrong_ends_the_dialogue(
    answers: int, profile: Profile, institution: Institution
) -> None:
    """None, too few or too many answers are the terminal's fault and never taken for the card's."""
    dialogue = start("pinless", profile, institution)
    next(dialogue)
    with pytest.raises(CardAnswerMalformed):
        dialogue.send((Response(b"", 0x9000),) * answers)


def test_a_terminal_that_goes_on_after_a_refusal_is_not_believed(
    profile: Profile, institution: Institution
) -> None:
    """Answers behind one that should have ended the exchange are not looked at."""
    dialogue = start("pinless", profile, institution)
    next(dialogue)
    with pytest.raises(CardAnswerMalformed, match="went on"):
        dialogue.send((Response(b"", 0x6A82), Response(b"", 0x9000)))


responses = st.builds(
    Response,
    st.binary(max_size=300) | st.integers(0, 300).map(bytes),
    st.sampled_from([0x9000, 0x9000, 0x9000, 0x63C3, 0x6B00, 0x6982, 0x6300]) | st.integers(0, 0xFFFF),
)


@given(st.sampled_from(["pinless", "with_pin"]), st.data())
def test_whatever_a_card_answers_the_dialogue_ends(
    profile: Profile, institution: Institution, name: str, data: st.DataObject
) -> None:
    """Any answers at all end a dialogue with a proof or an error of ours, after at most two exchanges."""
    dialogue = start(name, profile, institution)
    exchanges = 0
    answer: tuple[Response, ...] | bytes | None = None
    while True:
        try:
            request = next(dialogue) if answer is None else dialogue.send(answer)
        except (StopIteration, ApplianceError):
            return
        if isinstance(request, InstitutionSignature):
            assert len(request.challenge) == profile.institution.challenge_length
            answer = bytes(256)
            continue
        exchanges += 1
        assert exchanges <= 2
        played: list[Response] = []
        for step in request.steps:
            played.append(data.draw(responses))
            if played[-1].status not in step.expect:
                break
        answer = tuple(played)


def test_no_pin_is_in_a_dialogue(profile: Profile, institution: Institution) -> None:
    """The dialogue asks for the holder's verification and never carries a PIN itself."""
    request = next(start("with_pin", profile, institution))
    assert isinstance(request, Exchange)
    verifications = [step for step in request.steps if isinstance(step, VerifyHolder)]
    assert len(verifications) == 1
    commands: list[Command] = [step.command for step in request.steps if not isinstance(step, VerifyHolder)]
    assert not [command for command in commands if command.ins == 0x20 and command.data]
