"""What the options of `simulator` are: faults, digits, public keys."""

import re
from pathlib import Path

import click
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from appliance.card.algorithm import PublicKey
from appliance.config import read_bounded
from appliance.simulator import fault_text
from appliance.simulator.faults import Fault


class FaultType(click.ParamType[tuple[int | None, Fault]]):
    """A fault as text, for every card or, with its number in front, for one."""

    name = "fault"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int | None, Fault]:
        """Return which card *value* is about, None for every one, and the fault that it describes."""
        number, fault = re.fullmatch(r"(?:([1-9]):)?(.*)", value, re.DOTALL).groups()  # type: ignore[union-attr]  # it matches any text
        try:
            return (int(number) if number else None), fault_text.parse(fault)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class DigitsType(click.ParamType[str]):
    """So many digits."""

    name = "digits"

    def __init__(self, length: int) -> None:
        self._length = length

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return *value*, which has so many digits."""
        if len(value) != self._length or not (value.isascii() and value.isdigit()):
            self.fail(f"'{value}' has not {self._length} digits", param, ctx)
        return value


class InstitutionKeyType(click.ParamType[PublicKey]):
    """A public key in a PEM file, of a kind that institutions have."""

    name = "file"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> PublicKey:
        """Return the key in the file *value*."""
        try:
            key = load_pem_public_key(read_bounded(Path(value)))
        except ValueError as error:
            self.fail(f"{value} holds no PEM public key: {error}", param, ctx)
        if not isinstance(key, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            self.fail(f"{value} holds neither an RSA nor an elliptic curve key", param, ctx)
        return key
