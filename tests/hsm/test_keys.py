import pytest

from tests.hsm.conftest import Token
from tests.hsm.probe import SECRET_PARTS
from tests.hsm.processes import pkcs11_tool, probe


@pytest.mark.parametrize("role", ["institution", "token", "ledger"])
def test_secret_parts_do_not_leave_the_token(token: Token, role: str) -> None:
    """The token refuses to give out every number a private key consists of."""
    assert probe(token, "secret_parts", role) == {
        part.name: "CKR_ATTRIBUTE_SENSITIVE" for part in SECRET_PARTS[role]
    }


@pytest.mark.parametrize("role", ["institution", "token", "ledger"])
def test_key_cannot_be_made_extractable(token: Token, role: str) -> None:
    """What was made not extractable stays so."""
    assert probe(token, "make_extractable", role) == "CKR_ATTRIBUTE_READ_ONLY"
    assert probe(token, "attributes", role)["EXTRACTABLE"] is False


@pytest.mark.parametrize("role", ["institution", "token", "ledger"])
def test_attributes_are_read_back(token: Token, role: str) -> None:
    """A new key was made in the token, never left it, and can sign, nothing else."""
    can = {name for name, value in probe(token, "attributes", role).items() if value}
    assert can == {"TOKEN", "PRIVATE", "LOCAL", "SENSITIVE", "ALWAYS_SENSITIVE", "NEVER_EXTRACTABLE", "SIGN"}


def test_opensc_sees_the_same(token: Token) -> None:
    """An independent program finds the keys as they were meant to be."""
    objects = pkcs11_tool(token, "--list-objects", "--type", "privkey").split("Private Key Object; ")
    described = {text.split()[0]: {line.strip() for line in text.splitlines()} for text in objects if text}
    assert described.keys() == {"RSA", "EC", "EC_EDWARDS"}
    for kind, mechanism in (("RSA", "SHA256-RSA-PKCS"), ("EC", "ECDSA"), ("EC_EDWARDS", "EDDSA")):
        assert described[kind] >= {
            "Usage:      sign",
            "Access:     sensitive, always sensitive, never extractable, local",
            f"Allowed mechanisms: {mechanism}",
        }


def test_taken_names_are_refused(token: Token) -> None:
    """A second key of the same name is not made; the first stays what it was."""
    before = pkcs11_tool(token, "--list-objects")
    assert probe(token, "make_again").startswith("hsm_key_ambiguous: ")
    assert pkcs11_tool(token, "--list-objects") == before


def test_another_key_can_be_made_beside(token: Token) -> None:
    """A key of another name joins the others, as a change of keys needs."""
    assert probe(token, "make_another", "next").startswith("-----BEGIN PUBLIC KEY-----")
    assert pkcs11_tool(token, "--list-objects", "--type", "privkey").count("Private Key Object") == 4
