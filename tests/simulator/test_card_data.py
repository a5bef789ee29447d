"""Cards in folders."""

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import ConfigInvalid
from appliance.simulator.card_data import Atr, CardData
from appliance.simulator.credentials import LIMITS, CredentialName
from appliance.simulator.key_files import private_pem
from appliance.simulator.kinds import Kind
from appliance.simulator.tries import TriesFile

PIN, SURFACE_B = CredentialName.PIN, CredentialName.SURFACE_B


def test_round_trip(card_data: CardData, tmp_path: Path) -> None:
    """A card that was saved is the same when it is loaded."""
    saved = replace(
        card_data,
        kind=Kind.ANDROID,
        atr=Atr.CONTACTLESS,
        limits={PIN: 5},
        tries_left={PIN: 2, SURFACE_B: 9},
        secrets=replace(card_data.secrets, pin="0007"),
    )
    saved.save(tmp_path / "cards" / "one")
    loaded = CardData.load(tmp_path / "cards" / "one")
    assert private_pem(loaded.private_key) == private_pem(saved.private_key)
    assert private_pem(loaded.card_key) == private_pem(saved.card_key)
    assert loaded.anchor_key == saved.anchor_key
    keys = {"private_key": saved.private_key, "card_key": saved.card_key, "anchor_key": saved.anchor_key}
    assert replace(loaded, **keys) == saved  # type: ignore[arg-type]  # of several types


def test_private_files(card_data: CardData, tmp_path: Path) -> None:
    """What holds a PIN or a private key is for its owner alone."""
    card_data.save(tmp_path / "card")
    folders = (tmp_path / "card", tmp_path / "card" / "surface", tmp_path / "card" / "text")
    assert {folder.stat().st_mode & 0o777 for folder in folders} == {0o700}
    files = ("card.toml", "key.pem", "card-key.pem")
    assert {(tmp_path / "card" / name).stat().st_mode & 0o777 for name in files} == {0o600}


def test_tries(card_data: CardData, tmp_path: Path) -> None:
    """A count of tries is kept beside the others, nothing else stays in the folder, and no file means all."""
    card_data.save(tmp_path)
    before = set(tmp_path.iterdir())
    TriesFile(tmp_path).keep(PIN, 1)
    TriesFile(tmp_path).keep(SURFACE_B, 7)
    assert set(tmp_path.iterdir()) == before
    loaded = CardData.load(tmp_path)
    assert [loaded.tries(name) for name in (PIN, SURFACE_B, CredentialName.TEXT_B)] == [1, 7, 10]
    (tmp_path / "tries.toml").unlink()
    assert {name: CardData.load(tmp_path).tries(name) for name in CredentialName} == LIMITS


def test_other_limits(card_data: CardData, tmp_path: Path) -> None:
    """Another limit of tries may be written into the card's file: sources differ on it (card facts 9)."""
    card_data.save(tmp_path)
    with (tmp_path / "card.toml").open("a", encoding="ascii") as file:
        file.write("surface-b = 3\n")
    assert CardData.load(tmp_path).tries(SURFACE_B) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("card.toml", b""),
        ("card.toml", b"not toml"),
        ("card.toml", b'pin = "1234"\ntries = 3\natr = "contact"\nserial = "1"\nanchor = "00"\n'),
        ("key.pem", b"no key"),
        ("card-key.pem", b"no key"),
        ("institution.pem", b""),
        ("surface/front", b""),
        ("tries.toml", b"many"),
        ("tries.toml", b"pin = -1"),
        ("tries.toml", b"pin = 4"),
        ("tries.toml", b"pni = 1"),
        ("tries.toml", b"\xff"),
    ],
)
def test_unusable(card_data: CardData, tmp_path: Path, name: str, content: bytes) -> None:
    """A folder with a broken file is refused by name, also one from before cards had more applications."""
    card_data.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigInvalid, match=str(tmp_path)):
        CardData.load(tmp_path)


def test_unknown_key(card_data: CardData, tmp_path: Path) -> None:
    """A misspelt setting is refused, not ignored."""
    card_data.save(tmp_path)
    text = (tmp_path / "card.toml").read_text(encoding="ascii")
    (tmp_path / "card.toml").write_text(f"sreial = 9\n{text}", encoding="ascii")
    with pytest.raises(ConfigInvalid, match="sreial"):
        CardData.load(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is refused."""
    with pytest.raises(ConfigInvalid):
        CardData.load(tmp_path / "nowhere")


@pytest.mark.parametrize("pin", ["123", "12345", "12a4", "１２３４", ""])  # noqa: RUF001 - full-width digits, on purpose
def test_pin(card_data: CardData, pin: str) -> None:
    """A PIN has four digits of the ASCII kind."""
    with pytest.raises(ValueError, match="4 digits"):
        replace(card_data.secrets, pin=pin)


@pytest.mark.parametrize("password", ["ABC12", "A" * 17, "abcdef", "ABC 123", "ＡＢＣＤＥＦ"])  # noqa: RUF001 - as above
def test_password(card_data: CardData, password: str) -> None:
    """A password has 6 to 16 capital letters and digits."""
    with pytest.raises(ValueError, match="password"):
        replace(card_data.secrets, password=password)
