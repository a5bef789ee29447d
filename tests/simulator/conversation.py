"""Talk with a software card in a few words: commands as hexadecimal text, and the institution's steps."""

from dataclasses import dataclass
from typing import Self

from appliance.card.apdu import Command, Response
from appliance.card.cvc import Certificate
from appliance.simulator.card import SoftwareCard
from appliance.simulator.key_files import PrivateKey, new_key
from appliance.simulator.keys import sign_message
from appliance.simulator.pki import Hierarchy

JPKI = "00A4040C0AD392F000260100000001"
SURFACE, TEXT = "00A4040C0AD3921000310001010402", "00A4040C0AD3921000310001010408"
ANCHOR, KEY, PIN = "00A4020C020016", "00A4020C020017", "00A4020C020018"
VERIFY, QUERY = "002000800431323334", "00200080"
VERIFY_WRONG = "002000800439393939"
CHALLENGE = "0084000010"
NONCE = bytes(range(31)) + b"\xff"


def select(file_id: int) -> str:
    """Return the command that selects a file."""
    return f"00A4020C02{file_id:04X}"


def read(file_id: int) -> str:
    """Return the command that reads all of a file, by its short id."""
    return f"00B0{0x80 | file_id:02X}00000000"


def verify(file_id: int, secret: str) -> str:
    """Return the command that verifies *secret* as the credential in a file, by its short id."""
    return f"002000{0x80 | file_id:02X}{len(secret):02X}{secret.encode('ascii').hex()}"


def query(file_id: int) -> str:
    """Return the command that asks for the tries of the credential in a file, by its short id."""
    return f"002000{0x80 | file_id:02X}"


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

    key: PrivateKey
    intermediate: Certificate
    leaf: Certificate

    @classmethod
    def certified_by(cls, hierarchy: Hierarchy, code: str, key: PrivateKey | None = None) -> Self:
        """Return a new institution with *code*, and *key* or an RSA one."""
        key = key or new_key()
        authority = hierarchy.institution_for(key.public_key())
        return cls(key, authority.intermediate, hierarchy.issue_institution(key.public_key(), code))

    def answer(self, challenge: bytes) -> Command:
        """Return the EXTERNAL AUTHENTICATE that answers *challenge*."""
        return authenticate(sign_message(self.key, challenge))

    def load_chain(self, card: SoftwareCard) -> None:
        """Select the application and load both certificates."""
        commands = (JPKI, ANCHOR, *load(self.intermediate), *load(self.leaf))
        assert statuses(card, *commands) == "9000 9000 9000 9000 9000 9000"

    def enter(self, card: SoftwareCard) -> None:
        """Authenticate to *card*, from the selection of the application on."""
        self.load_chain(card)
        assert statuses(card, self.answer(say(card, CHALLENGE).data)) == "9000"
