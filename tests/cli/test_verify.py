"""`jpki-appliance verify`, with a token from the demonstration."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from appliance.trust.crl import LARGEST
from appliance.trust.decision import STEPS
from tests.cli.conftest import run

AUDIENCE = "reception.example.jp"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a token and the key set it is verified with."""
    folder = tmp_path_factory.mktemp("result")
    success = json.loads(run("demo", "--json").stdout)["success"]
    (folder / "token").write_text(success["token"] + "\n")
    (folder / "jwks.json").write_text(json.dumps(success["jwks"]))
    return folder


def test_a_genuine_token_is_accepted_and_told(result: Path) -> None:
    """A token that the appliance made verifies with nothing but its key set."""
    finished = run(
        "verify", str(result / "token"), "--jwks", str(result / "jwks.json"), "--audience", AUDIENCE
    )
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout)["mode"] == "pinless"


def test_a_token_comes_from_standard_input_too(result: Path) -> None:
    """A dash stands for standard input."""
    token = (result / "token").read_text()
    finished = run("verify", "-", "--jwks", str(result / "jwks.json"), "--audience", AUDIENCE, text=token)
    assert finished.returncode == 0, finished.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--audience", "somebody.else"], "token_invalid"),
        (["--audience", AUDIENCE, "--at", "2020-01-01T00:00:00Z"], "token_invalid"),
        (["--audience", AUDIENCE, "--nonce", "of-another-visit"], "token_invalid"),
    ],
)
def test_a_token_for_others_or_other_times_is_refused(options: list[str], code: str, result: Path) -> None:
    """Audience, time and nonce count; the refusal has its code and exit status 1."""
    finished = run("verify", str(result / "token"), "--jwks", str(result / "jwks.json"), *options)
    assert finished.returncode == 1
    assert f"[{code}]" in finished.stderr


def test_a_tampered_token_is_refused(result: Path) -> None:
    """One changed character in the claims is enough."""
    header, claims, signature = (result / "token").read_text().strip().split(".")
    changed = claims[:20] + ("A" if claims[20] != "A" else "B") + claims[21:]
    finished = run(
        "verify",
        "-",
        "--jwks",
        str(result / "jwks.json"),
        "--audience",
        AUDIENCE,
        text=f"{header}.{changed}.{signature}",
    )
    assert finished.returncode == 1
    assert "[token_invalid]" in finished.stderr


def test_a_key_set_that_is_none_is_named(result: Path) -> None:
    """A file in the key set's place is an error of its own; a missing one a configuration error."""
    token = str(result / "token")
    none = run("verify", token, "--jwks", token, "--audience", AUDIENCE)
    assert (none.returncode, "[jwks_invalid]" in none.stderr) == (1, True)
    missing = run("verify", token, "--jwks", str(result / "nowhere"), "--audience", AUDIENCE)
    assert (missing.returncode, "[config_invalid]" in missing.stderr) == (78, True)


@pytest.fixture(scope="module", params=["crl", "ocsp"])
def kept(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return what is taken to another machine: evidence, token, and a folder with CA files and keys."""
    made, taken = (tmp_path_factory.mktemp(name) for name in ("made", "taken"))
    finished = run("demo", "--json", "--revocation", request.param, "--keep", str(made / "demo"))
    assert finished.returncode == 0, finished.stderr
    for name in ("evidence.json", "token.jwt"):
        shutil.copy(made / "demo" / name, taken / name)
    shutil.copytree(made / "demo" / "authorities", taken / "trust")
    return taken


def test_evidence_is_decided_again_elsewhere(kept: Path) -> None:
    """With the CA files alone every step is repeated and told; with the token its hash is compared, too."""
    finished = run("verify", str(kept / "evidence.json"), "--trust", str(kept / "trust"))
    assert finished.returncode == 0, finished.stderr
    assert [line.split()[2].rstrip(":") for line in finished.stdout.splitlines()] == list(STEPS)
    evidence, token, trust = (str(kept / name) for name in ("evidence.json", "token.jwt", "trust"))
    finished = run("verify", evidence, "--trust", trust, "--token", token, "--audience", AUDIENCE)
    assert finished.returncode == 0, finished.stderr
    assert "its SHA-256" in finished.stdout
    assert json.loads(run("verify", token, "--trust", trust, "--audience", AUDIENCE).stdout)["evidence"]


def test_evidence_that_was_changed_names_the_step(kept: Path) -> None:
    """A changed byte, another time and another folder of CAs are each refused at their step."""
    document = (kept / "evidence.json").read_text()
    trust = str(kept / "trust")
    changed = run("verify", "-", "--trust", trust, text=document.replace("desk-1", "desk-2"))
    assert (changed.returncode, "step 'digest'" in changed.stderr) == (1, True)
    late = run("verify", "-", "--trust", trust, "--at", "2050-01-01T00:00:00Z", text=document)
    assert (late.returncode, "step 'holder-path'" in late.stderr) == (1, True)
    assert "[evidence_invalid]" in late.stderr
    assert run("verify", "-", text=document).returncode == 2


@pytest.mark.parametrize("kind", ["folder", "too large"])
def test_a_list_that_cannot_be_read_is_named(kept: Path, tmp_path: Path, kind: str) -> None:
    """What lies among what is believed and cannot be looked into is refused by its name, and not passed over."""
    trust = Path(shutil.copytree(kept / "trust", tmp_path / "trust"))
    if kind == "folder":
        (trust / "x.crl").mkdir()
    else:
        (trust / "x.crl").touch()
        os.truncate(trust / "x.crl", LARGEST + 1)
    finished = run("verify", str(kept / "evidence.json"), "--trust", str(trust))
    assert finished.returncode == 78
    assert "[config_invalid]" in finished.stderr
    assert f"{trust / 'x.crl'} " in finished.stderr


def test_openssl_checks_the_evidence_without_us(kept: Path) -> None:
    """The printed script runs with OpenSSL alone and ends well."""
    printed = run("verify", str(kept / "evidence.json"), "--openssl")
    assert printed.returncode == 0, printed.stderr
    checked = subprocess.run(("sh",), input=printed.stdout, text=True, capture_output=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "every signature holds" in checked.stdout
