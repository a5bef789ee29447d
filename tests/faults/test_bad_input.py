"""
What is wrong before anything was signed: configuration, token, keys, module, worker.

In each case nothing starts, and the operator reads a code, what the module returned, and what to check.
"""

import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key
from msgspec.structs import replace

from appliance import config
from appliance.catalogue import Language
from appliance.cli.main import explained
from appliance.errors import ApplianceError, ConfigInvalid
from appliance.hsm import softhsm
from appliance.hsm.messages import TokenSetup
from appliance.hsm.place import Hsm
from appliance.hsm.pool import Pool
from appliance.hsm.shipped import shipped
from tests.faults.conftest import signing
from tests.hsm.conftest import CHALLENGE_BYTES, Token, spki
from tests.hsm.processes import initialise_another, pkcs11_tool, probe
from tests.shim.rules import NUMBERS, Action, Function, Rules

pytestmark = pytest.mark.usefixtures("no_process_left")

_JAPANESE = re.compile("[぀-ヿ一-鿿]")

Spoil = Callable[[Token, TokenSetup], TokenSetup]


async def refusal(hsm: Hsm, folder: Path, start_seconds: float = 20.0) -> ApplianceError:
    """Start a pool that must not start; return why."""
    pool = Pool([hsm], state=folder, start_seconds=start_seconds)
    with pytest.raises(ApplianceError) as refused:
        await pool.start()
    await pool.close()
    return refused.value


def check_told(error: ApplianceError, code: str, said: str) -> None:
    """Check that an operator reads *code* and *said*, and what to check, in either language."""
    assert error.code == code, error
    for language in Language:
        told = explained(error, language)
        assert f"[{code}]" in told
        assert said in told
        assert (_JAPANESE.search(told) is not None) is (language is Language.JA)
        assert told.count("\n") == 2


def _module(path: str) -> Spoil:
    return lambda _, setup: replace(setup, module=path)


def _label(_: Token, setup: TokenSetup) -> TokenSetup:
    return replace(setup, token="other")  # noqa: S106 - a label


def _no_pin_file(_: Token, setup: TokenSetup) -> TokenSetup:
    return replace(setup, pin_file="/nonexistent/user.pin")


def _open_pin_file(token: Token, setup: TokenSetup) -> TokenSetup:
    (token.folder / softhsm.USER_PIN).chmod(0o644)
    return setup


def _wrong_pin(token: Token, setup: TokenSetup) -> TokenSetup:
    (token.folder / softhsm.USER_PIN).write_text("000000000000")
    return setup


def _long_pin(token: Token, setup: TokenSetup) -> TokenSetup:
    (token.folder / softhsm.USER_PIN).write_text("1" * 300)
    return setup


def _other_certificate(_: Token, setup: TokenSetup) -> TokenSetup:
    other = rsa.generate_private_key(65537, 2048).public_key()
    return replace(setup, institution_keys=(spki(other),))


def _other_token_key(_: Token, setup: TokenSetup) -> TokenSetup:
    return replace(setup, token_key=spki(ec.generate_private_key(ec.SECP256R1()).public_key()))


def _no_token(token: Token, setup: TokenSetup) -> TokenSetup:
    shutil.rmtree(token.folder / softhsm.TOKENS)
    (token.folder / softhsm.TOKENS).mkdir()
    return setup


def _empty_token(token: Token, setup: TokenSetup) -> TokenSetup:
    _no_token(token, setup)
    initialise_another(token)
    return setup


def _two_tokens(token: Token, setup: TokenSetup) -> TokenSetup:
    initialise_another(token)
    return setup


def _two_keys(token: Token, setup: TokenSetup) -> TokenSetup:
    probe(token, "copy", "institution")
    return setup


def _pinned(setup: TokenSetup, pem: str) -> TokenSetup:
    spki = load_pem_public_key(pem.encode()).public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return replace(setup, institution_keys=(spki,))


def _generated(attribute: str) -> Spoil:
    return lambda token, setup: _pinned(setup, probe(token, "generate", attribute))


def _imported(token: Token, setup: TokenSetup) -> TokenSetup:
    return _pinned(setup, probe(token, "import_key"))


@pytest.mark.parametrize(
    ("spoil", "code", "said"),
    [
        pytest.param(_module("/nonexistent/module.so"), "hsm_module_unusable", "module.so", id="no module"),
        pytest.param(_module("/etc/hostname"), "hsm_module_unusable", "/etc/hostname", id="no library"),
        pytest.param(
            _module("/lib/x86_64-linux-gnu/libm.so.6"), "hsm_module_unusable", "libm.so", id="no PKCS#11"
        ),
        pytest.param(_label, "hsm_token_absent", "'other'", id="wrong label"),
        pytest.param(_no_token, "hsm_token_absent", softhsm.TOKEN_LABEL, id="no token"),
        pytest.param(_two_tokens, "hsm_token_ambiguous", softhsm.TOKEN_LABEL, id="two tokens of one label"),
        pytest.param(_no_pin_file, "hsm_pin_unavailable", "/nonexistent/user.pin", id="no PIN file"),
        pytest.param(_open_pin_file, "hsm_pin_unavailable", "chmod 600", id="PIN file open to others"),
        pytest.param(_long_pin, "hsm_pin_unavailable", "does not hold a PIN", id="no PIN in the file"),
        pytest.param(_wrong_pin, "hsm_pin_rejected", "CKR_PIN_INCORRECT", id="wrong PIN"),
        pytest.param(_empty_token, "institution_key_mismatch", "no private key", id="empty token"),
        pytest.param(_other_certificate, "institution_key_mismatch", "certificate", id="certificate"),
        pytest.param(_other_token_key, "hsm_key_absent", "token key", id="other token key"),
        pytest.param(_two_keys, "hsm_key_ambiguous", "2 private keys", id="two keys for one public key"),
        pytest.param(_generated("EXTRACTABLE"), "hsm_key_unsafe", "CKA_EXTRACTABLE", id="extractable"),
        pytest.param(_generated("DECRYPT"), "hsm_key_unsafe", "CKA_DECRYPT", id="may decrypt"),
        pytest.param(_imported, "hsm_key_unsafe", "CKA_LOCAL", id="imported"),
    ],
)
async def test_refused_at_start(
    spoil: Spoil, code: str, said: str, token: Token, local: Hsm, tmp_path: Path
) -> None:
    """What is wrong with configuration, token or keys is refused with its own code, and named."""
    setup = spoil(token, local.setup)
    check_told(await refusal(Hsm("local", setup, local.environment), tmp_path / "state"), code, said)


async def test_label_chooses_no_key(token: Token, local: Hsm, tmp_path: Path) -> None:
    """Of two keys with one label the one that belongs to the pinned public key signs."""
    more = ("--key-type", "rsa:2048", "--label", "institution", "--id", "99", "--usage-sign")
    pkcs11_tool(token, "--keypairgen", *more)
    async with Pool([local], state=tmp_path / "state") as pool:
        challenge = os.urandom(CHALLENGE_BYTES)
        signature = await signing(pool, local.setup)(challenge)
    token.institution_key.verify(signature, challenge, padding.PKCS1v15(), SHA256())


@pytest.mark.parametrize("function", [Function.GET_FUNCTION_LIST, Function.INITIALIZE, Function.OPEN_SESSION])
async def test_module_that_crashes(function: Function, ruled: Hsm, rules: Rules, tmp_path: Path) -> None:
    """A module that crashes takes its worker with it and nothing else."""
    rules.set(function, Action.ABORT)
    check_told(await refusal(ruled, tmp_path / "state"), "hsm_unavailable", "the worker has ended")


@pytest.mark.parametrize("function", [Function.GET_FUNCTION_LIST, Function.INITIALIZE])
async def test_module_that_hangs(function: Function, ruled: Hsm, rules: Rules, tmp_path: Path) -> None:
    """A module that never comes back from being loaded is given up when the time for a start is over."""
    rules.set(function, Action.HANG)
    check_told(await refusal(ruled, tmp_path / "state", start_seconds=1.5), "hsm_timeout", "1.5 s")


@pytest.mark.parametrize(
    ("function", "name", "code"),
    [
        (Function.INITIALIZE, "CKR_GENERAL_ERROR", "hsm_module_unusable"),
        (Function.INITIALIZE, "CKR_ARGUMENTS_BAD", "hsm_module_unusable"),
        (Function.GET_SLOT_LIST, "CKR_DEVICE_ERROR", "hsm_module_unusable"),
        (Function.OPEN_SESSION, "CKR_SESSION_COUNT", "hsm_unavailable"),
        (Function.OPEN_SESSION, "CKR_TOKEN_NOT_PRESENT", "hsm_unavailable"),
        (Function.LOGIN, "CKR_PIN_LOCKED", "hsm_pin_rejected"),
        (Function.LOGIN, "CKR_PIN_EXPIRED", "hsm_pin_rejected"),
        (Function.LOGIN, "CKR_DEVICE_ERROR", "hsm_unavailable"),
        (Function.FIND_OBJECTS_INIT, "CKR_DEVICE_REMOVED", "hsm_unavailable"),
        (Function.GET_ATTRIBUTE_VALUE, "CKR_FUNCTION_FAILED", "hsm_unavailable"),
        (Function.SIGN_INIT, "CKR_KEY_FUNCTION_NOT_PERMITTED", "hsm_signing_failed"),
        (Function.SIGN, "CKR_DEVICE_ERROR", "hsm_signing_failed"),
    ],
)
async def test_module_that_fails_at_start(
    function: Function, name: str, code: str, ruled: Hsm, rules: Rules, tmp_path: Path
) -> None:
    """A module that fails while a worker comes up is told by the name of what it returned."""
    rules.set(function, Action.RETURN, NUMBERS[name])
    check_told(await refusal(ruled, tmp_path / "state"), code, name)


@pytest.mark.parametrize("name", ["CKR_DEVICE_ERROR", "CKR_SESSION_HANDLE_INVALID"])
async def test_key_that_cannot_be_read_is_not_called_unsafe(
    name: str, ruled: Hsm, rules: Rules, tmp_path: Path
) -> None:
    """An HSM that fails while a key's attributes are read is one that fails: nobody is told to make a new key."""
    one = Hsm(ruled.alias, ruled.setup, ruled.environment, workers=1)
    before = rules.calls(Function.GET_ATTRIBUTE_VALUE)
    async with Pool([one], state=tmp_path / "state"):
        reads = rules.calls(Function.GET_ATTRIBUTE_VALUE) - before
    for skip in (reads - 10, reads - 1):  # each attribute of the last key takes a call for its length, too
        rules.set(Function.GET_ATTRIBUTE_VALUE, Action.RETURN, NUMBERS[name], skip=skip)
        check_told(await refusal(one, tmp_path / "state"), "hsm_unavailable", "reading CKA_")


async def test_module_that_lies(ruled: Hsm, rules: Rules, tmp_path: Path) -> None:
    """A module whose signatures are wrong never gets as far as ready."""
    rules.set(Function.SIGN, Action.LIE)
    check_told(await refusal(ruled, tmp_path / "state"), "hsm_signing_failed", "does not verify")


def test_slot_numbers_are_not_taken(tmp_path: Path) -> None:
    """A token is found by its label: slot numbers change from start to start, and one in the file is refused."""
    example = shipped("appliance.toml").read_text("utf-8")
    file = tmp_path / "appliance.toml"
    file.write_text(example.replace("[hsm]", "[hsm]\nslot = 1", 1), "utf-8")
    with pytest.raises(ConfigInvalid) as refused:
        config.load(file)
    check_told(refused.value, "config_invalid", "slot")
