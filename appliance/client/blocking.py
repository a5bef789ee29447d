"""The same in one call, for programs that have no event loop."""

import asyncio
from typing import Unpack

from appliance.client.address import Address
from appliance.client.checks import IdentityCheck
from appliance.client.client import Client, Mode, Options
from appliance.client.result import Result


def authenticate(  # noqa: PLR0913, PLR0917 - those of Client and its method, in their order
    address: Address,
    audience: str,
    desk: str,
    mode: Mode,
    identity_check: IdentityCheck | None = None,
    keys: bytes | None = None,
    **options: Unpack[Options],
) -> Result:
    """
    Authenticate the holder of the card at *desk*, and return the verified result when there is one.

    As `Client.authenticate`, and not to be called where an event loop runs. An interrupt (Ctrl-C) cancels it. `seconds`
    are kept where a comparison ends once it is cancelled (`VisualCheck`).
    """

    async def ask() -> Result:
        async with Client(address, audience=audience, keys=keys) as client:
            return await client.authenticate(desk, mode, identity_check, **options)

    return asyncio.run(ask())
