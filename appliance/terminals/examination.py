"""
One look at a reader and the card on it, check by check, for whoever has to find out why cards are not read.

Nothing is changed and no PIN is asked for. What is told of a card is its ATR, its kind and whether its certificate can be
read: nothing that would tell one card from another of its kind.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from time import monotonic, perf_counter
from typing import Final

from appliance.card import tlv
from appliance.card.apdu import SUCCESS, Command, Response
from appliance.card.jpki import LONGEST_CERTIFICATE
from appliance.card.profile import FileId, Profile
from appliance.card.token_info import Kind, TokenInfo
from appliance.errors import (
    CardAbsent,
    CardAnswerMalformed,
    CardError,
    CardNotJpki,
    CardStatusUnexpected,
    ReaderAbsent,
    ReaderAmbiguous,
)
from appliance.terminals import scard, transport
from appliance.terminals.attendant import Attendant
from appliance.terminals.session import abilities

_LABEL: Final = 32
_PIECE: Final = 256
_CERTIFICATE_TAG: Final = 0x30
_LOOK_MS: Final = 500
_GRACE_SECONDS: Final = 2.0


class ReaderCheck(StrEnum):
    """What is looked at, in this order."""

    SERVICE = "service"
    READER = "reader"
    CARD = "card"
    APPLICATION = "application"
    KIND = "kind"
    EXTENDED = "extended"
    CERTIFICATE = "certificate"
    PIN_PAD = "pin-pad"


class ReaderVerdict(StrEnum):
    """What a check ended with."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"


class ReaderAdvice(StrEnum):
    """What is to be done; the catalogue has the words."""

    SERVICE = "service"
    PERMISSION = "permission"
    NO_READER = "no-reader"
    WHICH_READER = "which-reader"
    NO_CARD = "no-card"
    UNREADABLE = "unreadable"
    BUSY = "busy"
    NOT_JPKI = "not-jpki"
    OTHER_KIND = "other-kind"
    EXTENDED = "extended"
    CERTIFICATE = "certificate"
    PAD = "pad"
    NO_PAD = "no-pad"


ADVICE: Final = {
    "pcsc_unavailable": ReaderAdvice.SERVICE,
    "pcsc_refused": ReaderAdvice.PERMISSION,
    "reader_absent": ReaderAdvice.NO_READER,
    "reader_ambiguous": ReaderAdvice.WHICH_READER,
    "card_absent": ReaderAdvice.NO_CARD,
    "card_busy": ReaderAdvice.BUSY,
    "card_not_jpki": ReaderAdvice.NOT_JPKI,
}
"""What is advised on an error; on all others, what helps against a card that cannot be read."""


@dataclass(frozen=True, slots=True)
class ReaderFinding:
    """What one check found, within *seconds*. *detail* is for technicians; *code* is that of an error."""

    check: ReaderCheck
    verdict: ReaderVerdict
    detail: str
    advice: ReaderAdvice | None = None
    code: str | None = None
    seconds: float = 0.0


class ReaderExamination:
    """
    A look at the one reader whose name contains *part*; without one, at the reader that a card lies on.

    A card is waited for *wait* seconds; each check may take *seconds* more.
    """

    def __init__(
        self, profile: Profile, part: str | None = None, *, wait: float = 5.0, seconds: float = 10.0
    ) -> None:
        self._profile, self._part, self._wait, self._seconds = profile, part, wait, seconds
        self._readers: tuple[str, ...] = ()
        self._reader = ""
        self._label = b""
        self._stack = ExitStack()

    async def findings(self) -> AsyncIterator[ReaderFinding]:
        """Yield what each check finds; the first that fails is the last one, where the next could not work."""
        attendant = Attendant("examination")
        try:
            for check, look in self._checks():
                began = perf_counter()
                try:
                    found = await attendant.call(look, self._wait + self._seconds)
                    goes_on = check in {ReaderCheck.EXTENDED, ReaderCheck.CERTIFICATE}
                except CardError as error:
                    # What a check does not tell of by itself is of a card that can be asked nothing more.
                    goes_on = False
                    advice = ADVICE.get(error.code, ReaderAdvice.UNREADABLE)
                    found = ReaderFinding(check, ReaderVerdict.FAILED, error.detail, advice, error.code)
                yield ReaderFinding(
                    found.check, found.verdict, found.detail, found.advice, found.code, perf_counter() - began
                )
                if found.verdict is ReaderVerdict.FAILED and not goes_on:
                    break
        finally:
            attendant.submit(self._stack.close)
            attendant.end()

    def _checks(self) -> tuple[tuple[ReaderCheck, Callable[[], ReaderFinding]], ...]:
        return (
            (ReaderCheck.SERVICE, self._service),
            (ReaderCheck.READER, self._find_readers),
            (ReaderCheck.CARD, self._power_card),
            (ReaderCheck.APPLICATION, self._select_application),
            (ReaderCheck.KIND, self._read_kind),
            (ReaderCheck.EXTENDED, self._read_extended),
            (ReaderCheck.CERTIFICATE, self._read_certificate),
            (ReaderCheck.PIN_PAD, self._find_pad),
        )

    def _service(self) -> ReaderFinding:
        self._context = self._stack.enter_context(scard.context())
        return ReaderFinding(ReaderCheck.SERVICE, ReaderVerdict.OK, "the PC/SC service answers")

    def _find_readers(self) -> ReaderFinding:
        names = self._context.readers()
        self._readers = tuple(name for name in names if self._part is None or self._part in name)
        if not self._readers:
            raise ReaderAbsent("connected: " + (", ".join(names) or "no reader"))
        if self._part is not None and len(self._readers) > 1:
            raise ReaderAmbiguous("the name fits: " + ", ".join(self._readers))
        return ReaderFinding(ReaderCheck.READER, ReaderVerdict.OK, ", ".join(self._readers))

    def _power_card(self) -> ReaderFinding:
        self._reader = self._await_card()
        self._connect()
        return ReaderFinding(
            ReaderCheck.CARD, ReaderVerdict.OK, f"{self._reader}, ATR {self._connection.atr.hex().upper()}"
        )

    def _await_card(self) -> str:
        deadline = monotonic() + self._wait
        while True:
            states = {name: self._context.state(name) for name in self._readers}
            found = [name for name, state in states.items() if state.card_present]
            if len(found) > 1:
                raise ReaderAmbiguous("cards lie on: " + ", ".join(found))
            if found:
                return found[0]
            if monotonic() >= deadline:
                raise CardAbsent(f"no card was put on the reader within {self._wait:g} s")
            self._context.wait(states, _LOOK_MS)

    def _connect(self) -> None:
        """Connect to the card; for a moment after it was put on, that fails."""
        deadline = monotonic() + _GRACE_SECONDS
        while True:
            try:
                self._connection = self._stack.enter_context(scard.connected(self._reader))
            except (CardAbsent, ReaderAbsent) as error:
                if monotonic() >= deadline:
                    raise error from None
                self._context.wait({self._reader: self._context.state(self._reader)}, _LOOK_MS)
            else:
                return

    def _select_application(self) -> ReaderFinding:
        response = self._send(Command(0x00, 0xA4, 0x04, 0x0C, self._profile.application.aid))
        if response.status != SUCCESS:
            raise CardNotJpki(f"the card answered {response.status:04X} to SELECT of the JPKI application")
        return ReaderFinding(ReaderCheck.APPLICATION, ReaderVerdict.OK, "the JPKI application is there")

    def _read_kind(self) -> ReaderFinding:
        self._select_file("token info", self._profile.files.token_info)
        self._label = self._require("token info", Command(0x00, 0xB0, 0, 0, le=_LABEL))
        kind = TokenInfo.from_bytes(self._label).kind
        if kind is Kind.MY_NUMBER_CARD:
            return ReaderFinding(ReaderCheck.KIND, ReaderVerdict.OK, kind)
        return ReaderFinding(ReaderCheck.KIND, ReaderVerdict.WARNING, kind, ReaderAdvice.OTHER_KIND)

    def _read_extended(self) -> ReaderFinding:
        """Read the label once more, by an extended command that every card with extended APDUs answers alike."""
        if abilities(self._connection).extended is False:
            detail = "the reader says that it transmits short APDUs only"
        else:
            try:
                response = self._send(Command(0x00, 0xB0, 0, 0, le=_LABEL, extended=True))
            except CardError as error:
                detail = error.detail
                self._stack.close()
                self._context = self._stack.enter_context(scard.context())
                self._connect()
                self._select_application()
            else:
                if (response.status, response.data) == (SUCCESS, self._label):
                    return ReaderFinding(
                        ReaderCheck.EXTENDED, ReaderVerdict.OK, "an extended READ BINARY was answered"
                    )
                detail = f"an extended READ BINARY was answered {response.status:04X}"
        return ReaderFinding(
            ReaderCheck.EXTENDED,
            ReaderVerdict.FAILED,
            detail,
            ReaderAdvice.EXTENDED,
            "reader_without_extended",
        )

    def _read_certificate(self) -> ReaderFinding:
        try:
            self._require_certificate()
        except (CardStatusUnexpected, CardAnswerMalformed) as error:
            return ReaderFinding(
                ReaderCheck.CERTIFICATE,
                ReaderVerdict.FAILED,
                error.detail,
                ReaderAdvice.CERTIFICATE,
                error.code,
            )
        return ReaderFinding(ReaderCheck.CERTIFICATE, ReaderVerdict.OK, "read to its end")

    def _require_certificate(self) -> None:
        """Read the certificate as an authentication does, and forget it."""
        self._select_file("certificate", self._profile.files.certificate)
        content = b""
        for piece in range(LONGEST_CERTIFICATE // _PIECE):
            brought = self._require("certificate", Command(0x00, 0xB0, piece, 0, le=_PIECE))
            content += brought
            if content[:1] != bytes([_CERTIFICATE_TAG]):
                raise CardAnswerMalformed("the file does not begin with a certificate")
            if len(content) >= tlv.total_length(content[:8]):
                return
            if len(brought) != _PIECE:
                raise CardAnswerMalformed("the file ends before the certificate does")
        raise CardAnswerMalformed("the certificate is longer than one can be")

    def _find_pad(self) -> ReaderFinding:
        if abilities(self._connection).pad is None:
            return ReaderFinding(ReaderCheck.PIN_PAD, ReaderVerdict.OK, "none", ReaderAdvice.NO_PAD)
        return ReaderFinding(ReaderCheck.PIN_PAD, ReaderVerdict.OK, "UNVERIFIED", ReaderAdvice.PAD)

    def _select_file(self, name: str, file: FileId) -> None:
        self._require(name, Command(0x00, 0xA4, 0x02, 0x0C, file))

    def _require(self, name: str, command: Command) -> bytes:
        response = self._send(command)
        if response.status != SUCCESS:
            raise CardStatusUnexpected(name, response.status)
        return response.data

    def _send(self, command: Command) -> Response:
        return Response.from_bytes(transport.transmit(command.to_bytes(), self._connection.transmit))
