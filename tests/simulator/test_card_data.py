"""Cards in folders."""

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.errors import ConfigInvalid
from appliance.simulator.card_data import Atr, CardData, keep_tries
from appliance.simulator.key_files import private_pem


def test_round_trip(card_data: CardData, tmp_path: Path) -> None:
    """A card that was saved is the same when it is loaded."""
    saved = replace(card_data, atr=Atr.CONTACTLESS, tries=5, tries_left=2, pin="0007")
    saved.save(tmp_path / "cards" / "one")
    loaded = CardData.load(tmp_path / "cards" / "one")
    assert private_pem(loaded.private_key) == private_pem(saved.private_key)
    assert loaded.anchor_key == saved.anchor_key
    assert replace(loaded, private_key=saved.private_key, anchor_key=saved.anchor_key) == saved


def test_private_files(card_data: CardData, tmp_path: Path) -> None:
    """What holds a PIN or a private key is for its owner alone."""
    card_data.save(tmp_path / "card")
    assert (tmp_path / "card").stat().st_mode & 0o777 == 0o700
    assert {(tmp_path / "card" / name).stat().st_mode & 0o777 for name in ("card.toml", "key.pem")} == {0o600}


def test_tries(card_data: CardData, tmp_path: Path) -> None:
    """The count of tries is replaced as a whole, nothing else stays in the folder, and no count means all."""
    card_data.save(tmp_path)
    before = set(tmp_path.iterdir())
    keep_tries(tmp_path, 1)
    assert set(tmp_path.iterdir()) == before
    assert CardData.load(tmp_path).tries_left == 1
    (tmp_path / "tries").unlink()
    assert CardData.load(tmp_path).tries_left == card_data.tries


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("card.toml", b""),
        ("card.toml", b"not toml"),
        ("card.toml", b'pin = "1234"\ntries = 3\natr = "x"\nserial = "1"\nanchor = "00"\n'),
        ("key.pem", b"no key"),
        ("institution.pem", b""),
        ("tries", b"many"),
        ("tries", b"-1"),
        ("tries", b"\xff"),
    ],
)
def test_unusable(card_data: CardData, tmp_path: Path, name: str, content: bytes) -> None:
    """A folder with a broken file is refused by name."""
    card_data.save(tmp_path)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ConfigInvalid, match=str(tmp_path)):
        CardData.load(tmp_path)


def test_unknown_key(card_data: CardData, tmp_path: Path) -> None:
    """A misspelt setting is refused, not ignored."""
    card_data.save(tmp_path)
    with (tmp_path / "card.toml").open("a", encoding="ascii") as file:
        file.write("trys = 9\n")
    with pytest.raises(ConfigInvalid, match="trys"):
        CardData.load(tmp_path)


def test_missing_folder(tmp_path: Path) -> None:
    """A folder that is not there is refused."""
    with pytest.raises(ConfigInvalid):
        CardData.load(tmp_path / "nowhere")


@pytest.mark.parametrize("pin", ["123", "12345", "12a4", "１２３４", ""])  # noqa: RUF001 - full-width digits, on purpose
def test_pin(card_data: CardData, pin: str) -> None:
    """A PIN has four digits of the ASCII kind."""
    with pytest.raises(ValueError, match="four digits"):
        replace(card_data, pin=pin)
