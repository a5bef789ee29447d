"""照合番号B, built from what is printed on the card."""

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.card.verification_number import VerificationNumber, era_year
from appliance.errors import VerificationNumberInvalid


def test_the_published_example() -> None:
    """Born on 17 February of Shōwa 55 (1980), expiring in 2035, code 2285: the example of card facts 4.1."""
    assert VerificationNumber.of(date(1980, 2, 17), 2035, "2285").digits == "55021720352285"


@pytest.mark.parametrize(
    ("day", "year"),
    [
        (date(2019, 5, 1), 1), (date(2019, 4, 30), 31), (date(1989, 1, 8), 1), (date(1989, 1, 7), 64),
        (date(1926, 12, 25), 1), (date(1926, 12, 24), 15), (date(1912, 7, 30), 1), (date(1912, 7, 29), 45),
        (date(2026, 1, 1), 8), (date(2000, 2, 29), 12),
    ],
)  # fmt: skip
def test_eras_begin_and_end_on_their_day(day: date, year: int) -> None:
    """The last day of an era and the first of the next are counted in their own eras."""
    assert era_year(day) == year


@given(st.dates(date(1868, 1, 25), date(2100, 12, 31)))
def test_years_go_on_by_one_or_begin_anew(day: date) -> None:
    """From one day to the next the year stays, goes on by one at New Year, or begins again at 1."""
    today, tomorrow = era_year(day), era_year(day + timedelta(days=1))
    assert tomorrow in {today, today + 1, 1}
    assert (tomorrow == today + 1) <= ((day + timedelta(days=1)).timetuple().tm_yday == 1)


@pytest.mark.parametrize(
    "digits", ["", "1234", "5502172035228a", "55131720352285", "55003220352285", "\uff15" * 14]
)
def test_what_cannot_be_a_number_is_refused_before_a_card_sees_it(digits: str) -> None:
    """A wrong length, letters, or a month that does not exist cost no try."""
    with pytest.raises(VerificationNumberInvalid):
        VerificationNumber(digits)


def test_a_birth_before_all_eras_is_refused() -> None:
    """A mistyped century is noticed."""
    with pytest.raises(VerificationNumberInvalid):
        VerificationNumber.of(date(1480, 2, 17), 2035, "2285")


def test_the_number_is_never_shown() -> None:
    """The number opens name, address and photo; no repr shows it."""
    assert "2285" not in repr(VerificationNumber("55021720352285"))
