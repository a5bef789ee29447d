"""Tokens and evidence of real authentications, verified by the gateway; and the keys that it publishes."""

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.config import load
from appliance.errors import ConfigInvalid
from appliance.gateway import token as tokens
from appliance.gateway.keys import EarlierKey, PublishedKeys
from appliance.gateway.services import Services
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors
from appliance.trust.decision import STEPS, Trust
from appliance.trust.jwk import thumbprint
from tests.gateway.house import KEY, NOW, House, peer, services, serving
from tests.gateway.reception import AUDIENCE, OTHER_AUDIENCE, TOKEN_KEY, open_reception

EXAMPLE = Path(__file__).parents[2] / "hsm-config" / "appliance.toml"


class Made(NamedTuple):
    """What an authentication has left to its owner."""

    token: str
    evidence: str


@pytest.fixture(scope="module")
def made(hierarchy: Hierarchy, now: datetime) -> Made:
    """Authenticate once."""

    async def authenticate() -> Made:
        with tempfile.TemporaryDirectory(prefix="gateway-") as folder:
            data = hierarchy.issue_card(now=now)
            async with open_reception(Path(folder), hierarchy, data, now) as reception:
                check = {"method": "face", "device": "face-1"}
                order = {"desk": "desk-1", "mode": "pinless", "identity_check": check, "nonce": "visit-4711"}
                ended = await reception.end(await reception.begin(order | {"evidence": True}))
                return Made(ended["token"], ended["evidence"])

    return asyncio.run(authenticate())


@pytest.fixture
def offered(hierarchy: Hierarchy, now: datetime) -> Services:
    """Return a gateway that publishes the key which the token was signed with."""
    return services(
        [peer(audience=AUDIENCE)],
        keys=PublishedKeys(TOKEN_KEY.public_key()),
        trust=Trust(Anchors(hierarchy.ca_certificates), hierarchy.root_key),
        clock=lambda: now + timedelta(seconds=1),
    )


async def token_answer(house: House, **question: str) -> tuple[int, dict[str, object]]:
    """Ask whether a token is genuine."""
    async with house.session().post("/v1/tokens/verify", json=question) as answer:
        return answer.status, await answer.json(content_type=None)


async def evidence_answer(house: House, document: bytes) -> tuple[int, dict[str, object]]:
    """Ask whether evidence is genuine."""
    headers = {"Content-Type": "application/json"}
    async with house.session().post("/v1/evidence/verify", data=BytesIO(document), headers=headers) as answer:
        return answer.status, await answer.json(content_type=None)


async def test_a_genuine_token_is_told_with_its_claims(made: Made, offered: Services, tmp_path: Path) -> None:
    """For the caller's own audience, without a key list in the question: the gateway's own keys count."""
    async with serving(offered, tmp_path) as house:
        status, content = await token_answer(house, token=made.token)
        assert status == 200
        assert content["valid"] is True
        assert content["claims"] == tokens.claims_of(made.token)
        assert (await token_answer(house, token=made.token, nonce="visit-4711"))[0] == 200


async def test_a_token_that_does_not_hold_is_a_problem(
    made: Made, offered: Services, now: datetime, tmp_path: Path
) -> None:
    """Another audience, nonce, time or key, or a changed claim: 422, so that the status alone says it."""
    header, claims, signature = made.token.split(".")
    async with serving(offered, tmp_path) as house:
        for question in (
            {"token": made.token, "audience": OTHER_AUDIENCE},
            {"token": made.token, "nonce": "visit-4712"},
            {"token": f"{header}.{claims[:20]}{'AB'[claims[20] == 'A']}{claims[21:]}.{signature}"},
            {"token": "no token"},
        ):
            status, content = await token_answer(house, **question)
            assert (status, content["code"]) == (422, "token_invalid")
        offered.clock = lambda: now + timedelta(hours=1)
        assert (await token_answer(house, token=made.token))[0] == 422
        offered.clock = lambda: now + timedelta(seconds=1)
        offered.keys = PublishedKeys(KEY.public_key())
        assert (await token_answer(house, token=made.token))[0] == 422


async def test_genuine_evidence_is_explained_step_by_step(
    made: Made, offered: Services, tmp_path: Path
) -> None:
    """Each check with what it found, and the hash that the token names."""
    async with serving(offered, tmp_path) as house:
        status, content = await evidence_answer(house, made.evidence.encode())
        assert status == 200
        steps = content["steps"]
        assert isinstance(steps, list)
        assert [step["name"] for step in steps] == list(STEPS)
        assert content["sha256"] == sha256(made.evidence.encode()).hexdigest()
        assert content["sha256"] == tokens.claims_of(made.token)["evidence"]


async def test_evidence_that_does_not_hold_is_a_problem_that_names_the_step(
    made: Made, offered: Services, tmp_path: Path
) -> None:
    """Changed, of another form, of a CA that is not believed, or far too large."""
    changed = msgspec.json.decode(made.evidence) | {"terminal": "desk-2"}
    async with serving(offered, tmp_path) as house:
        for document, step in (
            (msgspec.json.encode(changed, order="sorted"), "digest"),
            (b"{}", "form"),
            (made.evidence.encode() + b" ", "form"),
            (b" " * (300 << 10), "form"),
        ):
            status, content = await evidence_answer(house, document)
            assert (status, content["code"], content["step"]) == (422, "evidence_invalid", step)
        status, content = await evidence_answer(house, b" " * ((1 << 20) + 1))
        assert (status, content["code"]) == (413, "request_too_large")
        offered.trust = services([]).trust
        status, content = await evidence_answer(house, made.evidence.encode())
        assert (status, content["step"]) == (422, "holder-path")


# --- rotation ------------------------------------------------------------------------------------------------------


def kids(keys: PublishedKeys, now: datetime) -> list[str]:
    """Return how the keys of the list are called."""
    return [key["kid"] for key in keys.jwks(now)["keys"]]


def test_an_earlier_key_is_listed_until_its_tokens_have_ended() -> None:
    """The current key comes first; one that is over is gone without anybody's doing, and nobody keeps it longer."""
    old, new = (ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(2))
    keys = PublishedKeys(new, (EarlierKey(old, NOW + timedelta(minutes=2)),))
    assert kids(keys, NOW) == [thumbprint(new), thumbprint(old)]
    assert keys.cache_seconds(NOW) == 120
    assert kids(keys, NOW + timedelta(minutes=2)) == [thumbprint(new)]
    assert keys.cache_seconds(NOW + timedelta(minutes=2)) == 300
    assert kids(PublishedKeys(new, (EarlierKey(new, NOW + timedelta(days=1)),)), NOW) == [thumbprint(new)]


async def test_a_token_of_before_the_rotation_still_counts(
    made: Made, offered: Services, now: datetime, tmp_path: Path
) -> None:
    """With its key among the earlier ones it verifies until that key's time is over; then it does not."""
    offered.keys = PublishedKeys(
        KEY.public_key(), (EarlierKey(TOKEN_KEY.public_key(), now + timedelta(minutes=1)),)
    )
    async with serving(offered, tmp_path) as house:
        assert (await token_answer(house, token=made.token))[0] == 200
        async with house.session().get("/.well-known/jwks.json") as answer:
            assert answer.content_type == "application/jwk-set+json"
            assert answer.headers["Cache-Control"] == "max-age=59"
            assert len((await answer.json(content_type=None))["keys"]) == 2
        offered.clock = lambda: now + timedelta(minutes=1)
        assert (await token_answer(house, token=made.token))[0] == 422


@contextmanager
def configured(folder: Path, file: str, pem: bytes) -> Iterator[PublishedKeys]:
    """Give the keys of a configuration whose *file* of an earlier key holds *pem*."""
    (folder / "old.pem").write_bytes(pem)
    text = EXAMPLE.read_text().replace("#[[result.earlier_token_keys]]", "[[result.earlier_token_keys]]")
    text = text.replace('#file = "softhsm/token-2025.pub.pem"', f'file = "{file}"').replace(
        "#until = ", "until = "
    )
    (folder / "appliance.toml").write_text(text)
    yield PublishedKeys.of(load(folder / "appliance.toml"), KEY.public_key())


def test_earlier_keys_come_from_the_configuration(tmp_path: Path) -> None:
    """Each is a file and a time with its offset; a file that holds no P-256 key is a mistake."""
    old = ec.generate_private_key(ec.SECP256R1()).public_key()
    pem = old.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    with configured(tmp_path, "old.pem", pem) as keys:
        until = datetime(2025, 12, 31, 15, 5, tzinfo=UTC)
        assert kids(keys, until - timedelta(seconds=1)) == [thumbprint(KEY.public_key()), thumbprint(old)]
        assert kids(keys, until) == [thumbprint(KEY.public_key())]
    other = ec.generate_private_key(ec.SECP384R1()).public_key()
    wrong = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    for file, content in (("old.pem", wrong), ("old.pem", b"nothing"), ("nowhere.pem", pem)):
        with pytest.raises(ConfigInvalid), configured(tmp_path, file, content):
            pass
