"""
A hostile card: whatever bytes it is made of, every dialogue ends with a result or an error of ours.

`play` is the whole target. The fuzzer in `__main__` looks for bytes that break it, and the test replays what was
found worth keeping.
"""

from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card import jpki, surface
from appliance.card.apdu import Response
from appliance.card.cvc import Body, Certificate, Chain, KeyReference, check_chain
from appliance.card.dialogue import Dialogue, InstitutionSignature
from appliance.card.front import Front
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.card.surface import FrontReading
from appliance.card.verification_number import VerificationNumber
from appliance.errors import ApplianceError
from appliance.trust import certificates

PROFILE = shipped("jpki-reference")
NONCE = Nonce(b"\xff" * 32)
NUMBER = VerificationNumber.of(date(1980, 2, 17), 2035, "2285")

MOST_COMMANDS = 160
"""A front of the longest kind takes 127 reads; no dialogue needs more commands than this."""
_STATUS = (0x9000, 0x6B00, 0x63C3, 0x63C1, 0x63C0, 0x6982, 0x6A82, 0x6300, 0x6985, 0x6984)
_BEGINNINGS = (
    b"",
    b"\x30\x82\x06\x00",
    b"\xff\x20\x82\x20\x00",
    b"\x7f\x21\x82\x02\x33",
    b"JPKIAPICCTOKEN2".ljust(32),
)


@cache
def _chain() -> Chain:
    key = rsa.generate_private_key(65_537, 2_048)
    names = [KeyReference.of(code) for code in ("0000001", "0000002", "9912345")]

    def certified(issuer: int) -> Certificate:
        body = Body(names[issuer], names[issuer + 1], key.public_key())
        return Certificate(body, key.sign(body.to_bytes(), padding.PKCS1v15(), SHA256()))

    return check_chain(certified(0), certified(1))


def _dialogues() -> tuple[Dialogue[Any], ...]:
    return (
        jpki.pinless(PROFILE, _chain(), NONCE),
        jpki.with_pin(PROFILE, NONCE, last_try=True),
        jpki.inspect(PROFILE),
        surface.read_front(PROFILE, NUMBER, NONCE),
    )


@dataclass(slots=True)
class Source:
    """Bytes that are consumed; at their end zeros go on."""

    octets: bytes
    position: int = 0

    def take(self, count: int) -> bytes:
        """Return the next *count* bytes."""
        taken = self.octets[self.position : self.position + count]
        self.position += count
        return taken.ljust(count, b"\x00")

    def number(self, below: int) -> int:
        """Return a number below *below*."""
        return int.from_bytes(self.take(1)) % below

    def response(self, wanted: int | None) -> Response:
        """Return an answer to a command that wants *wanted* bytes: of that length, or of another."""
        kind = self.number(8)
        status = _STATUS[self.number(len(_STATUS))] if kind & 1 else _STATUS[0]
        if kind == 7:
            status = int.from_bytes(self.take(2))
        length = self.number(256) if kind & 2 else (wanted or 0)
        beginning = _BEGINNINGS[self.number(len(_BEGINNINGS))]
        data = (beginning + self.take(self.number(32))).ljust(length, self.take(1))
        return Response(data[:length] if not kind & 4 else data, status)


def play(octets: bytes) -> None:
    """Let a card made of *octets* answer one dialogue; an exception that is not ours comes out."""
    source = Source(octets)
    dialogues = _dialogues()
    dialogue = dialogues[source.number(len(dialogues))]
    commands = 0
    answer: tuple[Response, ...] | bytes | None = None
    try:
        while True:
            request = next(dialogue) if answer is None else dialogue.send(answer)
            if isinstance(request, InstitutionSignature):
                answer = bytes(256)
                continue
            played: list[Response] = []
            for step in request.steps:
                commands += 1
                assert commands <= MOST_COMMANDS, "a dialogue does not come to an end"
                command = getattr(step, "command", None)
                played.append(source.response(command.le if command else None))
                if played[-1].status not in step.expect:
                    break
            answer = tuple(played)
    except StopIteration as end:
        _look_at(end.value)
    except ApplianceError:
        pass


def _look_at(result: object) -> None:
    """Do with a *result* what `trust` does first."""
    try:
        if isinstance(result, FrontReading):
            Front.from_bytes(result.front)
            Certificate.from_bytes(result.certificate)
        elif isinstance(result, jpki.HolderProof):
            certificates.parse(result.certificate)
    except ApplianceError:
        pass
