"""The configuration file: the annotated example, and what happens to every mistake in it."""

import re
import stat
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.config import Settings, load
from appliance.errors import ConfigInvalid
from appliance.hsm.shipped import shipped

EXAMPLE = shipped("appliance.toml").read_text()
COMPLETE = re.sub(r"^#(?=\S)", "", EXAMPLE, flags=re.MULTILINE)
"""The example with the settings in use that it only shows."""
REQUIRED = [
    line
    for line in EXAMPLE.splitlines()
    if line.startswith(
        (
            "intermediate",
            "leaf",
            "token",
            "pin_file",
            "authorities",
            "name",
            'alias = "desk-1"',
            "state",
            "issuer",
            "audience",
        )
    )
]


def written(folder: Path, text: str) -> Path:
    """Return the path of a configuration file with *text*."""
    path = folder / "appliance.toml"
    path.write_text(text)
    return path


def known(section: type[msgspec.Struct]) -> dict[str, object]:
    """Return every setting of *section*, with those of the tables in it."""
    settings: dict[str, object] = {}
    for field in msgspec.structs.fields(section):
        tables = [
            kind
            for kind in (field.type, *get_args(field.type))
            if isinstance(kind, type) and issubclass(kind, msgspec.Struct)
        ]
        settings[field.name] = known(tables[0]) if tables else None
    return settings


def shown(table: dict[str, Any], settings: dict[str, object]) -> dict[str, object]:
    """Return what *table* sets, in the shape of `known`; what is in an environment is nobody's but the module's."""
    found: dict[str, object] = {}
    for name, value in table.items():
        inner = settings.get(name)
        if not isinstance(inner, dict):
            found[name] = None
            continue
        tables = value if isinstance(value, list) else [value]
        found[name] = {key: what for within in tables for key, what in shown(within, inner).items()}
    return found


def test_the_annotated_example_names_every_setting_there_is(tmp_path: Path) -> None:
    """Whoever reads the example has seen all settings; nothing can be set that it does not explain."""
    configuration = load(written(tmp_path, EXAMPLE))
    assert shown(msgspec.toml.decode(COMPLETE), known(Settings)) == known(Settings)
    assert configuration.settings.institution.profile == "jpki-reference"


def test_what_the_example_only_shows_can_be_used(tmp_path: Path) -> None:
    """Without the # before them the other settings are in use: a second chain, a second HSM."""
    settings = load(written(tmp_path, COMPLETE)).settings
    assert [hsm.alias for hsm in settings.hsm.all] == ["hsm-1", "hsm-2"]
    assert [chain.leaf for chain in settings.institution.chains] == [
        "institution/next-leaf.cvc",
        "institution/leaf.cvc",
    ]
    alone = load(written(tmp_path, EXAMPLE)).settings
    assert (len(alone.hsm.all), len(alone.institution.chains)) == (1, 1)


def test_two_hsms_of_one_alias_are_refused(tmp_path: Path) -> None:
    """An alias names one HSM."""
    with pytest.raises(ConfigInvalid, match="one alias"):
        load(written(tmp_path, COMPLETE.replace('alias = "hsm-2"', 'alias = "hsm-1"')))


@pytest.mark.parametrize("line", REQUIRED)
def test_what_is_called_required_is_required(line: str, tmp_path: Path) -> None:
    """Without a required value the file is refused, and the message names it."""
    with pytest.raises(ConfigInvalid, match=line.split(" = ", maxsplit=1)[0]):
        load(written(tmp_path, EXAMPLE.replace(f"\n{line}\n", "\n", 1)))


@pytest.mark.parametrize(
    "section",
    [
        "institution",
        "hsm",
        "trust",
        "revocation",
        "revocation.crl",
        "[reader]",
        "result",
        "gateway",
        "terminals",
        "metrics",
    ],
)
def test_a_misspelt_key_is_refused(section: str, tmp_path: Path) -> None:
    """An unknown key is a mistake, not a remark: it is refused by name."""
    with pytest.raises(ConfigInvalid, match="wrokers"):
        load(written(tmp_path, EXAMPLE.replace(f"[{section}]", f"[{section}]\nwrokers = 2", 1)))


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("workers = 2", "workers = 0"), ("workers = 2", 'workers = "1"'), ("sign_seconds = 5.0", "sign_seconds = 0.0"),
        ("challenges_per_minute = 600", "challenges_per_minute = -1"), ('alias = "desk-1"', 'alias = "Desk 1"'),
        ("lifetime_seconds = 300", "lifetime_seconds = 1000000"), ('token = "jpki-appliance"', 'token = ""'),
        ('authorities = ["authorities/ca-1.pem", "authorities/ca-2.pem"]', "authorities = []"), ("[trust]", "[trust"),
        ("queue_limit = 64", "queue_limit = 0"), ("canary_seconds = 60.0", "canary_seconds = 0.0"), ("canary_seconds = 60.0", "canary_seconds = 120.5"),
        ('alias = "hsm-1"', 'alias = "HSM 1"'),
        ('sources = ["crl"]', 'sources = ["ocsp"]'), ('sources = ["crl"]', 'sources = ["crl", "crl"]'), ('sources = ["crl"]', 'sources = ["rumour"]'),
        ('sources = ["crl"]\n', ""), ('when_unavailable = "refuse"', 'when_unavailable = "hope"'),
        ("longest_age_hours = 48.0", "longest_age_hours = 0.0"), ("watch_seconds = 10.0", "watch_seconds = 0.0"),
        ('alias = "desk-1"', 'alias = "desk-1\\n"'), ('socket = "run/appliance.sock"', 'socket = ""'),
        ("20.0\nexchange_seconds = 10.0", "20.0\nexchange_seconds = 0.0004"),
        ("exchange_seconds = 10.0\npin_seconds = 60.0", "exchange_seconds = 10.0\npin_seconds = 1.5"),
        ("card_seconds = 15.0\npin_seconds = 60.0", "card_seconds = 15.0\npin_seconds = 1.5"),
        ("20.0\nexchange_seconds = 10.0", "20.0\nexchange_seconds = 341.0"),
        ("card_seconds = 15.0\npin_seconds = 60.0", "card_seconds = 601.0\npin_seconds = 60.0"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_refused(good: str, bad: str, tmp_path: Path) -> None:
    """Values out of their bounds, of another kind, and broken files are refused."""
    assert good in EXAMPLE
    with pytest.raises(ConfigInvalid):
        load(written(tmp_path, EXAMPLE.replace(good, bad)))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    """The message says which file cannot be read, and why."""
    with pytest.raises(ConfigInvalid, match=r"nowhere\.toml cannot be read: No such file"):
        load(tmp_path / "nowhere.toml")


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    """A folder with a configuration can be moved as one, also what the module is told of it."""
    configuration = load(written(tmp_path, EXAMPLE))
    assert configuration.path("a/b") == tmp_path / "a" / "b"
    assert configuration.path("/a/b") == Path("/a/b")
    assert configuration.environment(configuration.settings.hsm) == {
        "SOFTHSM2_CONF": str(tmp_path / "softhsm" / "softhsm2.conf")
    }


def test_a_secret_that_others_can_read_is_refused(tmp_path: Path) -> None:
    """A secret file has to be its owner's alone."""
    configuration = load(written(tmp_path, EXAMPLE))
    secret = tmp_path / "pseudonym.key"
    secret.write_bytes(b"secret")
    secret.chmod(stat.S_IRUSR | stat.S_IWUSR)
    assert configuration.read_secret("pseudonym.key") == b"secret"
    secret.chmod(0o640)
    with pytest.raises(ConfigInvalid, match="chmod 600"):
        configuration.read_secret("pseudonym.key")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A file larger than any that is meant is refused after its first part."""
    configuration = load(written(tmp_path, EXAMPLE))
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigInvalid, match="larger"):
        configuration.read("huge")


@given(content=st.binary(max_size=200))
@example(content=b"a = " + b"[" * 20_000)
@example(content=b"a = " + b"1" * 20_000)
def test_any_file_is_a_configuration_or_refused(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
) -> None:
    """Any bytes raise ConfigInvalid, and nothing else."""
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigInvalid):
        load(path)
