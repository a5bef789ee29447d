"""The wiring: what a configuration becomes, and what of it is refused before anything is started."""

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.cli.demonstration import stage
from appliance.config import Configuration, load
from appliance.daemon import hsms, load_chains
from appliance.errors import ConfigInvalid
from appliance.hsm.messages import KeyLabel
from appliance.hsm.shipped import shipped
from appliance.simulator.pki import Hierarchy

SHOWN = "#"


def _used(text: str) -> str:
    """Return the example with the settings in use that it only shows."""
    return "\n".join(
        line[1:] if line.startswith(SHOWN) and line[1:2].strip() else line for line in text.splitlines()
    )


@pytest.fixture
def made(tmp_path: Path, hierarchy: Hierarchy) -> Callable[..., Configuration]:
    """Make a configuration with two chains and two HSMs; *codes* are the institution's in each chain."""

    def make(*codes: str, one_key: bool = False, weak_token_key: bool = False) -> Configuration:
        hierarchy.institution.save(tmp_path / "institution")
        keys = [rsa.generate_private_key(65_537, 2_048) for _ in codes]
        for name, code, key in zip(
            ("leaf", "next-leaf"), codes, keys[:1] * 2 if one_key else keys, strict=False
        ):
            leaf = hierarchy.issue_institution(key.public_key(), code)
            (tmp_path / "institution" / f"{name}.cvc").write_bytes(leaf.to_bytes())
        intermediate = hierarchy.institution.intermediate.to_bytes()
        for name in ("intermediate", "next-intermediate"):
            (tmp_path / "institution" / f"{name}.cvc").write_bytes(intermediate)
        (tmp_path / "softhsm").mkdir()
        curve = ec.SECP384R1() if weak_token_key else ec.SECP256R1()
        token_key = ec.generate_private_key(curve).public_key()
        pem = token_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        (tmp_path / "softhsm" / "token.pub.pem").write_bytes(pem)
        ledger_key = ed25519.Ed25519PrivateKey.generate().public_key()
        (tmp_path / "softhsm" / "ledger.pub.pem").write_bytes(
            ledger_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )
        text = shipped("appliance.toml").read_text("utf-8")
        (tmp_path / "appliance.toml").write_text(_used(text) if len(codes) > 1 else text, "utf-8")
        return load(tmp_path / "appliance.toml")

    return make


def test_one_chain_is_one_pinned_institution_key(made: Callable[..., Configuration]) -> None:
    """The annotated example is one HSM with the institution's, the token and the ledger key pinned."""
    (hsm,) = hsms(made(stage.INSTITUTION_CODE))
    assert [pinned.label for pinned in hsm.setup.pinned] == [
        KeyLabel.INSTITUTION,
        KeyLabel.TOKEN,
        KeyLabel.LEDGER,
    ]
    assert (hsm.alias, hsm.workers, hsm.setup.vendor.name) == ("hsm-1", 2, "softhsm")


def test_a_rotation_pins_both_keys_in_every_hsm(made: Callable[..., Configuration], tmp_path: Path) -> None:
    """With a next chain both keys are pinned, the next one first; each HSM has an environment of its own."""
    first, second = hsms(made("9912345", "9912345"))
    assert [pinned.label for pinned in first.setup.pinned] == [
        KeyLabel.INSTITUTION_NEXT,
        KeyLabel.INSTITUTION,
        KeyLabel.TOKEN,
        KeyLabel.LEDGER,
    ]
    assert first.setup.institution_keys == second.setup.institution_keys
    assert second.alias == "hsm-2"
    assert second.environment == {"SOFTHSM2_CONF": str(tmp_path / "standby" / "softhsm2.conf")}


def test_a_rotation_to_another_institution_is_refused(made: Callable[..., Configuration]) -> None:
    """A rotation changes the key and not who the institution is."""
    with pytest.raises(ConfigInvalid, match="another institution"):
        load_chains(made("9912345", "9912346"))


def test_a_rotation_to_the_same_key_is_refused(made: Callable[..., Configuration]) -> None:
    """A next chain for the key that is in use already rotates nothing."""
    with pytest.raises(ConfigInvalid, match="in use already"):
        load_chains(made("9912345", "9912345", one_key=True))


def test_a_token_key_of_another_curve_is_refused(made: Callable[..., Configuration]) -> None:
    """Result tokens are signed with P-256."""
    with pytest.raises(ConfigInvalid, match="P-256"):
        hsms(made("9912345", weak_token_key=True))


def test_hsms_that_cannot_hold_the_token_key_are_refused(
    made: Callable[..., Configuration], tmp_path: Path
) -> None:
    """Where no configured module has EC keys, nothing could sign a result."""
    configuration = made("9912345")
    profile = shipped("vendors/softhsm.toml").read_text("utf-8")
    without = profile.replace("[signing]", "[signing]\nec = false")
    assert without != profile
    (tmp_path / "no-ec.toml").write_text(without, "utf-8")
    file = tmp_path / "appliance.toml"
    file.write_text(
        file.read_text("utf-8").replace('vendor = "softhsm"', 'vendor = "no-ec.toml"', 1), "utf-8"
    )
    with pytest.raises(ConfigInvalid, match="EC keys"):
        hsms(load(configuration.folder / "appliance.toml"))
