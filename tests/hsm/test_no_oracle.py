"""
The institution key is no oracle: what can be asked of it is enumerated, and nothing else has it sign.

The worker's desk is real here, and so are its rules and its verbs. The token behind it is a fake that remembers each
message an institution key was given.
"""

import ast
import inspect
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_der_public_key
from hypothesis import given
from hypothesis import strategies as st

import appliance
from appliance.errors import HsmRequestRefused, HsmUnavailable
from appliance.hsm import messages
from appliance.hsm.messages import (
    HEADER_BYTES,
    Canary,
    LogIn,
    Request,
    Role,
    SignChallenge,
    SignCheckpoint,
    SignScenario,
    SignToken,
    Status,
    StatusReport,
    TokenSetup,
    Verb,
    Withdraw,
    frame,
    read_request,
)
from appliance.hsm.pkcs11.signing import SigningKey
from appliance.hsm.pool import Pool
from appliance.hsm.worker.climber import Unanswered
from appliance.hsm.worker.desk import Desk
from appliance.hsm.worker.keyring import Keyring
from appliance.trust.jwk import thumbprint
from tests.hsm.conftest import CHALLENGE_BYTES, Token
from tests.hsm.jwt_parts import scenario_input, signing_input

CANARY = b"jpki-appliance canary v1\0"
PACKAGE = Path(appliance.__file__).parent


class Recorded(Keyring):
    """A keyring without a token: what its keys are given is remembered, and nothing is signed."""

    def __init__(self, setup: TokenSetup) -> None:
        super().__init__(setup, lambda: None, lambda: None)
        self.given: list[tuple[Role, bytes]] = []

    def sign(self, key: str, message: bytes) -> bytes:
        """Remember."""
        self.given.append((self.roles[key], message))
        return b"signature"

    def canary(self, key: str) -> float:
        """Remember."""
        self.given.append((self.roles[key], CANARY + bytes(32)))
        return 0.001


@pytest.fixture(scope="module")
def setup(provisioned: Path) -> TokenSetup:
    """What a worker is told of the token."""
    return Token(provisioned).setup


def _verbs(setup: TokenSetup) -> st.SearchStrategy[Verb]:
    keys = st.sampled_from([*(pinned.fingerprint for pinned in setup.pinned), "0" * 64, ""])
    challenges = st.binary(max_size=64) | st.binary(min_size=CHALLENGE_BYTES, max_size=CHALLENGE_BYTES)
    texts = (
        st.binary(max_size=64)
        | st.just(signing_input(thumbprint_of(setup)))
        | st.just(scenario_input(thumbprint_of(setup)))
        | st.just(CANARY + bytes(32))
    )
    return st.one_of(
        st.builds(SignChallenge, challenges | texts, keys),
        st.builds(SignToken, challenges | texts),
        st.builds(SignScenario, challenges | texts),
        st.builds(SignCheckpoint, challenges | texts),
        st.builds(Canary, keys),
    )


def thumbprint_of(setup: TokenSetup) -> str:
    """Return the thumbprint of the pinned token key."""
    key = load_der_public_key(setup.token_key or b"")
    assert isinstance(key, ec.EllipticCurvePublicKey)
    return thumbprint(key)


def _only_challenges(keyring: Recorded, asked: bytes | None) -> None:
    """Assert that institution keys were given nothing but the challenge asked for, or a canary."""
    for role, message in keyring.given:
        if role is Role.INSTITUTION and not message.startswith(CANARY):
            assert message == asked
            assert len(message) == CHALLENGE_BYTES


def test_the_verbs_are_these() -> None:
    """What a worker can be asked for once it is up is a closed set of six; a seventh one needs this test's consent."""
    assert set(get_args(Verb)) == {SignChallenge, SignToken, SignScenario, SignCheckpoint, Canary, Status}
    told = set(get_args(msgspec.structs.fields(Request)[1].type))
    assert told == {*get_args(Verb), TokenSetup, LogIn, Withdraw}
    kinds = {
        kind
        for kind in vars(messages).values()
        if inspect.isclass(kind) and issubclass(kind, messages._Message)
    }
    assert told < kinds
    for kind in kinds - told:
        with pytest.raises(HsmUnavailable):
            # An answer, or a part of one, is no request.
            read_request(msgspec.msgpack.encode({"number": 1, "verb": {"type": kind.__name__}}))


@given(data=st.data())
def test_no_verb_has_the_institution_key_sign_anything_else(setup: TokenSetup, data: st.DataObject) -> None:
    """Whatever is asked, an institution key gets the challenge of exactly the one length, or a canary, or nothing."""
    keyring = Recorded(setup)
    desk = Desk(setup, keyring, lambda _: None)
    verb = data.draw(_verbs(setup))
    try:
        desk.answer(verb, float("inf"))
    except (HsmRequestRefused, Unanswered):
        assert keyring.given == []
    _only_challenges(keyring, verb.challenge if isinstance(verb, SignChallenge) else None)


@given(data=st.data())
def test_no_bytes_on_the_pipe_do(setup: TokenSetup, data: st.DataObject) -> None:
    """Arbitrary and damaged frames are refused, or are one of the verbs and bound by its rules."""
    body = bytearray(frame(Request(1, data.draw(_verbs(setup)), 1e9))[HEADER_BYTES:])
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    try:
        request = read_request(data.draw(st.just(bytes(body)) | st.binary(max_size=300)))
    except HsmUnavailable:
        return
    if isinstance(request.verb, TokenSetup | LogIn | Withdraw | Status):
        return  # the worker ends, or speaks of itself; none reaches a key
    keyring = Recorded(setup)
    try:
        Desk(setup, keyring, lambda _: None).answer(request.verb, request.deadline)
    except HsmRequestRefused:
        assert keyring.given == []
    _only_challenges(keyring, request.verb.challenge if isinstance(request.verb, SignChallenge) else None)


def test_a_canary_fits_nothing_else(setup: TokenSetup) -> None:
    """A canary has a prefix of its own and a length that neither a challenge nor the profile's bounds allow."""
    given: list[bytes] = []

    class Kept(SigningKey):
        def sign(self, message: bytes) -> bytes:
            given.append(message)
            return b""

    Kept(setup.vendor, Role.INSTITUTION, None, None).canary()  # type: ignore[arg-type]  # neither is looked at
    (message,) = given
    assert message.startswith(CANARY)
    longest = next(field for field in msgspec.structs.fields(TokenSetup) if field.name == "challenge_bytes")
    assert len(message) > get_args(longest.type)[1].le
    assert len(message) != CHALLENGE_BYTES


async def test_entry_points_of_the_pool_are_these(token: Token, pool: Pool) -> None:
    """Of all that can be called on a pool, one method reaches the institution key with bytes of the caller's."""
    public = {
        name for name, value in inspect.getmembers(Pool) if callable(value) and not name.startswith("_")
    }
    asked_for = {"sign_challenge", "sign_token", "sign_scenario", "sign_checkpoint", "canary", "status"}
    lifecycle = {"start", "close", "reconfigure", "health"}
    assert public == asked_for | lifecycle
    with_bytes = {
        name
        for name in public
        if any(
            parameter.annotation is bytes
            for parameter in inspect.signature(getattr(Pool, name)).parameters.values()
        )
    }
    assert with_bytes == {"sign_challenge", "sign_token", "sign_scenario", "sign_checkpoint"}
    institution = token.institution_key
    for anything in (
        b"",
        bytes(15),
        bytes(17),
        CANARY + bytes(32),
        signing_input(thumbprint(token.token_key)),
    ):
        with pytest.raises(HsmRequestRefused):
            await pool.sign_challenge(anything, token.key)
    text = signing_input(thumbprint(token.token_key))
    signature = await pool.sign_token(text)
    assert len(signature) != institution.key_size // 8


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            found.add(node.module)
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def _importing(package: str) -> set[str]:
    return {
        ".".join(("appliance", *path.relative_to(PACKAGE).with_suffix("").parts))
        for path in PACKAGE.rglob("*.py")
        if any(name == package or name.startswith(f"{package}.") for name in _imports(path))
    }


def test_nothing_but_the_hsm_package_speaks_pkcs11() -> None:
    """No module outside `appliance.hsm` imports python-pkcs11, or what wraps its keys."""
    assert all(name.startswith("appliance.hsm.") for name in _importing("pkcs11"))
    assert all(name.startswith("appliance.hsm.") for name in _importing("appliance.hsm.pkcs11.signing"))


def test_nothing_but_the_desk_signs_what_a_request_brings() -> None:
    """Of all modules of the worker, the desk alone brings requests and keys together."""
    assert _importing("appliance.hsm.worker.climber.Climber") == {"appliance.hsm.worker.desk"}
    assert _importing("appliance.hsm.worker.keyring") == {
        "appliance.hsm.worker.desk",
        "appliance.hsm.worker.__main__",
    }


def _attribute_calls(path: Path, name: str) -> list[Any]:
    return [
        node
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == name
    ]


def test_the_desk_signs_in_one_place() -> None:
    """The desk calls its climber's `sign` once, behind the admission of the verb."""
    assert len(_attribute_calls(PACKAGE / "hsm" / "worker" / "desk.py", "sign")) == 1


def test_a_status_report_holds_no_signature() -> None:
    """The verb that is not for a key reaches none."""
    assert not {"signature"} & {field.name for field in msgspec.structs.fields(StatusReport)}
