"""Where the Debian package puts things, and the option or argument by which a command is told otherwise."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

import click

CONFIGURATION: Final = Path("/etc/jpki-appliance/appliance.toml")
"""What commands go by that are told no other file."""

_Decorated = TypeVar("_Decorated", bound=Callable[..., Any])
_FILE: Final = click.Path(path_type=Path, dir_okay=False, readable=False)
"""Whether it can be read is for the configuration to say, with its code and its advice."""


def config_option(
    what: str = "The appliance's configuration file.",
) -> Callable[[_Decorated], _Decorated]:
    """Return the option `--config`, which gives a command its *file*; *what* is said of it in the help."""
    return click.option(
        "--config",
        "file",
        type=_FILE,
        default=CONFIGURATION,
        show_default=True,
        help=what,
    )


def config_argument(shown: str = "FILE") -> Callable[[_Decorated], _Decorated]:
    """Return the argument, *shown* by that word, which gives a command its *file*."""
    return click.argument("file", metavar=f"[{shown}]", type=_FILE, default=CONFIGURATION)
