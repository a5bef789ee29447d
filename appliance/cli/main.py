"""The command `jpki-appliance`, and what all its subcommands have in common: errors, language, signals."""

import signal
import sys
from types import FrameType
from typing import NoReturn

import click

from appliance import __version__
from appliance.catalogue import Language, error_text
from appliance.cli import language
from appliance.cli.lazy import LazyGroup
from appliance.errors import ApplianceError

_INTERRUPTED = 130
_COMMANDS = {
    "bench": "appliance.cli.benches.command:bench",
    "ceremony": "appliance.cli.ceremony:ceremony",
    "config": "appliance.cli.config:config",
    "demo": "appliance.cli.demo:demo",
    "doctor": "appliance.cli.doctor:doctor",
    "emergency": "appliance.cli.emergency:emergency",
    "explain": "appliance.cli.explain:explain",
    "handover": "appliance.cli.handover:handover",
    "hsm": "appliance.cli.hsm:hsm",
    "ledger": "appliance.cli.ledger:ledger",
    "profile": "appliance.cli.profile:profile",
    "revocation": "appliance.cli.revocation:revocation",
    "serve": "appliance.cli.serve:serve",
    "simulator": "appliance.cli.simulator.command:simulator",
    "status": "appliance.cli.status:status",
    "support-bundle": "appliance.cli.support_bundle:support_bundle",
    "terminal": "appliance.cli.terminal:terminal",
    "verify": "appliance.cli.verify:verify",
}


@click.group(
    cls=LazyGroup,
    elsewhere=_COMMANDS,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
@click.version_option(__version__, prog_name="jpki-appliance")
def command() -> None:
    """Authenticate My Number cards (特定機関認証) with an institution key that stays in its HSM."""


def main() -> NoReturn:
    """Run the command; the exit status is 0, 1 for a refusal, 2 for wrong usage, 78 for what needs an operator."""
    # Ended politely, everything that was started is ended too.
    signal.signal(signal.SIGTERM, _end)
    try:
        sys.exit(command(standalone_mode=False))
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(_INTERRUPTED)
    except ApplianceError as error:
        click.echo(explained(error, language.spoken()), err=True)
        sys.exit(error.exit_status)


def explained(error: ApplianceError, spoken: Language) -> str:
    """Return what a person needs to know of *error*: code, what happened, what to do."""
    text = error_text(error.code)
    return "\n".join(
        (
            f"[{error.code}] {text.title.in_language(spoken)}",
            f"  {error.detail}",
            f"  {text.operator.in_language(spoken)}",
        )
    )


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    sys.exit(128 + number)
