"""Vendor profiles: what they may say, and what the ones that are shipped do say."""

from datetime import date
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.errors import ConfigInvalid
from appliance.hsm.vendor import (
    SOFTHSM,
    Attributes,
    Login,
    Untested,
    Vendor,
    load_vendor,
    shipped_vendors,
)
from appliance.hsm.vendor import (
    Tested as WasTested,
)

_TESTED = {"softhsm", "p11-kit", "opencryptoki", "tpm2-pkcs11", "nss"}
_MINIMAL = 'name = "x"\nmodule = "/x.so"\nstatus = { kind = "untested", document = "none" }\n'


@pytest.mark.parametrize("name", shipped_vendors())
def test_shipped_profile_is_whole(name: str) -> None:
    """Every shipped profile can be read, is called what its file is called, and says whether it was ever run."""
    vendor = load_vendor(name)
    assert vendor.name == name
    assert vendor.tested is (name in _TESTED)
    assert isinstance(vendor.status, WasTested if name in _TESTED else Untested)


def test_default_is_the_shipped_softhsm() -> None:
    """The profile in the code that makes SoftHSM tokens is the shipped one, notes aside."""
    assert msgspec.structs.replace(load_vendor("softhsm"), notes=()) == SOFTHSM


def test_profile_survives_the_way_to_a_worker() -> None:
    """A profile is the same after it went through a message."""
    for name in shipped_vendors():
        vendor = load_vendor(name)
        assert msgspec.msgpack.decode(msgspec.msgpack.encode(vendor), type=Vendor) == vendor


def test_unknown_name_is_told_with_the_known_ones() -> None:
    """Who misspells a profile is told which there are."""
    with pytest.raises(ConfigInvalid, match="softhsm"):
        load_vendor("softhms")


def test_a_name_is_not_a_path() -> None:
    """A name cannot lead out of the folder of profiles."""
    with pytest.raises(ConfigInvalid):
        load_vendor("../vendors/softhsm")


@pytest.mark.parametrize(
    ("addition", "named"),
    [
        ("misspelt = 1", "misspelt"),
        ("[signing]\nrsa = 'pss'", "rsa"),
        ("[attributes]\nunreadable = ['CKA_NONE']", "unreadable"),
        ("[attributes]\nexpected = { CKA_EXTRACTABLE = true }", "CKA_EXTRACTABLE"),
        ("[attributes]\nunreadable = ['CKA_SENSITIVE']", "CKA_SENSITIVE"),
        ("[limits]\nsessions = 0", "sessions"),
        ("[login]\nuser_type = 1", "user"),
        ("[login]\nkind = 'none'", "kind"),
    ],
)
def test_bad_profile_is_refused(tmp_path: Path, addition: str, named: str) -> None:
    """A profile with something unknown, impossible or too soft is refused, and what it is is named."""
    file = tmp_path / "bad.toml"
    file.write_text(f"{_MINIMAL}{addition}\n")
    with pytest.raises(ConfigInvalid, match=named):
        load_vendor("bad.toml", tmp_path)


def test_absent_and_oversized_files(tmp_path: Path) -> None:
    """A file that is not there, or too large or too deep to be meant, is a mistake of configuration."""
    (tmp_path / "large.toml").write_text("#" * (1 << 17))
    (tmp_path / "deep.toml").write_text("a = " + "[" * 20_000)
    (tmp_path / "endless.toml").write_text("a = " + "1" * 20_000)
    for name in ("absent.toml", "large.toml", "deep.toml", "endless.toml"):
        with pytest.raises(ConfigInvalid):
            load_vendor(name, tmp_path)


@given(st.binary(max_size=200))
def test_any_file_is_a_profile_or_refused(content: bytes) -> None:
    """Whatever bytes a decoder gets, it gives a profile or an error that is mapped."""
    try:
        msgspec.toml.decode(content, type=Vendor)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return


def test_every_softening_is_said() -> None:
    """An operator is told of each check a profile makes softer, and that nobody has tested it."""
    vendor = Vendor(
        name="soft",
        module="/soft.so",
        status=Untested(document="none"),
        attributes=Attributes(
            unreadable=frozenset({"CKA_DERIVE"}),
            expected={"CKA_LOCAL": False},
            allowed_mechanisms="fixed",
        ),
    )
    said = " ".join(vendor.deviations)
    for word in ("CKA_DERIVE", "CKA_LOCAL is FALSE", "CKA_ALLOWED_MECHANISMS", "untested"):
        assert word in said
    standard = Vendor(name="s", module="/s.so", status=WasTested(date=date(2026, 1, 1), versions="1"))
    assert standard.deviations == ()


def test_vendor_user_types() -> None:
    """Only a number that the standard leaves to vendors is a vendor's user type."""
    assert Login(user_type=0x80000001).user_type == 0x80000001
    for number in (0, 1, 2, 0x7FFFFFFF, 1 << 32):
        with pytest.raises(ValueError, match="user type"):
            Login(user_type=number)
