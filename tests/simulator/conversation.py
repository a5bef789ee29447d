"""Talk with a software card in a few words: commands as hexadecimal text, and the institution's steps."""

from dataclasses import dataclass
from typing import Self

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.apdu import Command, Response
from appliance.card.cvc import Certificate
from appliance.simulator.card import SoftwareCard
from appliance.simulator.key_files import new_key
from appliance.simulator.pki import Hierarchy

JPKI = "00A4040C0AD392F000260100000001"
ANCHOR, KEY, PIN = "00A4020C020016", "00A4020C020017", "00A4020C020018"
VERIFY, QUERY = "002000800431323334", "00200080"
VERIFY_WRONG = "002000800439393939"
CHALLENGE = "0084000010"
NONCE = bytes(range(31)) + b"\xff"


def say(card: SoftwareCard, command: str | Command) -> Response:
    """Return the answer of *card* to *command*."""
    encoded = bytes.fromhex(command) if isinstance(command, str) else command.to_bytes()
    return Response.from_bytes(card.transmit(encoded))


def statuses(card: SoftwareCard, *commands: str | Command) -> str:
    """Return the status words that *card* answers to *commands*, in hexadecimal."""
    return " ".join(f"{say(card, command).status:04X}" for command in commands)


def sign(operation: int, data: bytes, reference: int = 0x97, *, extended: bool = False) -> Command:
    """Return a COMPUTE DIGITAL SIGNATURE."""
    return Command(0x80, 0x2A, operation, reference, data, 65_536 if extended else 256, extended)


def load(certificate: Certificate) -> tuple[Command, Command]:
    """Return the two commands that load *certificate*."""
    first, last = certificate.blocks
    return block(0x06, first), block(0x00, last)


def block(p1: int, data: bytes) -> Command:
    """Return the command that loads one block of a certificate."""
    return Command(0x80, 0xA2, p1, 0xC1, data, extended=True)


def authenticate(signature: bytes) -> Command:
    """Return EXTERNAL AUTHENTICATE with *signature*."""
    return Command(0x00, 0x82, 0x00, 0x80, signature, extended=True)


@dataclass(frozen=True, slots=True)
class Institution:
    """An institution: its key, and the certificates that say so."""

    key: rsa.RSAPrivateKey
    intermediate: Certificate
    leaf: Certificate

    @classmethod
    def certified_by(cls, hierarchy: Hierarchy, code: str) -> Self:
        """Return a new institution with *code*."""
        key = new_key()
        return cls(
            key, hierarchy.institution.intermediate, hierarchy.issue_institution(key.public_key(), code)
        )

    def answer(self, challenge: bytes) -> Command:
        """Return the EXTERNAL AUTHENTICATE that answers *challenge*."""
        return authenticate(self.key.sign(challenge, padding.PKCS1v15(), SHA256()))

    def load_chain(self, card: SoftwareCard) -> None:
        """Select the application and load both certificates."""
        commands = (JPKI, ANCHOR, *load(self.intermediate), *load(self.leaf))
        assert statuses(card, *commands) == "9000 9000 9000 9000 9000 9000"

    def enter(self, card: SoftwareCard) -> None:
        """Authenticate to *card*, from the selection of the application on."""
        self.load_chain(card)
        assert statuses(card, self.answer(say(card, CHALLENGE).data)) == "9000"
