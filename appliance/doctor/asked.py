"""What the running daemon says of itself, asked at its local socket; and one question to it, whatever it is."""

import errno
from pathlib import Path
from typing import Final

import msgspec

from appliance.client import Address, Socket
from appliance.client.answers import decoded
from appliance.client.exchange import Answer, Ask, Exchange
from appliance.config import Configuration
from appliance.doctor import unit
from appliance.errors import AccessDenied, ApplianceUnreachable
from appliance.gateway.condition import Cause, Condition
from appliance.gateway.desks import DeskStatus

_SECONDS: Final = 10.0


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """`/v1/status`: whether authentications can be made, why not, and how all parts are."""

    ready: bool
    causes: tuple[Cause, ...]
    condition: Condition
    desks: tuple[DeskStatus, ...]


def socket_of(configuration: Configuration) -> Path:
    """Return where the daemon of *configuration* is asked."""
    return configuration.path(configuration.settings.gateway.socket)


async def ask(socket: Path, language: str = "en") -> Told:
    """
    Return what the daemon at *socket* says, without having systemd start one.

    Raises ApplianceUnreachable where none runs, AccessDenied or Refused where this account may not ask, and
    ApplianceAnswerInvalid.
    """
    answer = await once(Socket(socket), Ask("GET", "/v1/status", seconds=_SECONDS), language)
    return decoded(answer.body, Told, answer.request_id)


async def once(address: Address, question: Ask, language: str = "en") -> Answer:
    """Return the answer to one *question* to the daemon at *address*; raise as `ask` does."""
    if isinstance(address, Socket) and unit.sleeps(Path(address.path)):
        raise ApplianceUnreachable(f"{unit.SERVICE} does not run")
    exchange = Exchange(address, language)
    try:
        return await exchange.once(question)
    except ApplianceUnreachable as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EPERM}:
            raise AccessDenied(f"this account may not connect to {_place(address)}") from error
        raise ApplianceUnreachable(f"nothing answers at {_place(address)}", error.request_id) from error
    finally:
        await exchange.close()


def is_away(error: ApplianceUnreachable) -> bool:
    """Return whether *error*, of `once`, says that nobody listens; one that listens and does not answer may be hung."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError):
            return cause.errno in {errno.ENOENT, errno.ECONNREFUSED}
        cause = cause.__cause__
    return error.__cause__ is None


def _place(address: Address) -> str:
    return str(address.path) if isinstance(address, Socket) else address.url
