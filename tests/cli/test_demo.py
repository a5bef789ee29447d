"""`jpki-appliance demo`, run as a user runs it."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from appliance.cli.demonstration.stage import Fault
from tests.cli.conftest import Finished, run

pytestmark = pytest.mark.usefixtures("nothing_left")


def document(finished: Finished) -> dict[str, Any]:
    """Return the JSON document that *finished* printed, and nothing else."""
    content: dict[str, Any] = json.loads(finished.stdout)
    return content


Shown = Callable[..., Finished]
MODES = {"pinless": ("--identity-check", "face"), "pin": ("--identity-check", "pin")}
"""The check that the holder has in each mode: what is shown once serves tests of either."""


@pytest.fixture(scope="module")
def shown() -> Iterator[Shown]:
    """Return what runs `demo --json` with options, once for each options however many tests look at it."""
    finished: dict[tuple[str, ...], Finished] = {}

    def show(*options: str) -> Finished:
        if options not in finished:
            finished[options] = run("demo", "--json", *options)
        return finished[options]

    yield show
    for told in map(document, finished.values()):
        for image in told["front_images"]:
            shutil.rmtree(Path(image).parent, ignore_errors=True)


@pytest.mark.parametrize("mode", ["pinless", "pin"])
def test_the_demonstration_ends_with_a_verified_token(mode: str, shown: Shown) -> None:
    """Both modes end authenticated, with a token that says how, and for which institution."""
    finished = shown(*MODES[mode])
    assert finished.returncode == 0, finished.stderr
    told = document(finished)
    assert (told["outcome"], told["mode"], told["institution_code"]) == ("authenticated", mode, "9912345")
    assert told["revocation"] == "good"
    assert told["success"]["claims"]["mode"] == mode
    assert told["success"]["token"].count(".") == 2
    assert told["refusal"] is None
    assert len(told["exchanges"]) == (2 if mode == "pinless" else 1)
    assert len(told["institution_signatures"]) == (1 if mode == "pinless" else 0)


def test_both_modes_have_one_shape(shown: Shown) -> None:
    """A program reads the same members, whatever the mode, and whether there is a result or not."""
    pinless, pin = (document(shown(*MODES[mode])) for mode in ("pinless", "pin"))
    refused = document(shown("--fault", "foreign-ca"))
    assert pinless.keys() == pin.keys() == refused.keys()
    assert pinless["success"]["claims"].keys() == pin["success"]["claims"].keys()


def test_unverified_steps_are_named_where_they_are_taken(shown: Shown) -> None:
    """What rests on unconfirmed assumptions says so step by step; the PIN's steps rest on none."""
    pinless, pin = (document(shown(*MODES[mode])) for mode in ("pinless", "pin"))
    steps = {
        step["name"] for exchange in pinless["exchanges"] for step in exchange["steps"] if step["unverified"]
    }
    assert steps == {"load-body", "load-signature", "get-challenge", "present-signature", "sign"}
    assert "holder-proof" in pinless["unverified"]
    assert pin["unverified"] == []
    assert not [step for exchange in pin["exchanges"] for step in exchange["steps"] if step["unverified"]]


CODES = {
    Fault.WRONG_INSTITUTION_KEY: "institution_key_mismatch",
    Fault.FOREIGN_CA: "certificate_untrusted",
    Fault.EXPIRED_CARD: "certificate_expired",
    Fault.TAMPERED_SIGNATURE: "proof_invalid",
    Fault.REMOVED: "card_removed",
    Fault.PIN_FOR_PINLESS: "wrong_mode",
    Fault.REVOKED: "certificate_revoked",
    Fault.STALE_CRL: "revocation_stale",
    Fault.RESPONDER_DOWN: "revocation_unavailable",
}


@pytest.mark.parametrize("fault", Fault)
def test_each_fault_is_refused_with_its_own_code(fault: Fault, shown: Shown) -> None:
    """Whatever goes wrong ends with its own code, what to do in both languages, and exit status 1."""
    finished = shown("--fault", fault)
    assert finished.returncode == 1, finished.stderr
    told = document(finished)
    assert (told["outcome"], told["success"]) == ("refused", None)
    assert told["refusal"]["code"] == CODES[fault]
    assert told["refusal"]["text"]["clerk"].keys() == {"en", "ja"}
    assert len(set(CODES.values())) == len(Fault)


def test_the_story_is_for_a_person() -> None:
    """The story names each step, the unconfirmed ones among them, and ends with mode and institution code."""
    finished = run("demo", "--language", "en")
    assert finished.returncode == 0, finished.stderr
    for words in (
        "the card gives a random challenge",
        "UNVERIFIED",
        "authenticated",
        "mode: pinless",
        "9912345",
    ):
        assert words in finished.stdout
    assert "revocation: good" in finished.stdout
    assert "31323334" not in finished.stdout


def test_the_story_with_the_pin_shows_the_difference() -> None:
    """With the PIN the two results on one card are laid side by side, and no PIN is shown."""
    finished = run("demo", "--mode", "pin", "--language", "ja")
    assert finished.returncode == 0, finished.stderr
    assert "暗証番号なし" in finished.stdout
    assert "identity_check" in finished.stdout.split("mode  ")[-1]
    assert "31323334" not in finished.stdout


def test_a_refusal_is_told_to_a_person() -> None:
    """The story of a refusal says the code, and what clerk and operator do."""
    finished = run("demo", "--fault", "expired-card", "--language", "en")
    assert finished.returncode == 1
    for words in ("certificate_expired", "Clerk:", "Operator:"):
        assert words in finished.stdout


def test_what_was_made_can_be_kept_and_used(tmp_path: Path) -> None:
    """With --keep the folder stays, with a configuration and keys that only their owner can read."""
    folder = tmp_path / "kept"
    assert run("demo", "--json", "--keep", str(folder)).returncode == 0
    assert (folder / "appliance.toml").exists()
    for secret in (folder / "pseudonym.key", folder / "softhsm" / "user.pin", folder / "card" / "key.pem"):
        assert secret.stat().st_mode & 0o077 == 0
    again = run("demo", "--json", "--keep", str(folder))
    assert again.returncode == 78
    assert document(again)["refusal"]["code"] == "config_invalid"


@pytest.mark.parametrize(
    ("check", "mode", "by"),
    [("face", "pinless", "device"), ("visual", "pinless", "operator"), ("pin", "pin", "device")],
)
def test_the_result_says_how_the_holder_was_checked(check: str, mode: str, by: str, shown: Shown) -> None:
    """Face reader, the staff's eyes and PIN each end in a result that names the check and who made it."""
    finished = shown("--identity-check", check)
    assert finished.returncode == 0, finished.stderr
    told = document(finished)
    assert (told["mode"], told["identity_check"]) == (mode, check)
    claim = told["success"]["claims"]["identity_check"]
    assert claim["method"] == check
    assert claim.keys() == {"method", by}


def test_the_front_is_shown_for_a_visual_check_and_goes_nowhere_else(shown: Shown) -> None:
    """The images can be opened; neither they nor what opened the front are in what the program prints."""
    finished = shown("--identity-check", "visual")
    assert finished.returncode == 0, finished.stderr
    told = document(finished)
    assert told["front_images"]
    for image in told["front_images"]:
        with Image.open(image) as opened:
            assert opened.format == "PNG"
    commands = [step["command"] for exchange in told["exchanges"] for step in exchange["steps"]]
    assert [command for command in commands if command.startswith("0020")] == ["00200080", "00200080"]
    assert not {"birth", "name", "address"} & told["success"]["claims"].keys()


@pytest.mark.parametrize(("mode", "check"), [("pin", "face"), ("pinless", "pin")])
def test_mode_and_check_that_contradict_are_wrong_usage(mode: str, check: str) -> None:
    """The PIN is a mode and its own check; anything else is refused before anything is started."""
    assert run("demo", "--mode", mode, "--identity-check", check).returncode == 2


@pytest.mark.parametrize("mode", ["pinless", "pin"])
def test_the_next_generation_of_cards_works_from_end_to_end(mode: str) -> None:
    """With P-384 in card and HSM both modes end authenticated, and all of it is called UNVERIFIED."""
    finished = run("demo", "--json", "--mode", mode, "--profile", "jpki-next")
    assert finished.returncode == 0, finished.stderr
    told = document(finished)
    assert told["outcome"] == "authenticated"
    if mode == "pinless":
        assert "commands" in told["unverified"]


def test_the_next_generation_keeps_the_modes_apart() -> None:
    """On a curve, too, a PIN's proof does not pass for one without."""
    finished = run("demo", "--json", "--profile", "jpki-next", "--fault", "pin-for-pinless")
    assert finished.returncode == 1
    assert document(finished)["refusal"]["code"] == "wrong_mode"


def test_a_fault_of_the_other_mode_is_wrong_usage() -> None:
    """A combination that makes no sense is refused before anything is started."""
    assert run("demo", "--mode", "pin", "--fault", "pin-for-pinless").returncode == 2


def test_revocation_is_known_by_lists_or_by_a_responder(shown: Shown) -> None:
    """By default a list answers, from memory; with `--revocation ocsp` OpenSSL's responder does, online."""
    by_list, online = (
        document(shown(*options))["success"]["claims"]
        for options in (MODES["pinless"], ("--revocation", "ocsp"))
    )
    assert (by_list["revocation"]["method"], by_list["assurance"]) == ("crl", "cached")
    assert (online["revocation"]["method"], online["assurance"]) == ("ocsp", "online")
    assert by_list["revocation"]["this_update"] <= by_list["revocation"]["checked_at"]


def test_a_revoked_card_is_refused_by_the_responder_too() -> None:
    """Revoked is one code, whoever says so."""
    refused = document(run("demo", "--json", "--fault", "revoked", "--revocation", "ocsp"))
    assert refused["refusal"]["code"] == "certificate_revoked"


def test_a_fault_of_the_other_source_is_wrong_usage() -> None:
    """A list that is too old says nothing about a responder, and the other way round."""
    assert run("demo", "--revocation", "ocsp", "--fault", "stale-crl").returncode == 2
    assert run("demo", "--revocation", "crl", "--fault", "responder-down").returncode == 2
