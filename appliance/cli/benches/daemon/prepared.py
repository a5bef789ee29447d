"""
What the terminals of the load say: cards whose every answer but one is prepared, so that they cost little.

The holder's signature is made for each authentication, for it is over the appliance's nonce. Certificates of the
institution are taken as they come, and its signature is not verified: that is the card's work, which is not measured.
"""

import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from appliance.card.apdu import Command
from appliance.card.file import READ
from appliance.errors import ConfigInvalid
from appliance.simulator.card_data import CardData
from appliance.terminals.messages import Scenario

_OK: Final = "9000"
_CHALLENGE_BYTES: Final = 16
_FILE_BYTES: Final = 2_000
"""Of the certificate's file: what is behind the certificate is filler."""
_PKCS1V15, _SHA256 = padding.PKCS1v15(), SHA256()


@dataclass(frozen=True, slots=True)
class PreparedCard:
    """A card that takes any institution, and signs PIN-less with *key* for the one of *institution_code*."""

    key: rsa.RSAPrivateKey = field(repr=False)
    pieces: tuple[str, ...] = field(repr=False)
    institution_code: bytes

    @classmethod
    def load(cls, folder: Path, institution_code: str) -> "PreparedCard":
        """Return the card kept in *folder*."""
        data = CardData.load(folder)
        if not isinstance(data.private_key, rsa.RSAPrivateKey):
            raise ConfigInvalid(f"the card in {folder} does not sign with RSA")
        file = data.certificate.ljust(_FILE_BYTES, b"\xff")
        pieces = tuple(
            (file[start : start + READ] + b"\x90\x00").hex().upper() for start in range(0, len(file), READ)
        )
        return cls(data.private_key, pieces, institution_code.encode())

    def answers(self, scenario: Scenario) -> tuple[str, ...]:
        """Return the responses to *scenario*, in hexadecimal."""
        answers: list[str] = []
        for step in scenario.steps:
            match step.name:
                case "get-challenge":
                    answers.append(secrets.token_hex(_CHALLENGE_BYTES).upper() + _OK)
                case "sign":
                    nonce = Command.from_bytes(bytes.fromhex(step.command or "")).data
                    signature = self.key.sign(nonce + self.institution_code, _PKCS1V15, _SHA256)
                    answers.append(signature.hex().upper() + _OK)
                case "read-certificate":
                    # The last steps, all of them.
                    answers += self.pieces
                    break
                case _:
                    answers.append(_OK)
        return tuple(answers)
