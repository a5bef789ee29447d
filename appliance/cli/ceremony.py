"""`jpki-appliance ceremony`: make the keys of an installation before witnesses, and import its certificates."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from appliance.catalogue import Language, story
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.config import read_bounded
from appliance.hsm.ceremony import chain, plan, run
from appliance.hsm.ceremony.audit import Check, audit
from appliance.hsm.ceremony.errand import Seen
from appliance.hsm.ceremony.plan import Reviewed
from appliance.hsm.ceremony.transcript import KeysMade, Module, PublicHalf, Statement, TokenIdentity

_FILE = click.Path(path_type=Path)
_speaks = click.option("--language", "spoken", type=Choice(Language), help="[default: the locale's]")


@dataclass(frozen=True, slots=True)
class Reader:
    """Who reads along, in a *language*."""

    language: Language

    def say(self, key: str) -> str:
        """Return the catalogue's text for *key*."""
        return story(f"ceremony-{key}").in_language(self.language)

    def tell(self, key: str, *details: str) -> None:
        """Print a line about *key*, and its details below."""
        click.echo(f"{self.say(key)}{': ' + details[0] if details else ''}")
        for detail in details[1:]:
            click.echo(f"    {detail}")

    def listed(self, key: str, details: Iterable[str]) -> None:
        """Print a line about *key* and all its *details* below, or nothing where there are none."""
        lines = tuple(details)
        if lines:
            click.echo(f"{self.say(key)}:")
        for line in lines:
            click.echo(f"    {line}")


@click.group()
def ceremony() -> None:
    """Make keys in the HSM before witnesses, from one reviewed file, with a transcript that proves it."""


@ceremony.command("plan")
@click.argument("file", type=_FILE)
@_speaks
def plan_(file: Path, spoken: Language | None) -> None:
    """
    Check the plan in FILE and tell what would be done. Nothing is made, and nobody logs in.

    Exit status 0 where the ceremony can be held. Reviewers note the SHA-256 at the end.
    """
    reader = _reader(spoken)
    reviewed = plan.load(file)
    _tell_plan(reader, reviewed)
    _tell_seen(reader, reviewed, run.look(reviewed))
    reader.tell("plan-possible")
    reader.tell("plan-sha256", reviewed.sha256)


@ceremony.command("run")
@click.argument("file", type=_FILE)
@click.option("--plan-sha256", required=True, help="What the reviewers noted.")
@click.option(
    "--discard-unfinished", is_flag=True, help="Destroy the keys that a run which was interrupted has left."
)
@_speaks
def run_(file: Path, *, plan_sha256: str, discard_unfinished: bool, spoken: Language | None) -> None:
    """
    Hold the ceremony that FILE plans.

    Refuses a file that differs from the reviewed one, a token with a key of a planned name, and an output that is
    there. The PIN is tried once.
    """
    reader = _reader(spoken)
    reviewed = plan.load(file)
    held = run.hold(reviewed, plan_sha256, discard_unfinished=discard_unfinished)
    _tell_statement(reader, held.statement)
    reader.listed("written", sorted(str(path) for path in reviewed.output.iterdir()))
    reader.tell("transcript-sha256", held.sha256)
    reader.tell("run-next")


@ceremony.command("verify")
@click.argument("file", type=_FILE, metavar="TRANSCRIPT")
@click.option("--sha256", help="What operator and witnesses noted at the end of the ceremony.")
@_speaks
def verify(file: Path, *, sha256: str | None, spoken: Language | None) -> None:
    """
    Repeat every check of a TRANSCRIPT, step by step. Needs no HSM and no network.

    Exit status 1 where a single byte is not as its keys have signed it.
    """
    reader = _reader(spoken)
    audited = audit(read_bounded(file), noted=sha256, passed=_passed(reader))
    _tell_statement(reader, audited.statement)
    reader.tell("transcript-sha256", audited.sha256)
    if sha256 is None:
        reader.tell("verify-compare")


@ceremony.command("import")
@click.argument("file", type=_FILE)
@click.option("--intermediate", required=True, type=_FILE, help="The intermediate's certificate (CVC).")
@click.option("--leaf", required=True, type=_FILE, help="The institution's certificate (CVC).")
@click.option("--root-key", type=_FILE, help="Public key of the root (PEM), where it is known.")
@click.option("--next", "as_next", is_flag=True, help="As the next chain, beside the one in service.")
@_speaks
def import_(
    file: Path,
    *,
    as_next: bool,
    spoken: Language | None,
    **received: Any,  # noqa: ANN401  # files, checked by their options
) -> None:
    """
    Import the certificates issued for the institution key made in the ceremony that FILE planned.

    Checks the chain, that it certifies the key in the token, and how that key is protected. Replaces nothing.
    """
    reader = _reader(spoken)
    imported = chain.import_chain(plan.load(file), chain.Received(**received), as_next=as_next)
    _tell_statement(reader, imported.statement)
    if imported.statement.root_key is None:
        reader.tell("import-root-unknown")
    reader.listed("written", map(str, (imported.record, *imported.files)))
    reader.tell("transcript-sha256", imported.transcript.sha256)
    reader.tell("import-next" if as_next else "import-first")


def _reader(spoken: Language | None) -> Reader:
    return Reader(spoken or language.spoken())


def _passed(reader: Reader) -> Callable[[Check], None]:
    def passed(check: Check) -> None:
        click.echo(f"✓ {reader.say(f'check-{check}')}")

    return passed


def _tell_plan(reader: Reader, reviewed: Reviewed) -> None:
    planned = reviewed.plan
    _tell_people(reader, planned.purpose, planned.operator, planned.witnesses)
    for key in planned.keys:
        files = [run.PUBLIC_KEY] + ([run.REQUEST] if key.request else [])
        subject = [f"{part}={value}" for part, value in (key.request.subject if key.request else ())]
        reader.tell(
            "plan-key",
            f"{key.role} {key.algorithm}  CKA_LABEL {key.label}  CKA_ID {key.id}",
            *(str(reviewed.output / name.format(label=key.label)) for name in files),
            *([f"PKCS#10: {', '.join(subject)}"] if subject else []),
        )
    reader.listed(
        "plan-countersign",
        (f"{key.role} {reviewed.path(key.public_key)}" for key in planned.countersign),
    )
    reader.tell("plan-transcript", str(reviewed.output / run.TRANSCRIPT))


def _tell_seen(reader: Reader, reviewed: Reviewed, seen: Seen) -> None:
    _tell_place(reader, seen.module, seen.token)
    attributes = reviewed.vendor.attributes
    reader.listed("omitted", sorted(attributes.omitted))
    reader.listed("deviations", reviewed.vendor.deviations)


def _tell_place(reader: Reader, module: Module, token: TokenIdentity) -> None:
    reader.tell(
        "token",
        f"'{token.label}'  {token.manufacturer}  {token.model}  {token.serial}  {token.firmware}",
    )
    reader.tell("module", module.path, f"{module.description} {module.version}", f"SHA-256 {module.sha256}")


def _tell_statement(reader: Reader, statement: Statement) -> None:
    _tell_people(reader, statement.purpose, statement.operator, statement.witnesses)
    reader.tell("time", f"{statement.began} / {statement.ended}")
    _tell_place(reader, statement.module, statement.token)
    reader.listed("deviations", statement.vendor.deviations)
    if isinstance(statement, KeysMade):
        for key in statement.keys:
            reader.tell("made", f"{key.label}  {_told(key)}")
    else:
        reader.tell("certified", statement.institution_code, _told(statement.key))
    reader.listed("countersigned", map(_told, statement.countersigners))
    reader.tell("plan-sha256", statement.plan_sha256)


def _tell_people(reader: Reader, purpose: str, operator: str, witnesses: Iterable[str]) -> None:
    reader.tell("purpose", purpose)
    reader.tell("operator", operator)
    reader.tell("witnesses", ", ".join(witnesses))


def _told(key: PublicHalf) -> str:
    return f"{key.role} {key.algorithm}  SHA-256 {key.fingerprint}"
