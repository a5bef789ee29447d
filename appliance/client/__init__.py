"""
For programs that ask an appliance: authenticate at a desk, wait, verify.

    async with Client(Socket(Path("run/appliance.sock")), audience="reception.example.jp") as client:
        result = await client.authenticate("desk-1", "pinless", FaceCheck("kiosk-1"))

docs/integrators.en.md tells the rest. Whatever fails is an `ApplianceError` with a stable `code`; `told` gives the texts
for people.
"""

from appliance.catalogue import Language
from appliance.client.address import Address, Network, Socket
from appliance.client.answers import Desk, Front, Problem
from appliance.client.blocking import authenticate
from appliance.client.checks import EmergencyCheck, FaceCheck, IdentityCheck, Printed, VisualCheck
from appliance.client.client import Client, Mode, Options
from appliance.client.refused import Refused, Told, told
from appliance.client.result import Claims, Result
from appliance.errors import (
    ApplianceAnswerInvalid,
    ApplianceError,
    ApplianceLate,
    ApplianceUnreachable,
    AuthenticationCancelled,
    ClientError,
    JwksInvalid,
    TokenInvalid,
)

__all__ = [
    "Address",
    "ApplianceAnswerInvalid",
    "ApplianceError",
    "ApplianceLate",
    "ApplianceUnreachable",
    "AuthenticationCancelled",
    "Claims",
    "Client",
    "ClientError",
    "Desk",
    "EmergencyCheck",
    "FaceCheck",
    "Front",
    "IdentityCheck",
    "JwksInvalid",
    "Language",
    "Mode",
    "Network",
    "Options",
    "Printed",
    "Problem",
    "Refused",
    "Result",
    "Socket",
    "TokenInvalid",
    "Told",
    "VisualCheck",
    "authenticate",
    "told",
]
