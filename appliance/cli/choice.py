"""An option whose values are those of an enumeration, written as the rest of the product writes them."""

from enum import StrEnum
from typing import Any, TypeVar

import click

E = TypeVar("E", bound=StrEnum)


class Choice(click.Choice[E]):
    """Takes the members of an enumeration by their values; `click` would take them by their names."""

    def normalize_choice(self, choice: Any, ctx: click.Context | None) -> str:  # noqa: ANN401, ARG002  # as click's
        """Return how *choice* is written on the command line."""
        return str(choice)
