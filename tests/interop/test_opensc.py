"""OpenSC's own tools with the software card, through a real pcscd: an independent reading of the card."""

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from appliance.errors import PartMissing
from appliance.simulator.card_data import CardData
from appliance.simulator.credentials import CredentialName
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.pki import Hierarchy
from appliance.simulator.reader import load_card
from tests.pcsc import Client, lying_on

MODULE = "opensc-pkcs11.so"
PACKAGES = {"opensc-tool": "opensc", "pkcs15-tool": "opensc", "pkcs11-tool": "opensc", "openssl": "openssl"}

Run = Callable[..., str]


@pytest.fixture
def card(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, tmp_path: Path, now: datetime
) -> Iterator[CardData]:
    """A card that lies on the first reader: the PKCS#11 module looks at the first four slots alone."""
    data = hierarchy.issue_card(tmp_path / "card", now=now)
    with lying_on(private_pcscd.readers[0], load_card(tmp_path / "card")):
        yield data


@pytest.fixture
def run(private_pcscd: PrivatePcscd) -> Run:
    """Return what runs a program against the card and returns what it prints."""
    with Client.of(private_pcscd.readers[0]) as client:
        number = str(client.reader_names.index(client.name))

    def run(program: str, *arguments: str | Path, on_reader: bool = True) -> str:
        if shutil.which(program) is None:
            raise PartMissing(f"the program {program} is not installed (Debian package {PACKAGES[program]})")
        selection = ("--reader", number) if on_reader else ()
        done = subprocess.run(
            [program, *selection, *arguments],
            env={
                **private_pcscd.environment,
                "TEST_PIN": "1234",
                "WRONG_PIN": "9999",
                "PASSWORD": "TEST1234",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        return f"{done.stdout}{done.stderr}exit {done.returncode}"

    return run


def pkcs11(run: Run, *arguments: str | Path) -> str:
    """Run *pkcs11-tool* on the authentication key."""
    token = ("--token-label", "JPKI (User Authentication PIN)")
    return run("pkcs11-tool", "--module", MODULE, *token, *arguments, on_reader=False)


@pytest.mark.usefixtures("card")
def test_named(run: Run) -> None:
    """`opensc-tool` names it a JPKI card."""
    assert run("opensc-tool", "--name").startswith("jpki\n")


def test_certificates(run: Run, card: CardData, tmp_path: Path) -> None:
    """`pkcs15-tool` lists the holder's certificate with its serial number, and reads it and the CA's."""
    certificate = x509.load_der_x509_certificate(card.certificate)
    listed = run("pkcs15-tool", "--list-certificates")
    assert "X.509 Certificate [User Authentication Certificate]" in listed
    assert f"{certificate.serial_number:08X}" in listed
    for number, expected in (("01", card.certificate), ("03", card.ca_certificate)):
        file = tmp_path / number
        run("pkcs15-tool", "--read-certificate", number, "--output", file)
        assert x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER) == expected


@pytest.mark.parametrize("mechanism", ["SHA256-RSA-PKCS", "RSA-PKCS"])
def test_signature(run: Run, card: CardData, tmp_path: Path, mechanism: str) -> None:
    """A signature that `pkcs11-tool` has made after the PIN verifies with `openssl` and the certificate's key."""
    message, given, signature, key = (tmp_path / name for name in ("message", "given", "signature", "key"))
    message.write_bytes(b"a message")
    digest_info = (
        bytes.fromhex("3031300D060960864801650304020105000420") + hashlib.sha256(b"a message").digest()
    )
    given.write_bytes(b"a message" if mechanism.startswith("SHA256") else digest_info)
    signing = (
        "--sign",
        "--mechanism",
        mechanism,
        "--id",
        "01",
        "--input-file",
        given,
        "--output-file",
        signature,
    )
    printed = pkcs11(run, "--login", "--pin", "env:TEST_PIN", *signing)
    assert printed.endswith("exit 0"), printed
    public = x509.load_der_x509_certificate(card.certificate).public_key()
    key.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    verified = run(
        "openssl", "dgst", "-sha256", "-verify", key, "-signature", signature, message, on_reader=False
    )
    assert verified == "Verified OK\nexit 0"


def test_wrong_pin(run: Run, card: CardData, tmp_path: Path) -> None:
    """A wrong PIN is refused, and costs one try of the card."""
    printed = pkcs11(run, "--login", "--pin", "env:WRONG_PIN", "--list-objects")
    assert "CKR_PIN_INCORRECT" in printed
    assert CardData.load(tmp_path / "card").tries(CredentialName.PIN) == card.tries(CredentialName.PIN) - 1


@pytest.mark.usefixtures("card")
def test_locked_pin(run: Run, tmp_path: Path) -> None:
    """After three wrong PINs the right one is refused as well, in the words that OpenSC has for 6984 (ruling 13)."""
    for left in (2, 1, 0):
        pkcs11(run, "--login", "--pin", "env:WRONG_PIN", "--list-objects")
        assert CardData.load(tmp_path / "card").tries(CredentialName.PIN) == left
    assert "C_Login failed" in pkcs11(run, "--login", "--pin", "env:TEST_PIN", "--list-objects")
    printed = run("pkcs15-tool", "--verify-pin", "--auth-id", "01", "--pin", "env:TEST_PIN")
    assert "Reference data not usable" in printed
    assert "Tries left     : 0" in run("pkcs15-tool", "--list-pins")


@pytest.fixture
def signing_card(
    hierarchy: Hierarchy, private_pcscd: PrivatePcscd, tmp_path: Path, now: datetime
) -> Iterator[CardData]:
    """A card with a signing certificate, on the first reader."""
    data = hierarchy.issue_card(tmp_path / "card", now=now, signing=True)
    with lying_on(private_pcscd.readers[0], load_card(tmp_path / "card")):
        yield data


def test_signing_certificate(run: Run, signing_card: CardData, tmp_path: Path) -> None:
    """With the password OpenSC reads the signing certificate, which nobody else can."""
    assert signing_card.signing is not None
    file = tmp_path / "certificate"
    reading = ("--read-certificate", "02", "--output", file)
    run("pkcs15-tool", *reading)
    assert not file.exists() or not file.read_bytes()
    printed = run("pkcs15-tool", "--verify-pin", "--auth-id", "02", "--pin", "env:PASSWORD", *reading)
    assert printed.endswith("exit 0"), printed
    found = x509.load_pem_x509_certificate(file.read_bytes()).public_bytes(Encoding.DER)
    assert found == signing_card.signing.certificate
