"""Made-up people, and the numbers that are derived from them."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.verification_number import VerificationNumber
from appliance.simulator.people import AOBA, MIDORI, Municipality, Person, is_my_number, made_up, own_number


@pytest.mark.parametrize(
    ("birth", "key"),
    [
        (date(1926, 12, 25), "011225"),
        (date(1980, 2, 17), "550217"),
        (date(1989, 1, 7), "640107"),
        (date(1989, 1, 8), "010108"),
        (date(2019, 4, 30), "310430"),
        (date(2019, 5, 1), "010501"),
        (date(2026, 1, 1), "080101"),
    ],
)
def test_eras(person: Person, birth: date, key: str) -> None:
    """The day decides the era, and its first year is 01 (ruling 24)."""
    assert replace(person, birth=birth).birth_key == key


def test_number_b(person: Person) -> None:
    """照合番号B is birth date, year of expiry and security code: the example of card facts 4.1."""
    assert person.number_b == "55021720352285"


@given(birth=st.dates(date(1926, 12, 25), date(2099, 12, 31)), code=st.from_regex("[0-9]{4}", fullmatch=True))
def test_number_b_as_the_appliance_has_it(person: Person, birth: date, code: str) -> None:
    """The simulator's number is the one that the appliance computes by itself from what is printed."""
    someone = replace(person, birth=birth, security_code=code)
    assert VerificationNumber.of(birth, someone.expires.year, code).digits == someone.number_b


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        ("537686677188", True),  # of a test card (card facts 7)
        ("537686677180", False),
        ("000000000000", True),
        ("53768667718", False),
        ("５３７６８６６７７１８８", False),  # noqa: RUF001 - full-width digits, on purpose
    ],
)
def test_my_number(number: str, *, expected: bool) -> None:
    """The last digit of a My Number checks the others."""
    assert is_my_number(number) == expected


@given(st.integers(0, 9_999_999))
def test_own_range(serial: int) -> None:
    """Our own numbers begin with 0000 and are valid."""
    number = own_number(serial)
    assert number.startswith("0000")
    assert is_my_number(number)


@pytest.mark.parametrize("serial", [-1, 10_000_000])
def test_outside_of_our_range(serial: int) -> None:
    """There are no numbers outside of our range."""
    with pytest.raises(ValueError, match="seven digits"):
        own_number(serial)


@pytest.mark.parametrize("municipality", [AOBA, MIDORI])
def test_made_up(municipality: Municipality) -> None:
    """Whoever is made up says TEST, lives where they should, and shows no My Number when printed."""
    someone = made_up(municipality, date(2026, 7, 1))
    assert municipality.city in someone.drawn_address
    assert "TEST" in someone.drawn_name
    assert "テスト" in someone.name
    assert someone.expires.year == 2035
    assert someone.my_number not in repr(someone)
    assert "security_code" not in repr(someone)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"birth": date(1926, 12, 24)}, "Shōwa"),
        ({"security_code": "123"}, "four digits"),
        ({"security_code": "12a4"}, "four digits"),
        ({"my_number": "000012345670"}, "twelve digits"),
    ],
)
def test_impossible_people(person: Person, change: dict[str, object], message: str) -> None:
    """Nobody has a card who was born too early, or whose numbers have another form."""
    with pytest.raises(ValueError, match=message):
        replace(person, **change)  # type: ignore[arg-type]  # of several types
