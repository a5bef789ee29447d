"""Whom the configuration names: connectors as entry points, and the files of TLS."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from appliance.config import Configuration, EligibilitySettings, load
from appliance.eligibility import fhir
from appliance.eligibility.place import connector, eligibility, setup
from appliance.eligibility.service import Question
from appliance.errors import ConfigInvalid, EligibilityPartMissing, EligibilityUnavailable
from appliance.hsm.shipped import shipped
from appliance.simulator.network_pki import CA

SECTION = """
[eligibility]
service = "{service}"
url = "https://localhost:1/fhir"
authorities = "{authorities}"
client_certificate = "client.pem"
client_key_file = "client-key.pem"
"""

PAGE = Path(__file__).parents[2] / "docs" / "eligibility.md"
VENDOR = PAGE.read_text().split("```python\n")[1].split("```")[0]
"""The connector that the page shows to whoever writes one."""


@pytest.fixture
def folder(tmp_path: Path, tls_folder: Path) -> Path:
    """A folder with the files that the section names."""
    for name in (CA, "client.pem", "client-key.pem"):
        shutil.copy(tls_folder / name, tmp_path / name)
    return tmp_path


def configured(folder: Path, service: str = "fhir", authorities: str = CA) -> Configuration:
    """Return the configuration with an eligibility service."""
    file = folder / "appliance.toml"
    text = shipped("appliance.toml").read_text()
    file.write_text(text + SECTION.format(service=service, authorities=authorities))
    return load(file)


def settings(configuration: Configuration) -> EligibilitySettings:
    """Return the section."""
    assert configuration.settings.eligibility is not None
    return configuration.settings.eligibility


def install(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, *targets: str) -> None:
    """Have packages with connectors called *name* installed, as pip leaves them."""
    (folder / "vendor_connector.py").write_text(VENDOR)
    for number, target in enumerate(targets):
        info = folder / f"vendor_{number}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vendor-{number}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[jpki_appliance.eligibility]\n{name} = {target}\n")
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "vendor_connector", raising=False)


def test_the_one_that_ships_is_installed() -> None:
    """`fhir` is found as every other connector is."""
    assert connector("fhir") is fhir.connect


async def test_nobody_is_asked_where_nobody_is_configured(folder: Path) -> None:
    """Without the section there is no service, and nothing is loaded for it."""
    file = folder / "appliance.toml"
    file.write_text(shipped("appliance.toml").read_text())
    async with eligibility(load(file)) as service:
        assert service is None


async def test_a_vendors_connector_is_asked(
    folder: Path, monkeypatch: pytest.MonkeyPatch, question: Question
) -> None:
    """A package with an entry point of our group is all it takes; the page's own is one, and finds nobody there."""
    install(folder, monkeypatch, "national", "vendor_connector:connect")
    async with eligibility(configured(folder, "national")) as service:
        assert service is not None
        with pytest.raises(EligibilityUnavailable):
            await service.ask(question)


def test_the_pages_connector_is_typed(folder: Path) -> None:
    """What vendors copy passes mypy against our Protocol."""
    file = folder / "vendor_connector.py"
    file.write_text(VENDOR + "\n\nfits: Connect = connect\n")
    file.write_text(file.read_text().replace("import Answer,", "import Answer, Connect,"))
    root = PAGE.parents[1]
    done = subprocess.run(
        (
            *(sys.executable, "-m", "mypy", "--strict", "--no-incremental", "--follow-imports=silent"),
            *("--config-file=", str(file)),
        ),
        cwd=root,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_a_connector_that_is_not_installed_is_a_missing_part() -> None:
    """The message names it, so that whoever reads it knows what to install."""
    with pytest.raises(EligibilityPartMissing, match="'national'"):
        connector("national")


@pytest.mark.parametrize(
    ("targets", "error"),
    [
        (("vendor_connector:absent",), EligibilityPartMissing),
        (("no_such_module:connect",), EligibilityPartMissing),
        (("vendor_connector:__doc__",), ConfigInvalid),
        (("vendor_connector:connect", "other_connector:connect"), ConfigInvalid),
    ],
    ids=str,
)
def test_a_broken_or_ambiguous_connector_is_refused(
    targets: tuple[str, ...], error: type[Exception], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be loaded, is not callable, or is there twice, is not taken."""
    install(folder, monkeypatch, "national", *targets)
    with pytest.raises(error):
        connector("national")


def test_the_setup_shows_no_key(folder: Path) -> None:
    """A connector is given what it needs to connect, and no path of a secret."""
    configuration = configured(folder)
    assert "client-key" not in repr(setup(configuration, settings(configuration)))


def spoilt_key(folder: Path) -> None:
    """Let everybody read the key."""
    (folder / "client-key.pem").chmod(0o644)


def absent_key(folder: Path) -> None:
    """Take the key away."""
    (folder / "client-key.pem").unlink()


def garbled(folder: Path) -> None:
    """Make the certificate nonsense."""
    (folder / "client.pem").write_text("nonsense")


def without_authorities(folder: Path) -> None:
    """Take the CA away."""
    (folder / CA).unlink()


def closed_key(folder: Path) -> None:
    """Put a passphrase on the key."""
    key, closed = folder / "client-key.pem", folder / "closed.pem"
    subprocess.run(
        ("openssl", "pkcs8", "-topk8", "-in", key, "-out", closed, "-passout", "pass:secret"), check=True
    )
    closed.replace(key)
    key.chmod(0o600)


@pytest.mark.parametrize("spoil", [spoilt_key, absent_key, garbled, without_authorities, closed_key])
def test_tls_files_that_cannot_be_used_are_named(
    spoil: object, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """A key that others can read, and files that are absent or nonsense, show before anybody is asked."""
    configuration = configured(folder)
    assert callable(spoil)
    spoil(folder)
    with pytest.raises(ConfigInvalid):
        setup(configuration, settings(configuration))
    assert capfd.readouterr().err == ""  # and nobody at a terminal is asked for a passphrase


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("https://localhost:1/fhir", "http://localhost/fhir"),
        ("https://localhost:1/fhir", "https://user:password@localhost/fhir"),
        ("https://localhost:1/fhir", "https://localhost/fhir\\n"),
        ("https://localhost:1/fhir", "https://"),
        ('client_key_file = "client-key.pem"\n', ""),
        ('client_certificate = "client.pem"\n', ""),
        ('service = "fhir"', "seconds = 31.0"),
        ('service = "fhir"', "largest_bytes = 10"),
        ('service = "fhir"', "options = { insurer = 1 }"),
        ('service = "fhir"', "srevice = 1"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(good: str, bad: str, folder: Path) -> None:
    """TLS and the client certificate cannot be left out, and no secret can be put in."""
    configured(folder)
    file = folder / "appliance.toml"
    text = file.read_text()
    assert good in text
    head, mark, section = text.rpartition("\n[eligibility]")
    file.write_text(head + mark + section.replace(good, bad))
    with pytest.raises(ConfigInvalid):
        load(file)
