"""
What a scenario from the network may contain: the dialogues of the card profile, step by step, and nothing else.

A session is one of the conversations that `card.jpki` and `card.surface` hold for its mode. Where a session
stands in its conversation is its state; a step is let through where it has the form of the next one, and everything
that is not written here is refused. So no file is selected, no credential tried and nothing signed that the mode is
not about, and nothing twice:

    pinless   introduce the institution (again, where the card refused its chain), sign once, read the certificate
    pin       one VERIFY with what the holder enters here, queried before; sign once, read the certificate
    front     one VERIFY with 照合番号B, queried before; read front and issuer, prove genuine once
    visual    what is in front, and after its end what is in pinless

Either of the first two, and the second half of the last, may begin with a look at what kind of card it is, and may
take one where the card has stopped it before a credential was tried. VERIFY with anything else, CHANGE REFERENCE DATA,
RESET RETRY COUNTER, UPDATE, WRITE, ERASE and PUT DATA, other applications, and the My Number are in no conversation.
What lengths and fixed parts leave open is in `Form`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeAlias

from appliance.card import token_info
from appliance.card.algorithm import SIGNATURE_LENGTH, digest
from appliance.card.apdu import SUCCESS
from appliance.card.cvc import Shape
from appliance.card.dialogue import Exchange, Step, VerifyHolder
from appliance.card.file import READ
from appliance.card.jpki import DIGEST_INFO_SHA256, LONGEST_CERTIFICATE
from appliance.card.profile import ApplicationId, FileId, Header, Profile
from appliance.card.reach import require_in_reach
from appliance.card.refusal import enough_tries
from appliance.card.surface import CARD_SIGNATURE_LENGTH, LONGEST_FRONT
from appliance.card.verification_number import VerificationNumber
from appliance.errors import TerminalCommandRefused, VerificationNumberInvalid
from appliance.terminals.messages import Mode

MOST_BEGINNINGS: Final = 4
"""A look at the card, and two chains in a rotation, need three."""
_DONE: Final = frozenset({SUCCESS})
_TRIED: Final = enough_tries(last_try=True)


@dataclass(frozen=True, slots=True)
class Form:
    """
    What one command may be: *header*, then *length* bytes of data that begin with *start*, Le and form as said.

    *expect* is what it may be said to answer at most. *fits* looks at data that lengths cannot tell.
    """

    header: bytes
    start: bytes = b""
    length: int = 0
    le: int | None = None
    extended: bool = False
    expect: frozenset[int] = _DONE
    optional: bool = False
    """Whether the conversation may go on without it."""
    last: bool = False
    """Whether no conversation is begun anew after it: it uses up a try, or signs."""
    fits: Callable[[bytes], bool] | None = None

    def admits(self, step: Step | VerifyHolder) -> bool:
        """Whether *step* is of this form."""
        if not isinstance(step, Step) or not step.expect or not step.expect <= self.expect:
            return False
        command = step.command
        return (
            bytes((command.cla, command.ins, command.p1, command.p2)) == self.header
            and len(command.data) == self.length
            and command.data.startswith(self.start)
            and command.le == self.le
            and command.extended is self.extended
            and (self.fits is None or self.fits(command.data))
        )


@dataclass(frozen=True, slots=True)
class PinForm:
    """That the holder enters the PIN at this terminal: *header* of VERIFY, and how many *digits*."""

    header: bytes
    digits: int
    optional: bool = False
    last: bool = True

    def admits(self, step: Step | VerifyHolder) -> bool:
        """Whether *step* is of this form."""
        return (
            isinstance(step, VerifyHolder)
            and (step.header, step.digits) == (self.header, self.digits)
            and step.expect == _DONE
        )


Conversation: TypeAlias = tuple[Form | PinForm, ...]


@dataclass(frozen=True, slots=True)
class _Standing:
    """Where a session stands; *stages* are the conversations to choose from now, and those to come."""

    stages: tuple[tuple[Conversation, ...], ...]
    places: frozenset[tuple[int, int]] = frozenset()
    """For each conversation that fits so far, its number and that of the form that comes next."""
    beginnings: int = 0
    open: bool = True
    """Whether a conversation may still be begun."""

    def after(self, steps: Sequence[Step | VerifyHolder]) -> "_Standing":
        """Return where it stands after *steps*, or raise TerminalCommandRefused."""
        standing = self
        for number, step in enumerate(steps, start=1):
            following = standing._after(step)
            if following is None:
                raise TerminalCommandRefused(f"step {number} of a scenario is not on this terminal's list")
            standing = following
        return standing

    def _after(self, step: Step | VerifyHolder) -> "_Standing | None":
        standing, found = self, self._following(self.places, step)
        if not found and len(self.stages) > 1 and self._is_complete:
            standing = _Standing(self.stages[1:])
        if not found and standing.open and standing.beginnings < MOST_BEGINNINGS:
            beginnings = frozenset((which, 0) for which in range(len(standing.stages[0])))
            found = standing._following(beginnings, step)
            standing = replace(standing, beginnings=standing.beginnings + 1)
        if not found:
            return None
        conversations = standing.stages[0]
        return replace(
            standing,
            places=frozenset((which, place + 1) for which, place in found),
            open=standing.open and not any(conversations[which][place].last for which, place in found),
        )

    @property
    def _is_complete(self) -> bool:
        """Whether a conversation has come to its end, every step of it done as it should be."""
        return any(place == len(self.stages[0][which]) for which, place in self.places)

    def _following(
        self, places: frozenset[tuple[int, int]], step: Step | VerifyHolder
    ) -> set[tuple[int, int]]:
        """Return which forms *step* is of, from *places* on; optional ones may be passed over."""
        found = set()
        for which, first in places:
            conversation = self.stages[0][which]
            for place in range(first, len(conversation)):
                if conversation[place].admits(step):
                    found.add((which, place))
                    break
                if not conversation[place].optional:
                    break
        return found


class AllowList:
    """The allow-list of one session on one power-up of a card, for *mode* by *profile*."""

    def __init__(self, profile: Profile, mode: Mode) -> None:
        self._before = self._standing = _Standing(conversations(profile, mode))
        self._admitted: tuple[Step | VerifyHolder, ...] = ()

    def admit(self, exchange: Exchange) -> None:
        """Go on by *exchange*, all of it; or raise TerminalCommandRefused, after which the session is over."""
        if not exchange.steps:
            raise TerminalCommandRefused("a scenario without steps")
        self._before, self._admitted = self._standing, exchange.steps
        self._standing = self._before.after(exchange.steps)

    def stopped(self, done: int) -> None:
        """
        Take note that of the exchange that was admitted last, *done* steps were sent, the last of which failed.

        That conversation is over. What was not sent counts for nothing: where a credential had no try left and so was
        not tried, another conversation may be begun, such as a look at what kind of card it is.
        """
        self._standing = replace(self._before.after(self._admitted[:done]), places=frozenset())


def conversations(profile: Profile, mode: Mode) -> tuple[tuple[Conversation, ...], ...]:
    """Return what may be said in *mode*, the choices at each stage of it; or raise ProfileUnsafe."""
    require_in_reach(profile)
    match mode:
        case Mode.PINLESS:
            return ((_inspect(profile), _pinless(profile)),)
        case Mode.PIN:
            return ((_inspect(profile), _with_pin(profile)),)
        case Mode.FRONT:
            return ((_front(profile),),)
        case Mode.VISUAL:
            return ((_front(profile),), (_inspect(profile), _pinless(profile)))


def _pinless(profile: Profile) -> Conversation:
    institution, shape = profile.institution, profile.institution.certificate
    load = (
        Form(
            institution.load_body,
            shape.block_1_start,
            shape.block_1_length,
            extended=True,
        ),
        Form(institution.load_signature, shape.block_2_start, shape.block_2_length, extended=True),
    )
    return (
        _select_application(profile.application.aid),
        _select_file(profile.files.anchor),
        *load,
        *load,
        Form(institution.get_challenge, le=institution.challenge_length),
        Form(
            institution.present_signature,
            length=SIGNATURE_LENGTH[institution.algorithm],
            extended=True,
            last=True,
        ),
        _select_file(profile.files.key),
        Form(profile.proof.sign_pinless, length=profile.proof.nonce_length, le=READ, last=True),
        *_read_certificate(profile),
    )


def _with_pin(profile: Profile) -> Conversation:
    pin, proof = profile.pin, profile.proof
    start = DIGEST_INFO_SHA256 if proof.input_with_pin == "digest-info" else b""
    return (
        _select_application(profile.application.aid),
        _select_file(profile.files.pin),
        Form(pin.verify, expect=_TRIED),
        PinForm(pin.verify, pin.digits),
        _select_file(profile.files.key),
        Form(
            proof.sign_with_pin,
            start,
            len(start) + len(digest(proof.algorithm, b"")),
            le=READ,
            last=True,
        ),
        *_read_certificate(profile),
    )


def _front(profile: Profile) -> Conversation:
    surface = profile.surface
    return (
        _select_application(surface.aid),
        _select_file(surface.verification_number),
        Form(surface.verify, expect=_TRIED),
        Form(surface.verify, length=_NUMBER_LENGTH, last=True, fits=_is_verification_number),
        _select_file(surface.front),
        *_read(range(LONGEST_FRONT // READ)),
        _select_file(surface.certificate),
        *_read(range(-(-Shape.RSA_2048.length // READ))),
        Form(
            surface.sign,
            DIGEST_INFO_SHA256,
            len(DIGEST_INFO_SHA256) + 32,
            le=CARD_SIGNATURE_LENGTH,
            last=True,
        ),
    )


def _inspect(profile: Profile) -> Conversation:
    return (
        _select_application(profile.application.aid),
        _select_file(profile.files.token_info),
        Form(_header(0xB0), le=token_info.LENGTH),
        _select_file(profile.files.presence),
        Form(_header(0xB0), le=3),
    )


def _select_application(aid: ApplicationId) -> Form:
    return Form(_header(0xA4, 0x04, 0x0C), aid, len(aid))


def _select_file(file: FileId) -> Form:
    return Form(_header(0xA4, 0x02, 0x0C), file, len(file))


def _read(pieces: Sequence[int]) -> tuple[Form, ...]:
    """Return the forms of reading a file from its start: the first piece, and as many of the others as wanted."""
    return tuple(Form(_header(0xB0, piece), le=READ, optional=piece > 0) for piece in pieces)


def _read_certificate(profile: Profile) -> Conversation:
    return (_select_file(profile.files.certificate), *_read(range(LONGEST_CERTIFICATE // READ)))


def _header(ins: int, p1: int = 0, p2: int = 0) -> Header:
    return Header((0x00, ins, p1, p2))


_NUMBER_LENGTH: Final = 14


def _is_verification_number(data: bytes) -> bool:
    """Whether *data* is 照合番号B, and so not the My Number or some other credential."""
    try:
        VerificationNumber(data.decode("ascii"))
    except (UnicodeDecodeError, VerificationNumberInvalid):
        return False
    return True
