"""What a terminal lets through: the dialogues of its card profile, and nothing else."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import date
from typing import Final

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from appliance.card import jpki, surface
from appliance.card.algorithm import SIGNATURE_LENGTH, PublicKey
from appliance.card.apdu import Command, Response
from appliance.card.cvc import Chain, Shape, check_chain
from appliance.card.dialogue import Dialogue, Exchange, InstitutionSignature, Step, VerifyHolder
from appliance.card.nonce import Nonce
from appliance.card.profile import (
    ApplicationId,
    FileId,
    Header,
    Profile,
    shipped,
    shipped_names,
)
from appliance.card.reach import MY_NUMBER_FILE, TEXT_APPLICATION
from appliance.card.verification_number import VerificationNumber
from appliance.errors import ApplianceError, ProfileUnsafe, TerminalCommandRefused
from appliance.simulator.pki import Hierarchy
from appliance.terminals.agent.allowlist import MOST_BEGINNINGS, AllowList
from appliance.terminals.messages import Mode

NONCE: Final = Nonce(b"\xff" * 32)
NUMBER: Final = VerificationNumber.of(date(1980, 2, 17), 2035, "2285")
LONGEST_FRONT: Final = bytes.fromhex("FF20827EFB")
PROFILE: Final = shipped("jpki-reference")
TRIES: Final = frozenset({0x9000, *range(0x63C2, 0x63D0)})

Begin = Callable[[], Dialogue[object]]
every_mode = pytest.mark.parametrize("mode", Mode)


def exchanges(dialogue: Dialogue[object], signature: bytes = b"") -> Iterator[Exchange]:
    """Yield the exchanges of *dialogue* with a card that has the answer to everything."""
    answer: tuple[Response, ...] | bytes | None = None
    try:
        while True:
            request = next(dialogue) if answer is None else dialogue.send(answer)
            if isinstance(request, InstitutionSignature):
                answer = signature
                continue
            yield request
            answer = tuple(Response(_content(step), 0x9000) for step in request.steps)
    except (StopIteration, ApplianceError):
        return


def _content(step: Step | VerifyHolder) -> bytes:
    if not isinstance(step, Step):
        return b""
    return LONGEST_FRONT.ljust(256) if "read" in step.name else bytes(step.command.le or 0)


@pytest.fixture(scope="module")
def chains(hierarchy: Hierarchy) -> dict[str, Chain]:
    """Return a chain for each profile that ships."""
    keys: dict[Shape, PublicKey] = {
        Shape.RSA_2048: rsa.generate_private_key(65_537, 2_048).public_key(),
        Shape.P384: ec.generate_private_key(ec.SECP384R1()).public_key(),
    }
    authorities = {Shape.RSA_2048: hierarchy.institution, Shape.P384: hierarchy.next_institution}
    found = {}
    for name in shipped_names():
        shape = shipped(name).institution.certificate
        leaf = hierarchy.issue_institution(keys[shape], "9912345")
        found[name] = check_chain(authorities[shape].intermediate, leaf)
    return found


@pytest.fixture(scope="module")
def chain(chains: dict[str, Chain]) -> Chain:
    """Return the chain for the reference profile."""
    return chains[PROFILE.name]


def conversation(mode: Mode, profile: Profile, chain: Chain) -> list[Exchange]:
    """Return every exchange of what is said where *mode* is to be done."""
    match mode:
        case Mode.PINLESS:
            signing = exchanges(
                jpki.pinless(profile, chain, NONCE), bytes(SIGNATURE_LENGTH[profile.institution.algorithm])
            )
        case Mode.PIN:
            signing = exchanges(jpki.with_pin(profile, NONCE))
        case Mode.FRONT:
            signing = exchanges(surface.read_front(profile, NUMBER, NONCE))
        case Mode.VISUAL:
            parts = (conversation(part, profile, chain) for part in (Mode.FRONT, Mode.PINLESS))
            return [exchange for part in parts for exchange in part]
    return list(signing)


@every_mode
@pytest.mark.parametrize("name", shipped_names())
def test_every_dialogue_of_a_profile_passes(name: str, mode: Mode, chains: dict[str, Chain]) -> None:
    """What the appliance says to a card by a profile is what a terminal with that profile lets through."""
    said = conversation(mode, shipped(name), chains[name])
    assert len(said) == {Mode.PIN: 1, Mode.VISUAL: 4}.get(mode, 2)
    listed = AllowList(shipped(name), mode)
    for exchange in said:
        listed.admit(exchange)


@pytest.mark.parametrize("name", shipped_names())
def test_a_last_try_and_a_look_at_the_card_pass(name: str) -> None:
    """A request may allow the last try, and may begin by asking what kind of card lies there."""
    profile = shipped(name)
    listed = AllowList(profile, Mode.PIN)
    for dialogue in (jpki.inspect(profile), jpki.with_pin(profile, NONCE, last_try=True)):
        for exchange in exchanges(dialogue):
            listed.admit(exchange)
    for exchange in exchanges(surface.read_front(profile, NUMBER, NONCE, last_try=True)):
        AllowList(profile, Mode.FRONT).admit(exchange)
        break


def test_a_second_chain_may_be_offered_before_anything_was_signed(chain: Chain) -> None:
    """In a rotation a card that refuses a chain is offered the other one; that has an end, too."""
    listed = AllowList(PROFILE, Mode.PINLESS)
    introducing, proving = conversation(Mode.PINLESS, PROFILE, chain)
    for _ in range(MOST_BEGINNINGS - 1):
        listed.admit(introducing)
        listed.stopped(5)
    listed.admit(introducing)
    listed.admit(proving)
    with pytest.raises(TerminalCommandRefused):
        listed.admit(introducing)
    listed = AllowList(PROFILE, Mode.PINLESS)
    for _ in range(MOST_BEGINNINGS):
        listed.admit(introducing)
        listed.stopped(5)
    with pytest.raises(TerminalCommandRefused):
        listed.admit(introducing)


@every_mode
def test_nothing_goes_on_after_a_card_that_did_not_answer_as_expected(mode: Mode, chain: Chain) -> None:
    """Where a card stops a conversation, its next exchange is refused; after a credential nothing begins anew."""
    listed = AllowList(PROFILE, mode)
    first, *rest = conversation(mode, PROFILE, chain)
    listed.admit(first)
    listed.stopped(len(first.steps))
    for exchange in rest or [first]:
        with pytest.raises(TerminalCommandRefused):
            listed.admit(exchange)


def test_a_credential_that_was_not_tried_lets_the_card_be_looked_at(chain: Chain) -> None:
    """Where no try is left, the card may be asked of what kind it is; after a try, with whatever answer, nothing begins."""
    (with_pin,) = conversation(Mode.PIN, PROFILE, chain)
    (look,) = exchanges(jpki.inspect(PROFILE))
    verify = next(place for place, each in enumerate(with_pin.steps) if isinstance(each, VerifyHolder))
    for done in range(1, len(with_pin.steps) + 1):
        listed = AllowList(PROFILE, Mode.PIN)
        listed.admit(with_pin)
        listed.stopped(done)
        if done <= verify:
            listed.admit(look)
        else:
            for refused in (look, with_pin):
                with pytest.raises(TerminalCommandRefused):
                    listed.admit(refused)


def test_what_a_card_has_stopped_does_not_count_as_seen(chain: Chain) -> None:
    """A front and what may follow it, asked for at once, do not let the rest begin where the card stopped the front."""
    reading, showing, introducing, _ = conversation(Mode.VISUAL, PROFILE, chain)
    listed = AllowList(PROFILE, Mode.VISUAL)
    listed.admit(Exchange((*reading.steps, *showing.steps, *introducing.steps)))
    listed.stopped(3)
    with pytest.raises(TerminalCommandRefused):
        listed.admit(introducing)


@every_mode
def test_work_of_one_kind_admits_no_other(mode: Mode, chain: Chain) -> None:
    """A session that was announced as one kind of mode cannot become another."""
    for other in set(Mode) - {mode}:
        if {mode, other} == {Mode.FRONT, Mode.VISUAL}:
            continue
        with pytest.raises(TerminalCommandRefused):
            AllowList(PROFILE, mode).admit(conversation(other, PROFILE, chain)[0])


def test_a_front_that_was_seen_to_its_end_lets_its_card_go_on(chain: Chain) -> None:
    """After the whole of a front, once, the card may prove its holder; not before, not after half of it, and no front twice."""
    reading, showing, introducing, proving = conversation(Mode.VISUAL, PROFILE, chain)
    for begun in ([], [reading]):
        listed = AllowList(PROFILE, Mode.VISUAL)
        for exchange in begun:
            listed.admit(exchange)
        with pytest.raises(TerminalCommandRefused):
            listed.admit(introducing)
    listed = AllowList(PROFILE, Mode.VISUAL)
    listed.admit(reading)
    listed.admit(showing)
    listed.stopped(len(showing.steps))
    with pytest.raises(TerminalCommandRefused):
        listed.admit(introducing)
    listed = AllowList(PROFILE, Mode.VISUAL)
    for exchange in (reading, showing, introducing, proving):
        listed.admit(exchange)
    for exchange in (reading, introducing):
        with pytest.raises(TerminalCommandRefused):
            listed.admit(exchange)
    listed = AllowList(PROFILE, Mode.FRONT)
    listed.admit(reading)
    listed.admit(showing)
    with pytest.raises(TerminalCommandRefused):
        listed.admit(introducing)


def test_a_conversation_begins_at_its_beginning(chain: Chain) -> None:
    """Its later part alone is refused, and so is nothing at all."""
    for mode in (Mode.PINLESS, Mode.FRONT):
        with pytest.raises(TerminalCommandRefused):
            AllowList(PROFILE, mode).admit(conversation(mode, PROFILE, chain)[1])
    with pytest.raises(TerminalCommandRefused):
        AllowList(PROFILE, Mode.PIN).admit(Exchange(()))


def step(header: str, data: str = "", le: int | None = None) -> Step:
    """Return a step with any command."""
    return Step("any", Header.from_hex(header).command(bytes.fromhex(data), le))


SELECT_JPKI = step("00A4040C", PROFILE.application.aid.hex())
SELECT_SURFACE = step("00A4040C", PROFILE.surface.aid.hex())
SELECT_NUMBER = step("00A4020C", "0012")
QUERY = Step("query", Header.from_hex("00200080").command(), TRIES)
NUMBER_STEP = step("00200080", NUMBER.digits.encode().hex())


@pytest.mark.parametrize(
    ("mode", "steps"),
    [
        (Mode.PIN, [SELECT_JPKI, step("00A4020C", "0018"), QUERY, step("00200080", "31323334")]),
        (Mode.PIN, [SELECT_JPKI, step("00A4020C", "0018"), step("00200080", "31323334")]),
        (Mode.PIN, [SELECT_JPKI, step("00A4020C", "001A")]),
        (Mode.PIN, [SELECT_JPKI, step("00A4020C", "001B")]),
        (Mode.PIN, [SELECT_JPKI, step("00A4020C", "0001")]),
        (Mode.PIN, [SELECT_JPKI, step("00240180", "31323334")]),
        (Mode.PIN, [SELECT_JPKI, step("002C0080", "31323334")]),
        (Mode.PIN, [SELECT_JPKI, step("00D60000", "00")]),
        (Mode.PIN, [SELECT_JPKI, step("00D00000", "00")]),
        (Mode.PIN, [SELECT_JPKI, step("000E0000")]),
        (Mode.PIN, [SELECT_JPKI, step("00DA0000", "00")]),
        (Mode.PINLESS, [SELECT_JPKI, step("80320080", "00")]),
        (Mode.PINLESS, [SELECT_JPKI, step("802A0080", "00" * 32, 256)]),
        (Mode.PINLESS, [SELECT_JPKI, step("00B08A00", "", 256)]),
        (Mode.PINLESS, [step("00A4040C", "A000000151000000")]),
        (Mode.PINLESS, [step("00A4040C", TEXT_APPLICATION.hex())]),
        (Mode.PINLESS, [step("00A4040C", TEXT_APPLICATION[:5].hex())]),
        (Mode.FRONT, [step("00A4040C", TEXT_APPLICATION.hex())]),
        (Mode.FRONT, [SELECT_SURFACE, step("00A4020C", MY_NUMBER_FILE.hex())]),
        (Mode.FRONT, [SELECT_SURFACE, step("00A4020C", "0013")]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, NUMBER_STEP]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, step("00200080", b"123456789012".hex())]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, step("00200080", b"12345678901234".hex())]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, step("00200080", "FF" * 14)]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, NUMBER_STEP, QUERY]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, NUMBER_STEP, NUMBER_STEP]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, NUMBER_STEP, SELECT_SURFACE]),
        (Mode.FRONT, [SELECT_SURFACE, SELECT_NUMBER, QUERY, VerifyHolder("any", PROFILE.pin.verify, 4)]),
    ],
)  # fmt: skip
def test_what_a_network_must_not_have_done_is_refused(mode: Mode, steps: list[Step]) -> None:
    """Credentials, changes, writing, other applications, short ids, the signing key and the My Number stay out of reach."""
    with pytest.raises(TerminalCommandRefused):
        AllowList(PROFILE, mode).admit(Exchange(tuple(steps)))
    AllowList(PROFILE, mode).admit(Exchange(tuple(steps[:1]))) if len(steps) > 1 else None


@pytest.mark.parametrize("status", [0x63C0, 0x63C1, 0x6982, 0x6983, 0x6984])
def test_no_status_word_but_those_of_the_dialogue_may_be_expected(status: int, chain: Chain) -> None:
    """The appliance cannot have a terminal go on where its dialogue would stop, such as after a blocked credential."""
    for mode in Mode:
        (first, *_) = conversation(mode, PROFILE, chain)
        for number, each in enumerate(first.steps):
            changed = replace(each, expect=each.expect | {status})
            exchange = Exchange((*first.steps[:number], changed, *first.steps[number + 1 :]))
            if isinstance(each, Step) and each.name.startswith("query") and status == 0x63C1:
                AllowList(PROFILE, mode).admit(exchange)
            else:
                with pytest.raises(TerminalCommandRefused):
                    AllowList(PROFILE, mode).admit(exchange)


@pytest.mark.parametrize(
    "change", [{"digits": 6}, {"header": Header.from_hex("00240080")}, {"expect": frozenset()}]
)
def test_the_pin_goes_into_the_profile_s_command_alone(change: dict[str, object], chain: Chain) -> None:
    """Where the holder's PIN goes is the terminal's own knowledge."""
    (exchange,) = conversation(Mode.PIN, PROFILE, chain)
    steps = tuple(
        replace(each, **change) if isinstance(each, VerifyHolder) else each  # type: ignore[arg-type]  # one field of several types
        for each in exchange.steps
    )
    with pytest.raises(TerminalCommandRefused):
        AllowList(PROFILE, Mode.PIN).admit(Exchange(steps))


octets = st.integers(0, 0xFF)
commands = st.builds(
    Command, octets, octets, octets, octets, st.binary(max_size=64), st.none() | st.integers(1, 256)
)


@given(data=st.data(), any_command=commands, mode=st.sampled_from(Mode))
def test_whatever_is_not_of_a_dialogue_is_refused(
    data: st.DataObject, any_command: Command, mode: Mode, chain: Chain
) -> None:
    """In the place of any step of any dialogue, any command but that step's own is refused, and nothing else is raised."""
    said = conversation(mode, PROFILE, chain)
    flat = [(number, step) for number, exchange in enumerate(said) for step in exchange.steps]
    place = data.draw(st.integers(0, len(flat) - 1))
    listed, before = AllowList(PROFILE, mode), [step for _, step in flat[:place]]
    if before:
        listed.admit(Exchange(tuple(before)))
    own = {each.command.to_bytes() for _, each in flat if isinstance(each, Step)}
    own |= {select_info.to_bytes() for select_info in (SELECT_JPKI.command, SELECT_SURFACE.command)}
    if any_command.to_bytes() in own:
        return
    with pytest.raises(TerminalCommandRefused):
        listed.admit(Exchange((Step("any", any_command),)))


@every_mode
def test_steps_of_a_dialogue_in_another_order_are_refused(mode: Mode, chain: Chain) -> None:
    """Leaving out or repeating a step is refused, unless it is one of several pieces of a file or begins anew."""
    steps = [step for exchange in conversation(mode, PROFILE, chain) for step in exchange.steps]
    for place, step in enumerate(steps[:-1]):
        wrong = []
        if not step.name.startswith("read-"):
            wrong.append(steps[:place] + steps[place + 1 :])
        if step.name not in {"select-application", "select-surface"}:
            wrong.append([*steps[: place + 1], *steps[place:]])
        for order in wrong:
            with pytest.raises(TerminalCommandRefused):
                AllowList(PROFILE, mode).admit(Exchange(tuple(order)))


@pytest.mark.parametrize(
    ("section", "change"),
    [
        ("surface", {"certificate": FileId(MY_NUMBER_FILE)}),
        ("surface", {"aid": ApplicationId(TEXT_APPLICATION)}),
        ("application", {"aid": ApplicationId(TEXT_APPLICATION)}),
    ],
)
def test_no_profile_leads_to_the_my_number(section: str, change: dict[str, object]) -> None:
    """A profile that would have the My Number read is refused by the terminal, whoever wrote it."""
    changed = msgspec.structs.replace(
        PROFILE, **{section: msgspec.structs.replace(getattr(PROFILE, section), **change)}
    )
    for mode in Mode:
        with pytest.raises(ProfileUnsafe):
            AllowList(changed, mode)
