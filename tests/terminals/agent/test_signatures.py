"""Scenarios that have to be signed: what a terminal that insists on it takes for one."""

from dataclasses import dataclass, field, replace
from typing import Any

import jwt
import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from appliance.terminals.messages import (
    CloseCode,
    Mode,
    Responses,
    Scenario,
    SignedScenario,
    TerminalCode,
)
from appliance.trust.jwk import SCENARIO_SECONDS, SCENARIO_TYPE, jwk, thumbprint
from tests.terminals.agent.conftest import (
    KEY,
    LOOK,
    OTHER,
    SIGNED,
    STRANGER,
    Begin,
    Hand,
    Institution,
    problem,
)
from tests.terminals.agent.far_side import READER, SESSION, FarCard, FarSide


@dataclass(slots=True)
class SigningCard(FarCard):
    """The card at a terminal that insists on signatures; *claims* and *header* are changed as a test wants."""

    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: KEY)
    changes: dict[str, object] = field(default_factory=dict)
    header: dict[str, object] = field(default_factory=dict)

    async def written(self, scenario: Scenario) -> SignedScenario:
        """Return *scenario* as a JWS."""
        now = 1_800_000_000
        claims = {
            "iss": "appliance.test",
            "iat": now,
            "exp": now + SCENARIO_SECONDS,
            "terminal": "ward-3",
            "nonce": "2a" * 16,
            "reader": READER,
            "mode": "pinless",
            **msgspec.to_builtins(scenario),
            **self.changes,
        }
        del claims["type"]
        header = {"typ": SCENARIO_TYPE, "kid": thumbprint(KEY.public_key()), **self.header}
        return SignedScenario(jws=jwt.encode(claims, self.key, algorithm="ES256", headers=header))


async def test_signed_scenarios_are_done(
    side: FarSide, begin: Begin, hand: Hand, institution: Institution
) -> None:
    """What the pinned key has signed for this terminal, connection, reader, mode and session is done."""
    hand.put()
    await begin(**SIGNED)
    line = await side.line()
    assert (await line.welcome()).require_signed
    await line.start(Mode.PINLESS)
    assert len((await institution.authenticate(SigningCard(line, SESSION))).signature) == 256


@pytest.mark.parametrize(
    "changes",
    [
        {"key": STRANGER},
        {"key": STRANGER, "header": {"kid": thumbprint(STRANGER.public_key())}},
        {"header": {"typ": "jpki-authentication+jwt"}},
        {"changes": {"iss": "somebody.test"}},
        {"changes": {"terminal": "ward-4"}},
        {"changes": {"nonce": "2b" * 16}},
        {"changes": {"reader": "desk-2"}},
        {"changes": {"mode": "pin"}},
        {"changes": {"iat": 1_799_999_000, "exp": 1_799_999_060}},
        {"changes": {"iat": 1_800_000_070, "exp": 1_800_000_130}},
        {"changes": {"exp": 1_800_009_000}},
        {"changes": {"exp": 1_799_999_000}},
    ],
)
async def test_what_is_signed_for_somebody_else_is_refused(
    changes: dict[str, Any], side: FarSide, begin: Begin
) -> None:
    """Another key, type, issuer, terminal, connection, reader, mode or time: the session ends, and no card was touched."""
    await begin(**SIGNED)
    line = await side.welcomed()
    await line.start(Mode.PINLESS)
    card = SigningCard(line, SESSION, **changes)
    await line.say(await card.written(card.scenario(LOOK)))
    await problem(line, TerminalCode.SIGNATURE_REFUSED)


async def test_an_unsigned_or_altered_scenario_is_refused(side: FarSide, begin: Begin) -> None:
    """Who insists on signatures does nothing without one, and nothing that was changed after it was signed."""
    await begin(**SIGNED)
    line = await side.welcomed()
    card = await line.start(Mode.PINLESS)
    await line.say(card.scenario(LOOK))
    await problem(line, TerminalCode.SIGNATURE_REFUSED)
    await line.start(Mode.PINLESS, OTHER)
    signing = SigningCard(line, OTHER)
    header, _, signature = (await signing.written(signing.scenario(LOOK))).jws.split(".")
    longer = replace(signing, deadline_ms=30_000)
    _, payload, _ = (await longer.written(longer.scenario(LOOK))).jws.split(".")
    await line.say(SignedScenario(jws=f"{header}.{payload}.{signature}"))
    await problem(line, TerminalCode.SIGNATURE_REFUSED)


async def test_a_signed_scenario_is_done_once(side: FarSide, begin: Begin, hand: Hand) -> None:
    """Sent again, in the same session, it costs the connection; what is of another session does, too."""
    hand.put()
    await begin(**SIGNED)
    line = await side.welcomed()
    await line.start(Mode.PINLESS)
    card = SigningCard(line, SESSION)
    await line.card(present=True)
    written = await card.written(card.scenario(LOOK))
    await line.say(written)
    await line.hear(Responses)
    await line.say(written)
    assert await line.closed() == CloseCode.VIOLATED


async def test_the_announced_key_is_taken_only_where_none_is_pinned(
    side: FarSide, begin: Begin, hand: Hand
) -> None:
    """Without a pinned key the appliance's word counts, and without that there is no connection."""
    hand.put()
    running = await begin(require_signed=True)
    line = await side.welcomed()
    assert await line.closed() == CloseCode.SIGNING_OFF
    assert (await running.away()).code == "terminal_signature_refused"
    line = await side.line()
    await line.welcome(scenario_key=jwk(KEY.public_key()))
    await line.start(Mode.PINLESS)
    assert (await SigningCard(line, SESSION).exchange(LOOK))[0].status == 0x9000
