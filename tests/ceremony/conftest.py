"""A place for ceremonies: an empty token, the example files beside it, and the commands as a person runs them."""

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from appliance.hsm import softhsm
from appliance.hsm.ceremony import plan
from appliance.hsm.shipped import shipped
from appliance.simulator.pki import Hierarchy
from tests.shim.rules import Rules, compiled

FIRST = "first-keys.toml"
ROTATION = "rotation.toml"
OUTPUT = "ceremony-2026"
NEXT_OUTPUT = "ceremony-2027"
NEXT_CHAIN = '\n[institution.next]\nintermediate = "next/intermediate.cvc"\nleaf = "next/leaf.cvc"\n'

Finished = subprocess.CompletedProcess[str]


@dataclass(frozen=True, slots=True)
class Place:
    """A *folder* with a token, the appliance's configuration, and the plans."""

    folder: Path

    def command(self, *arguments: object) -> Sequence[str]:
        """Return the command line of `jpki-appliance ceremony` with *arguments*."""
        return (sys.executable, "-m", "appliance", "ceremony", *map(str, arguments))

    def start(self, *arguments: object) -> subprocess.Popen[bytes]:
        """Start a command in the folder."""
        return subprocess.Popen(
            self.command(*arguments), cwd=self.folder, env=_environment(), stdout=subprocess.DEVNULL
        )

    def run(self, *arguments: object, language: str = "C.UTF-8") -> Finished:
        """Run a command in the folder to its end."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=_environment(language),
            capture_output=True,
            text=True,
            check=False,
            timeout=100,
        )

    def sha256(self, name: str) -> str:
        """Return what the reviewers of the plan *name* note."""
        return plan.load(self.folder / name).sha256

    def hold(self, name: str = FIRST, *options: str) -> Finished:
        """Hold the ceremony of the plan *name* as reviewed."""
        return self.run("run", name, "--plan-sha256", self.sha256(name), *options)

    def edit(self, name: str, old: str, new: str) -> None:
        """Put *new* in the place of *old* in the file *name*."""
        text = (self.folder / name).read_text("utf-8")
        assert text.count(old) == 1, f"{old!r} stands {text.count(old)} times in {name}"
        (self.folder / name).write_text(text.replace(old, new), "utf-8")

    def transcript(self, output: str = OUTPUT) -> dict[str, Any]:
        """Return the transcript in *output* as JSON."""
        content: dict[str, Any] = json.loads((self.folder / output / "transcript.json").read_text("utf-8"))
        return content

    def public_key(self, name: str, output: str = OUTPUT) -> rsa.RSAPublicKey:
        """Return the institution's key in *output* that is called *name*."""
        key = load_pem_public_key((self.folder / output / f"{name}.pub.pem").read_bytes())
        assert isinstance(key, rsa.RSAPublicKey)
        return key

    def receive(self, hierarchy: Hierarchy, key: rsa.RSAPublicKey, code: str = "9912345") -> None:
        """Put the certificates that *hierarchy* issues for *key* into the folder, as an institution gets them."""
        files = {
            "intermediate.cvc": hierarchy.institution.intermediate.to_bytes(),
            "leaf.cvc": hierarchy.issue_institution(key, code).to_bytes(),
            "root.pem": hierarchy.root_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        }
        received = self.folder / "received"
        received.mkdir(exist_ok=True)
        for name, content in files.items():
            (received / name).write_bytes(content)

    def import_chain(self, name: str = FIRST, *options: str, root_key: bool = True) -> Finished:
        """Import what was received for the ceremony of the plan *name*."""
        return self.run(
            *("import", name, "--intermediate", "received/intermediate.cvc", "--leaf", "received/leaf.cvc"),
            *(("--root-key", "received/root.pem") if root_key else ()),
            *options,
        )

    def objects(self) -> list[str]:
        """Return type and label of every key in the token, as OpenSC's pkcs11-tool sees it, logged in."""
        pin = (self.folder / "softhsm" / softhsm.USER_PIN).read_text().strip()
        listed = subprocess.run(
            (
                *("pkcs11-tool", "--module", str(softhsm.MODULE), "--token-label", softhsm.TOKEN_LABEL),
                *("--login", "--pin", "env:TEST_PIN", "--list-objects"),
            ),
            env={**os.environ, **softhsm.environment(self.folder / "softhsm"), "TEST_PIN": pin},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        kinds = re.findall(r"^(Public|Private) Key Object", listed, re.MULTILINE)
        return sorted(
            f"{kind.lower()} {label}"
            for kind, label in zip(
                kinds, re.findall(r"^  label:\s+(\S+)$", listed, re.MULTILINE), strict=True
            )
        )

    def contents(self) -> Mapping[Path, bytes]:
        """Return every file of the folder but those of the token and the PINs."""
        return {
            path: path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and "softhsm" not in path.parts
        }


def _environment(language: str = "C.UTF-8") -> dict[str, str]:
    return {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": language}


def _configure_softhsm(folder: Path) -> None:
    template = shipped("softhsm/softhsm2.conf").read_text("utf-8")
    (folder / softhsm.CONFIGURATION).write_text(template.replace("@TOKENS@", str(folder / softhsm.TOKENS)))


@pytest.fixture(scope="session")
def made_ready(tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place before any ceremony; not to be changed."""
    folder = tmp_path_factory.mktemp("ceremony") / "place"
    token = folder / "softhsm"
    (token / softhsm.TOKENS).mkdir(parents=True)
    _configure_softhsm(token)
    pins = {name: f"{secrets.randbelow(10**12):012d}" for name in (softhsm.SO_PIN, softhsm.USER_PIN)}
    for name, pin in pins.items():
        (token / name).touch(mode=0o600)
        (token / name).write_text(f"{pin}\n")
    subprocess.run(
        (
            *("softhsm2-util", "--init-token", "--free", "--label", softhsm.TOKEN_LABEL),
            *("--so-pin", pins[softhsm.SO_PIN], "--pin", pins[softhsm.USER_PIN]),
        ),
        env={"PATH": "/usr/bin:/bin", **softhsm.environment(token)},
        check=True,
        capture_output=True,
    )
    for name in (FIRST, ROTATION):
        shutil.copyfile(shipped(f"ceremony/{name}"), folder / name)
    shutil.copyfile(shipped("appliance.toml"), folder / "appliance.toml")
    return Place(folder)


@pytest.fixture(scope="session")
def held(made_ready: Place, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """A place where the first ceremony was held; not to be changed."""
    place = _copied(made_ready, tmp_path_factory.mktemp("held") / "place")
    finished = place.hold()
    assert finished.returncode == 0, finished.stderr
    return place


@pytest.fixture
def place(made_ready: Place, tmp_path: Path) -> Place:
    """A place of the test's own, before any ceremony."""
    return _copied(made_ready, tmp_path / "place")


@pytest.fixture
def after(held: Place, tmp_path: Path) -> Place:
    """A place of the test's own, where the first ceremony was held."""
    return _copied(held, tmp_path / "place")


def _copied(place: Place, folder: Path) -> Place:
    shutil.copytree(place.folder, folder)
    _configure_softhsm(folder / "softhsm")
    return Place(folder)


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A module that forwards to SoftHSM and stops where it is told to."""
    return compiled(tmp_path_factory.mktemp("shim"))


@pytest.fixture
def rules(tmp_path: Path) -> Iterator[Rules]:
    """Where the shim stops."""
    with Rules(tmp_path / "rules", str(softhsm.MODULE)) as written:
        yield written


@pytest.fixture
def behind_shim(place: Place, shim: Path, rules: Rules) -> Place:
    """A place whose plan names the shim as its module."""
    place.edit(FIRST, f'"{softhsm.MODULE}"', f'"{shim}"')
    variables = "".join(f'{name} = "{value}"\n' for name, value in rules.environment.items())
    place.edit(FIRST, "[token.environment]\n", f"[token.environment]\n{variables}")
    return place


@pytest.fixture
def received(after: Place, hierarchy: Hierarchy) -> Place:
    """A place where the certificates for the first institution key have come in."""
    after.receive(hierarchy, after.public_key("institution-2026"))
    return after
