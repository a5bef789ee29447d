import hashlib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from appliance import config
from appliance.card.cvc import Certificate, KeyReference
from appliance.hsm.ceremony.audit import Check, audit
from appliance.hsm.ceremony.transcript import ChainImported
from appliance.simulator.institution_pki import INTERMEDIATE, certify
from appliance.simulator.pki import Hierarchy
from tests.ceremony.conftest import FIRST, NEXT_CHAIN, NEXT_OUTPUT, OUTPUT, ROTATION, Place

INSTITUTION = {"institution/intermediate.cvc", "institution/leaf.cvc", "institution/root.pem"}


def imported(place: Place, output: str = OUTPUT) -> list[Path]:
    """Return the transcripts of imports in *output*."""
    return sorted((place.folder / output).glob("import-*.json"))


def institution_files(place: Place) -> set[str]:
    """Return the files that the institution folders hold."""
    return {
        str(path.relative_to(place.folder))
        for folder in ("institution", "next")
        for path in (place.folder / folder).rglob("*")
    }


def test_the_chain_goes_where_the_configuration_says(received: Place) -> None:
    """Certificates, root and pinned token key are in the files that the appliance reads, as they were received."""
    finished = received.import_chain()
    assert finished.returncode == 0, finished.stderr
    assert "9912345" in finished.stdout
    assert institution_files(received) == INSTITUTION
    for name in ("intermediate.cvc", "leaf.cvc", "root.pem"):
        assert (received.folder / "institution" / name).read_bytes() == (
            received.folder / "received" / name
        ).read_bytes()
    configuration = config.load(received.folder / "appliance.toml")
    token_key = configuration.read(configuration.settings.hsm.token_key)
    assert token_key == (received.folder / OUTPUT / "token-2026.pub.pem").read_bytes()


def test_the_import_has_a_transcript(received: Place) -> None:
    """What was imported, for which key of which ceremony, is signed by token and ledger key, never the institution's."""
    received.import_chain()
    (path,) = imported(received)
    passed: list[Check] = []
    transcript = audit(path.read_bytes(), passed=passed.append)
    assert Check.CHAIN in passed
    statement = transcript.statement
    assert isinstance(statement, ChainImported)
    ceremony = received.transcript()
    assert statement.ceremony == ceremony["sha256"]
    assert statement.leaf == (received.folder / "received/leaf.cvc").read_bytes().hex()
    roles = {key["fingerprint"]: key["role"] for key in ceremony["statement"]["keys"]}
    assert [roles[by.fingerprint] for by in transcript.signatures] == ["token", "ledger"]
    finished = received.run("verify", path)
    assert (finished.returncode, finished.stdout.count("✓")) == (0, 7)
    changed = bytearray(path.read_bytes())
    changed[len(changed) // 2] ^= 1
    path.write_bytes(changed)
    assert received.run("verify", path).returncode == 1


def test_an_import_can_be_repeated(received: Place) -> None:
    """An import that finds its files in place leaves them, so one that was interrupted is completed."""
    assert received.import_chain().returncode == 0
    (received.folder / "institution" / "leaf.cvc").unlink()
    assert received.import_chain().returncode == 0
    assert institution_files(received) == INSTITUTION


def test_without_the_root_the_import_says_so(received: Place) -> None:
    """Where the root's key is not given, the chain is imported, and what was not checked is said."""
    finished = received.import_chain(root_key=False)
    assert finished.returncode == 0, finished.stderr
    assert "not checked" in finished.stdout
    assert institution_files(received) == INSTITUTION - {"institution/root.pem"}


def refused(place: Place, code: str, *options: str, root_key: bool = True) -> None:
    """Check that an import is refused with *code* and leaves no file."""
    before = place.contents()
    finished = place.import_chain(FIRST, *options, root_key=root_key)
    assert finished.returncode in {1, 78}
    assert f"[{code}]" in finished.stderr
    assert place.contents() == before


def test_a_leaf_for_another_key_is_refused(after: Place, hierarchy: Hierarchy) -> None:
    """A certificate for a key that was not made in the ceremony is not imported."""
    after.receive(hierarchy, rsa.generate_private_key(65537, 2048).public_key())
    refused(after, "institution_key_mismatch")


def test_a_leaf_for_a_key_the_token_lost_is_refused(received: Place, made_ready: Place) -> None:
    """A certificate for the ceremony's key is not imported where the token does not hold that key any more."""
    empty = made_ready.folder / "softhsm"
    for name in ("user.pin", "softhsm2.conf"):
        (received.folder / "softhsm" / name).write_bytes((empty / name).read_bytes())
    refused(received, "institution_key_mismatch")


def test_a_leaf_that_the_intermediate_has_not_signed_is_refused(received: Place) -> None:
    """A leaf signed by somebody else in the intermediate's name is not imported."""
    stranger = rsa.generate_private_key(65537, 2048)
    key = received.public_key("institution-2026")
    leaf = certify(INTERMEDIATE, stranger, KeyReference.of("9912345"), key)
    (received.folder / "received/leaf.cvc").write_bytes(leaf.to_bytes())
    refused(received, "cvc_chain_invalid")


def test_an_intermediate_of_another_root_is_refused(received: Place) -> None:
    """With the root's key at hand, the intermediate's signature counts."""
    path = received.folder / "received/intermediate.cvc"
    intermediate = Certificate.from_bytes(path.read_bytes())
    path.write_bytes(Certificate(intermediate.body, bytes(256)).to_bytes())
    refused(received, "cvc_chain_invalid")


def test_a_leaf_of_another_issuer_is_refused(received: Place, hierarchy: Hierarchy) -> None:
    """A leaf that names another issuer than the intermediate is not imported."""
    signed = certify(
        KeyReference.of("0299775"),
        hierarchy.institution.intermediate_key,
        KeyReference.of("9912345"),
        received.public_key("institution-2026"),
    )
    (received.folder / "received/leaf.cvc").write_bytes(signed.to_bytes())
    refused(received, "cvc_chain_invalid")


def test_a_file_that_is_no_certificate_is_refused(received: Place) -> None:
    """A certificate of another shape than cards take is not imported."""
    (received.folder / "received/leaf.cvc").write_bytes(b"-----BEGIN CERTIFICATE-----")
    refused(received, "cvc_malformed")


def test_a_root_key_that_is_none_is_refused(received: Place) -> None:
    """A file without a public key in the root's place is the caller's mistake."""
    (received.folder / "received/root.pem").write_text("no key")
    refused(received, "config_invalid")


def test_a_changed_transcript_proves_no_key(received: Place) -> None:
    """With a ceremony's transcript that was tampered with, nothing is imported."""
    received.edit(f"{OUTPUT}/transcript.json", '"operator": "Hanako Yamada"', '"operator": "Hanae Yamada"')
    refused(received, "transcript_invalid")


def test_another_plan_has_another_ceremony(received: Place) -> None:
    """A plan that was changed after the ceremony is not the ceremony's."""
    received.edit(FIRST, 'purpose = "First', 'purpose = "Other')
    refused(received, "ceremony_refused")


def test_a_plan_without_an_installation_imports_nothing(place: Place, hierarchy: Hierarchy) -> None:
    """Where the plan does not say which configuration names the files, there is nowhere to import to."""
    place.edit(FIRST, '[installation]\nconfiguration = "appliance.toml"\n', "")
    assert place.hold().returncode == 0
    place.receive(hierarchy, place.public_key("institution-2026"))
    refused(place, "ceremony_refused")


def test_a_chain_in_service_is_never_replaced(received: Place, hierarchy: Hierarchy) -> None:
    """Another certificate for the same key goes nowhere while one is in place, also not with the configuration mute."""
    assert received.import_chain().returncode == 0
    received.receive(hierarchy, received.public_key("institution-2026"), "9912346")
    refused(received, "ceremony_refused")
    refused(received, "ceremony_refused", "--next")  # the configuration names no next chain


def test_another_pinned_token_key_is_never_replaced(received: Place) -> None:
    """A token key that is pinned already is left, and the import ends before anything is written."""
    configuration = config.load(received.folder / "appliance.toml")
    configuration.path(configuration.settings.hsm.token_key).write_text("another key")
    refused(received, "ceremony_refused")


@pytest.fixture
def rotated(received: Place, hierarchy: Hierarchy) -> Place:
    """A place where a second institution key was made while the first one is in service."""
    assert received.import_chain().returncode == 0
    finished = received.hold(ROTATION)
    assert finished.returncode == 0, finished.stderr
    received.receive(hierarchy, received.public_key("institution-2027", NEXT_OUTPUT))
    configuration = received.folder / "appliance.toml"
    configuration.write_text(f"{configuration.read_text('utf-8')}{NEXT_CHAIN}", "utf-8")
    return received


def test_a_rotation_has_both_keys_and_both_chains(rotated: Place) -> None:
    """After a rotation both institution keys are in the token, each with its certificate, the next one apart."""
    before = {path: content for path, content in rotated.contents().items() if "institution" in path.parts}
    finished = rotated.import_chain(ROTATION, "--next")
    assert finished.returncode == 0, finished.stderr
    assert institution_files(rotated) == {*INSTITUTION, "next/intermediate.cvc", "next/leaf.cvc"}
    assert before.items() <= rotated.contents().items()
    assert {"private institution-2026", "private institution-2027"} <= set(rotated.objects())
    leaves = [rotated.folder / folder / "leaf.cvc" for folder in ("institution", "next")]
    certified = [Certificate.from_bytes(leaf.read_bytes()).body.public_key for leaf in leaves]
    assert certified == [
        rotated.public_key("institution-2026"),
        rotated.public_key("institution-2027", NEXT_OUTPUT),
    ]


def test_a_rotation_without_next_is_refused(rotated: Place) -> None:
    """Forgetting the option does not replace the chain in service."""
    before = rotated.contents()
    finished = rotated.import_chain(ROTATION)
    assert (finished.returncode, "[ceremony_refused]" in finished.stderr) == (1, True)
    assert rotated.contents() == before


def test_a_rotation_is_tied_to_the_first_ceremony(rotated: Place) -> None:
    """The ledger key of the first ceremony has signed the rotation's transcript, beside the new key."""
    first, second = rotated.transcript(), rotated.transcript(NEXT_OUTPUT)
    ledger = next(key for key in first["statement"]["keys"] if key["role"] == "ledger")
    new = second["statement"]["keys"][0]["fingerprint"]
    assert [by["fingerprint"] for by in second["signatures"]] == [new, ledger["fingerprint"]]
    plan = (rotated.folder / ROTATION).read_bytes()
    assert second["statement"]["plan_sha256"] == hashlib.sha256(plan).hexdigest()


def test_a_next_chain_of_another_institution_is_refused(rotated: Place, hierarchy: Hierarchy) -> None:
    """A rotation changes the key and not who the institution is."""
    rotated.receive(hierarchy, rotated.public_key("institution-2027", NEXT_OUTPUT), "9912346")
    before = rotated.contents()
    finished = rotated.import_chain(ROTATION, "--next")
    assert (finished.returncode, "[ceremony_refused]" in finished.stderr) == (1, True)
    assert rotated.contents() == before
