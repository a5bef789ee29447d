from functools import cache
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.errors import CeremonyPlanInvalid
from appliance.hsm.ceremony import plan, request
from appliance.hsm.ceremony.plan import RequestPlan
from appliance.hsm.ceremony.subject import SubjectPart
from appliance.hsm.messages import Role
from appliance.hsm.shipped import shipped
from tests.ceremony.conftest import FIRST, ROTATION, Place

EXAMPLE = shipped(f"ceremony/{FIRST}").read_text("utf-8")
KEY = '[[keys]]\nrole = "{role}"\nalgorithm = "p-256"\nlabel = "{label}"\nid = "{id}"\n'
REQUEST = EXAMPLE[EXAMPLE.index("[keys.request]") : EXAMPLE.index("[[keys]]\n# Signs result")]


def test_the_examples_are_plans() -> None:
    """The first keys are one for each role; the rotation makes an institution key, and the ledger key signs."""
    first = plan.load(shipped(f"ceremony/{FIRST}")).plan
    assert [key.role for key in first.keys] == [Role.INSTITUTION, Role.TOKEN, Role.LEDGER]
    rotation = plan.load(shipped(f"ceremony/{ROTATION}")).plan
    assert [key.role for key in rotation.keys] == [Role.INSTITUTION]
    assert [signer.role for signer in rotation.countersign] == ["ledger"]


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ('witnesses = ["Ichiro Sato", "Yuki Suzuki"]', "", "witnesses"),
        ('witnesses = ["Ichiro Sato", "Yuki Suzuki"]', "witnesses = []", "witnesses"),
        ('witnesses = ["Ichiro Sato", "Yuki Suzuki"]', 'witnesses = ["Hanako Yamada"]', "different people"),
        ('operator = "Hanako Yamada"', 'operator = "Hanako\u202eYamada"', "invisible"),
        ('operator = "Hanako Yamada"', 'operator = " Hanako Yamada"', "blanks"),
        ('operator = "Hanako Yamada"', 'operator = ""', "operator"),
        ('purpose = "', 'reason = "', "reason"),
        ('output = "', 'overwrite = true\noutput = "', "overwrite"),
        ('label = "token-2026"', 'label = "../token"', "label"),
        ('label = "token-2026"', 'label = "INSTITUTION-2026"', "labels"),
        ('id = "20261102"', 'id = "20261101"', "ids"),
        ('id = "20261102"', 'id = "2026110"', "id"),
        ('id = "20261102"', 'id = "2026110A"', "id"),
        ('algorithm = "rsa-2048"', 'algorithm = "rsa-1024"', "algorithm"),
        (REQUEST, "", "has a request"),
        ('id = "20261102"\n', f'id = "20261102"\n{REQUEST}', "has a request"),
        ('["C", "JP"]', '["C", "Japan"]', "two letters"),
        ('["C", "JP"]', '["DC", "JP"]', "subject"),
        ("Example Clinic institution key 2026", "鍵" * 22, "66 bytes"),
        ("Example Clinic institution key 2026", "k" * 65, "65 bytes"),
        ('["C", "JP"]', '["serialNumber", "a_b@c"]', "serialNumber"),
        ('["C", "JP"]', '["serialNumber", "鍵"]', "serialNumber"),
        ("[installation]", KEY.format(role="token", label="t", id="01") + "[installation]", "at most|length"),
        ('role = "ledger"', 'role = "token"', "each role"),
        (
            "[installation]",
            '[[countersign]]\nrole = "institution"\npublic_key = "k.pem"\n[installation]',
            "countersign",
        ),
        ('label = "jpki-appliance"', 'label = "jpki-appliance"\npin = "1234"', "pin"),
    ],
)
def test_a_plan_with_a_mistake_is_refused(old: str, new: str, why: str) -> None:
    """Whatever is missing, unknown, doubled or unsafe is refused, and the refusal names it."""
    assert old in EXAMPLE
    with pytest.raises(CeremonyPlanInvalid, match=why):
        plan.parse(EXAMPLE.replace(old, new).encode("utf-8"))


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65537, 2048)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(("C", "ST", "L", "O", "OU", "CN", "serialNumber")),
            st.text(min_size=1, max_size=70),
        ),
        max_size=3,
    )
)
@example([("CN", "鍵" * 21), ("serialNumber", "A-1 (2)")])
def test_every_subject_that_is_planned_can_be_requested(subject: list[tuple[SubjectPart, str]]) -> None:
    """What a plan lets pass, a request says, and reads back: no key is made for a name that cannot be written."""
    try:
        planned = RequestPlan(subject=(("O", "Example"), *subject))
    except ValueError:
        return
    pem = request.make(
        planned, _key().public_key(), lambda data: _key().sign(data, padding.PKCS1v15(), SHA256())
    )
    request.check(pem, planned, _key().public_key())


def test_somebody_signs_the_transcript() -> None:
    """A plan for an institution key alone is refused unless a token or ledger key of before signs."""
    rotation = shipped(f"ceremony/{ROTATION}").read_text("utf-8")
    start, end = rotation.index("[[countersign]]"), rotation.index("[installation]")
    with pytest.raises(CeremonyPlanInvalid, match="countersign"):
        plan.parse((rotation[:start] + rotation[end:]).encode())


def test_a_plan_fits_its_vendor(tmp_path: Path) -> None:
    """A key of an algorithm that the token's vendor profile does not give its role is refused."""
    (tmp_path / "plan.toml").write_text(
        EXAMPLE.replace('algorithm = "ed25519"', 'algorithm = "p-256"'), "utf-8"
    )
    with pytest.raises(CeremonyPlanInvalid, match=r"ledger key .* is ed25519"):
        _ = plan.load(tmp_path / "plan.toml").vendor


def test_an_unknown_vendor_is_refused(tmp_path: Path) -> None:
    """A vendor without a profile is the plan's mistake."""
    (tmp_path / "plan.toml").write_text(EXAMPLE.replace('vendor = "softhsm"', 'vendor = "none"'), "utf-8")
    with pytest.raises(CeremonyPlanInvalid, match=r"token\.vendor"):
        _ = plan.load(tmp_path / "plan.toml").vendor


def test_a_missing_plan_is_refused(tmp_path: Path) -> None:
    """A file that is not there is no plan."""
    with pytest.raises(CeremonyPlanInvalid, match="cannot be read"):
        plan.load(tmp_path / "plan.toml")


@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8")))
@example(b"a = " + b"[" * 20_000)
@example(b"a = " + b"1" * 20_000)
def test_any_bytes_are_a_plan_or_refused(content: bytes) -> None:
    """Nothing but our own refusal comes of a file that is no plan."""
    with pytest.raises(CeremonyPlanInvalid):
        plan.parse(content)


def test_the_plan_command_tells_everything_and_makes_nothing(place: Place) -> None:
    """People, token, keys, files and hash are told; the token stays empty and no file is made."""
    before = place.contents()
    finished = place.run("plan", FIRST)
    assert finished.returncode == 0, finished.stderr
    told = finished.stdout
    for expected in (
        *("Hanako Yamada", "Ichiro Sato", "Yuki Suzuki", "jpki-appliance", "SoftHSM"),
        *("institution-2026", "20261102", "ed25519", "ceremony-2026/transcript.json", "O=Example Clinic"),
        place.sha256(FIRST),
    ):
        assert expected in told
    assert place.contents() == before
    assert place.objects() == []


def test_the_plan_is_told_in_japanese(place: Place) -> None:
    """A Japanese locale reads Japanese; names stay as they were given."""
    told = place.run("plan", FIRST, language="ja_JP.UTF-8").stdout
    assert "立会人: Ichiro Sato" in told
    assert place.run("plan", FIRST, "--language", "ja").stdout == told


def test_the_plan_command_refuses_a_wrong_plan(place: Place) -> None:
    """A plan with an unknown key ends with status 78 and the code, in both languages."""
    place.edit(FIRST, 'output = "', 'overwrite = true\noutput = "')
    for language in ("C.UTF-8", "ja_JP.UTF-8"):
        finished = place.run("plan", FIRST, language=language)
        assert finished.returncode == 78
        assert "[ceremony_plan_invalid]" in finished.stderr
        assert "overwrite" in finished.stderr


def test_a_token_that_is_not_there_is_named(place: Place) -> None:
    """A label that no token bears is noticed before anybody comes together."""
    place.edit(FIRST, 'label = "jpki-appliance"', 'label = "another"')
    finished = place.run("plan", FIRST)
    assert (finished.returncode, "[hsm_token_absent]" in finished.stderr) == (1, True)


def test_a_token_without_the_mechanisms_is_named(place: Place) -> None:
    """A token that cannot make a planned key is noticed before anybody comes together."""
    configuration = place.folder / "softhsm" / "softhsm2.conf"
    configuration.write_text(configuration.read_text().replace("CKM_EC_EDWARDS_KEY_PAIR_GEN,", ""))
    finished = place.run("plan", FIRST)
    assert (finished.returncode, "[ceremony_refused]" in finished.stderr) == (1, True)
    assert "CKM_EC_EDWARDS_KEY_PAIR_GEN" in finished.stderr


def test_a_plan_that_was_carried_out_is_refused(after: Place) -> None:
    """Where the output is there, or the token has a key of a planned name, the plan cannot be carried out."""
    finished = after.run("plan", FIRST)
    assert (finished.returncode, "[ceremony_refused]" in finished.stderr) == (1, True)
    after.edit(FIRST, 'output = "ceremony-2026"', 'output = "another"')
    finished = after.run("plan", FIRST)
    assert (finished.returncode, "[hsm_key_ambiguous]" in finished.stderr) == (1, True)
    assert "public key 'institution-2026' with id 20261101, SHA-256" in finished.stderr
