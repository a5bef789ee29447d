"""What a token may be like before a pool comes up on it; each worker is a real one."""

import re
import subprocess
import sys
from dataclasses import replace as replace_setup
from pathlib import Path

import pkcs11
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from msgspec.structs import replace
from pkcs11 import exceptions

from appliance.errors import (
    ApplianceError,
    ConfigInvalid,
    HsmError,
    HsmKeyAbsent,
    HsmKeyAmbiguous,
    HsmKeyUnsafe,
    HsmModuleUnusable,
    HsmPinRejected,
    HsmSigningFailed,
    HsmTokenAbsent,
    HsmTokenAmbiguous,
    InstitutionKeyMismatch,
)
from appliance.hsm.messages import TokenSetup
from appliance.hsm.pkcs11.token import mapped, return_value
from appliance.hsm.pool import Pool
from tests.hsm.conftest import Misbehaving, Token, spki
from tests.hsm.processes import initialise_another, probe
from tests.shim.rules import Action, Function

pytestmark = pytest.mark.usefixtures("no_process_left")


async def _refusal(token: Token, setup: TokenSetup) -> ApplianceError:
    pool = Pool([replace_setup(token.hsm(), setup=setup)], state=token.folder / "state")
    with pytest.raises(ApplianceError) as refused:
        await pool.start()
    await pool.close()
    return refused.value


def _institution(token: Token, pem: str) -> TokenSetup:
    key = load_pem_public_key(pem.encode())
    assert isinstance(key, rsa.RSAPublicKey)
    return replace(token.setup, institution_keys=(spki(key),))


async def test_absent_token(token: Token) -> None:
    """A label no token has is reported as that."""
    setup = replace(token.setup, token="other")  # noqa: S106 - a label
    assert isinstance(await _refusal(token, setup), HsmTokenAbsent)


async def test_ambiguous_token(token: Token) -> None:
    """Two tokens of one name are refused: nobody may choose."""
    initialise_another(token)
    assert isinstance(await _refusal(token, token.setup), HsmTokenAmbiguous)


@pytest.mark.parametrize(
    "module", ["/nonexistent/module.so", "/etc/hostname", "/lib/x86_64-linux-gnu/libm.so.6"]
)
async def test_unusable_module(token: Token, module: str) -> None:
    """A path without a module, or with something else, is reported as that."""
    assert isinstance(await _refusal(token, replace(token.setup, module=module)), HsmModuleUnusable)


async def test_institution_key_of_another_certificate(token: Token) -> None:
    """A certificate whose key is not in the token is reported as a mismatch of the two."""
    other = rsa.generate_private_key(65537, 2048).public_key()
    refused = await _refusal(token, replace(token.setup, institution_keys=(spki(other),)))
    assert isinstance(refused, InstitutionKeyMismatch)


async def test_token_key_of_another_installation(token: Token) -> None:
    """A pinned token key that is not in the token is absent."""
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    assert isinstance(await _refusal(token, replace(token.setup, token_key=spki(other))), HsmKeyAbsent)


async def test_keys_of_wrong_kind(token: Token) -> None:
    """Pinned keys of another algorithm, or too short, or no keys, are a mistake of configuration."""
    weak = rsa.generate_private_key(65537, 1024).public_key()
    p384 = ec.generate_private_key(ec.SECP384R1()).public_key()
    setup = token.setup
    for wrong in (
        replace(setup, institution_keys=(spki(token.token_key),)),
        replace(setup, institution_keys=(spki(weak),)),
        replace(setup, token_key=setup.institution_keys[0]),
        replace(setup, token_key=spki(p384)),
        replace(setup, token_key=b"no key"),
    ):
        assert isinstance(await _refusal(token, wrong), ConfigInvalid)


async def test_copied_key_is_ambiguous(token: Token) -> None:
    """Two private keys for one public key are refused."""
    probe(token, "copy", "institution")
    assert isinstance(await _refusal(token, token.setup), HsmKeyAmbiguous)


@pytest.mark.parametrize(
    "attribute",
    [
        "EXTRACTABLE",
        "SENSITIVE",
        "DECRYPT",
        "UNWRAP",
        "SIGN_RECOVER",
        "DERIVE",
        "PRIVATE",
        "ALLOWED_MECHANISMS",
    ],
)
async def test_unsafe_key(token: Token, attribute: str) -> None:
    """A key that could leave the token, or do more than sign one way, is refused, and the attribute is named."""
    pem = probe(token, "generate", attribute)
    refused = await _refusal(token, _institution(token, pem))
    assert isinstance(refused, HsmKeyUnsafe)
    assert f"CKA_{attribute}" in refused.detail


async def test_key_made_unsafe_later(token: Token) -> None:
    """A key of ours that somebody has given another use to is refused at the next start."""
    probe(token, "change", "institution", "DECRYPT")
    refused = await _refusal(token, token.setup)
    assert isinstance(refused, HsmKeyUnsafe)
    assert "CKA_DECRYPT" in refused.detail


async def test_imported_key(token: Token) -> None:
    """A key that was once outside is refused, however it is marked now."""
    refused = await _refusal(token, _institution(token, probe(token, "import_key")))
    assert isinstance(refused, HsmKeyUnsafe)
    assert "CKA_LOCAL" in refused.detail


async def test_private_key_under_a_strange_id(token: Token) -> None:
    """A private key that only claims to belong to the pinned public key does not get past its first signature."""
    probe(token, "relink", "token")
    assert isinstance(await _refusal(token, token.setup), HsmSigningFailed)


async def test_lying_module(misbehaving: Misbehaving) -> None:
    """A module that returns wrong signatures never gets as far as ready."""
    misbehaving.rules.set(Function.SIGN, Action.LIE)
    pool = Pool([misbehaving.hsm], state=misbehaving.state)
    with pytest.raises(HsmSigningFailed, match="does not verify"):
        await pool.start()
    await pool.close()


def test_return_values_have_their_standard_names() -> None:
    """Each class of python-pkcs11 is named as the return value it stands for."""
    source = Path(pkcs11.__file__).with_name("_pkcs11.pxd").read_text("utf-8")
    table = re.findall(r"if rv == (CKR_\w+):\s+exc = (\w+)\(\)", source)
    assert len(table) > 50
    assert {name: return_value(getattr(exceptions, kind)()) for name, kind in table} == {
        name: name for name, _ in table
    }


@pytest.mark.parametrize("kind", [exceptions.PKCS11Error, *exceptions.PKCS11Error.__subclasses__()])
def test_every_foreign_error_becomes_ours(kind: type[exceptions.PKCS11Error]) -> None:
    """Nothing of python-pkcs11 crosses the border; the PIN's errors stay apart."""
    with pytest.raises(HsmError) as ours, mapped(HsmSigningFailed, "trying"):
        raise kind
    assert isinstance(
        ours.value,
        HsmPinRejected if "Pin" in kind.__name__ and "Weak" not in kind.__name__ else HsmSigningFailed,
    )
    assert isinstance(ours.value.__cause__, kind)


def test_daemon_side_does_not_load_python_pkcs11() -> None:
    """What the daemon imports of this package brings no PKCS#11 into its process."""
    program = (
        "import sys, appliance.hsm.pool, appliance.hsm.softhsm, appliance.hsm.shipped\n"
        "sys.exit(any(name.partition('.')[0] == 'pkcs11' for name in sys.modules))"
    )
    assert subprocess.run((sys.executable, "-c", program), check=False).returncode == 0
