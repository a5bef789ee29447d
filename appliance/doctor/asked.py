"""What the running daemon says of itself, asked at its local socket."""

import errno
from pathlib import Path
from typing import Final

import msgspec

from appliance.client import Socket
from appliance.client.answers import decoded
from appliance.client.exchange import Ask, Exchange
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


async def ask(socket: Path, language: str = "en") -> Told:
    """
    Return what the daemon at *socket* says, without having systemd start one.

    Raises ApplianceUnreachable where none runs, AccessDenied or Refused where this account may not ask, and
    ApplianceAnswerInvalid.
    """
    if unit.sleeps(socket):
        raise ApplianceUnreachable(f"{unit.SERVICE} does not run")
    exchange = Exchange(Socket(socket), language)
    try:
        answer = await exchange.once(Ask("GET", "/v1/status", seconds=_SECONDS))
    except ApplianceUnreachable as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in {errno.EACCES, errno.EPERM}:
            raise AccessDenied(f"this account may not connect to {socket}") from error
        raise ApplianceUnreachable(f"nothing answers at {socket}", error.request_id) from error
    finally:
        await exchange.close()
    return decoded(answer.body, Told, answer.request_id)
