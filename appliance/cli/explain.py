"""`jpki-appliance explain`: what a code means, and what clerk and operator do."""

import click

from appliance.catalogue import Language, error_text
from appliance.cli import language
from appliance.cli.choice import Choice
from appliance.errors import BY_CODE

_HEADINGS = {
    Language.EN: ("Error catalogue", "Clerk", "Operator", "Exit status"),
    Language.JA: ("エラー一覧", "受付", "管理者", "終了ステータス"),
}


@click.command()
@click.argument("code", required=False, type=click.Choice(sorted(BY_CODE)), metavar="CODE")
@click.option("--language", "spoken", type=Choice(Language), help="Of the texts. [default: the locale's]")
@click.option("--markdown", is_flag=True, help="Print the whole catalogue as a page of documentation.")
def explain(code: str | None, spoken: Language | None, *, markdown: bool) -> None:
    """Explain the error CODE; without one, list all codes with what they mean."""
    spoken = spoken or language.spoken()
    if markdown:
        click.echo(page(spoken), nl=False)
    elif code is None:
        for known in BY_CODE:
            click.echo(f"{known:32} {error_text(known).title.in_language(spoken)}")
    else:
        text = error_text(code)
        _, clerk, operator, _ = _HEADINGS[spoken]
        click.echo(f"[{code}] {text.title.in_language(spoken)}\n")
        click.echo(f"{clerk}: {text.clerk.in_language(spoken)}\n")
        click.echo(f"{operator}: {text.operator.in_language(spoken)}")


def page(spoken: Language) -> str:
    """Return the catalogue as a page of Markdown."""
    title, clerk, operator, status = _HEADINGS[spoken]
    lines = [
        f"# {title}",
        "",
        "<!-- Written by `jpki-appliance explain --markdown`; change `catalogue.toml`. -->",
    ]
    for code, kind in BY_CODE.items():
        text = error_text(code)
        lines += [
            "",
            f"## `{code}`",
            "",
            f"{text.title.in_language(spoken)}",
            "",
            f"- **{clerk}:** {text.clerk.in_language(spoken)}",
            f"- **{operator}:** {text.operator.in_language(spoken)}",
            f"- **{status}:** {kind.exit_status}",
        ]
    return "\n".join(lines) + "\n"
