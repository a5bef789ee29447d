"""
Records the session that `docs/terminal-protocol.md` shows: a PIN-less one with the software card, frame by frame.

    python -m tests.terminals.record_session docs/terminal-protocol.session.txt

Keys and person are made up for the occasion. `test_protocol_page` replays what is in the file.
"""

import asyncio
import sys
from datetime import UTC, datetime
from pathlib import Path

from appliance.authentication import converse
from appliance.card import jpki
from appliance.card.cvc import Chain
from appliance.card.nonce import Nonce
from appliance.card.profile import shipped
from appliance.simulator.card import SoftwareCard
from appliance.simulator.keys import sign_message
from appliance.simulator.people import AOBA, made_up
from appliance.simulator.pki import Hierarchy
from appliance.terminals.places import Terms
from appliance.terminals.relay import Relay
from tests.simulator.conversation import Institution
from tests.terminals.wire import play, served, unmoved, work

HEAD = """\
# A PIN-less session, frame by frame: T is the terminal, A the appliance. Made with the software card of this repository;
# card, person and institution do not exist. Above the frames stands what the appliance's dialogue was given: the nonce
# for the holder's card, and the institution's certificates. UNVERIFIED where the commands rest on the reference profile.
"""


async def recorded() -> str:
    """Return a session as text."""
    now = datetime.now(UTC).replace(microsecond=0)
    hierarchy = Hierarchy.create(now)
    institution = Institution.certified_by(hierarchy, "9912345")
    card = SoftwareCard(hierarchy.issue_card(now=now, person=made_up(AOBA, now.date())))
    card.power_on()
    nonce = Nonce.from_random(bytes(range(32)))
    dialogue = jpki.pinless(
        shipped("jpki-reference"), Chain(institution.intermediate, institution.leaf), nonce
    )

    async def sign(challenge: bytes) -> bytes:
        return sign_message(institution.key, challenge)

    async with served(Relay(Terms(), "https://appliance.example")) as there:
        wire = await there.terminal("counter-1")
        playing = asyncio.create_task(play(wire, card.transmit))
        async with there.relay.card("counter-1.r1", work(0x5E5510), unmoved) as remote:
            await converse(dialogue, remote, sign)
        await playing
    given = {
        "nonce": nonce.octets,
        "intermediate": institution.intermediate.to_bytes(),
        "leaf": institution.leaf.to_bytes(),
    }
    head = "".join(f"{name}: {value.hex().upper()}\n" for name, value in given.items())
    return HEAD + head + "\n".join(wire.transcript) + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(asyncio.run(recorded()), "utf-8")
