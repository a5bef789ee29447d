"""Authenticate the holder of the card at a desk: python authenticate.py SOCKET AUDIENCE DESK DEVICE."""

import asyncio
import sys

from appliance.client import ApplianceError, Client, FaceCheck, Language, Socket, told


async def main(socket: str, audience: str, desk: str, device: str) -> str:
    """Return what reception is shown."""
    async with Client(Socket(socket), audience=audience, language=Language.JA) as client:
        try:
            result = await client.authenticate(desk, "pinless", FaceCheck(device))
        except ApplianceError as error:
            shown = told(error, Language.JA)
            return f"[{shown.code}] {shown.title}{shown.clerk} ({shown.request_id})"
        return f"{result.claims.terminal}: {result.claims.sub}, {result.claims.assurance}"


print(asyncio.run(main(*sys.argv[1:])))
