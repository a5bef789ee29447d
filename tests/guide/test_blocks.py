"""How the guide's blocks are read, and what is a page with a block that nobody would run."""

from pathlib import Path

import pytest

from tests.guide.blocks import Change, Command, Console, blocks
from tests.guide.shell import Answer, Shell

PAGE = """# A page

```console
# first --option \\
    continued
it says <a-word> here
…
and … there
# cat > file <<'EOF'
# no command
EOF
```

```console booted
# systemctl start it
```

```toml set /etc/it.toml
[two]
key = 2
[[three]]
name = "c"
```
"""
FILE = """# [two]
key = 0

[one]
key = 1
#other = 1

[two]
other = "key = 1"
"""


def page(folder: Path, text: str) -> Path:
    """Return a page with *text*."""
    path = folder / "page.md"
    path.write_text(text, "utf-8")
    return path


def test_commands_go_on_over_lines(tmp_path: Path) -> None:
    """Behind a backslash, and up to the end of what is written into a file; what is printed belongs to the one before."""
    first, second, third = blocks(page(tmp_path, PAGE))
    assert isinstance(first, Console)
    assert isinstance(second, Console)
    assert not first.booted
    assert second.booted
    assert [command.line for command in first.commands] == [
        "first --option \\\n    continued",
        "cat > file <<'EOF'\n# no command\nEOF",
    ]
    assert first.commands[0].prints == ("it says <a-word> here", "and … there")
    assert isinstance(third, Change)
    assert third.where.endswith(":18")


@pytest.mark.parametrize(
    "text",
    [
        "```sh\nls\n```\n",
        "```\nls\n```\n",
        "```console\nls\n```\n",
        "```console\n```\n",
        "```console boot\n# ls\n```\n",
    ],
)
def test_a_block_of_no_known_kind_is_refused(tmp_path: Path, text: str) -> None:
    """What nobody would run does not pass for something that is run."""
    with pytest.raises(ValueError, match="page"):
        list(blocks(page(tmp_path, text)))


def test_what_is_printed_is_looked_for_in_its_order() -> None:
    """Lines in between do not matter, blanks count as one, and a name is known from then on."""
    command = Command("it", ("hash: <a-hash>", "… done"))
    known: dict[str, str] = {}
    assert command.missing("before\nhash:   ab12\nbetween\nall done\n", known) is None
    assert known == {"a-hash": "ab12"}
    assert Command("use <a-hash>", ()).filled(known) == "use ab12"
    assert command.missing("all done\nhash: ab12\n", {}) == "… done"
    assert Command("it", ("<!DOCTYPE html>",)).missing("<!DOCTYPE html>\n", {}) is None
    with pytest.raises(KeyError):
        Command("use <another>", ()).filled(known)


def test_keys_are_set_in_their_sections(tmp_path: Path) -> None:
    """A key that is there gets the value, another one is added; so is a section, and one of several always."""
    *_, change = blocks(page(tmp_path, PAGE))
    assert isinstance(change, Change)
    expected = FILE.replace("[two]\nother", "[two]\nkey = 2\nother") + '\n[[three]]\nname = "c"\n'
    assert change.applied(FILE) == expected
    above = Change("", "set", "", "key = 9\n[one]\nkey = 8\n").applied(FILE)
    assert above == FILE.replace("key = 0", "key = 9").replace("key = 1\n#", "key = 8\n#")


def test_lines_are_deleted_where_they_stand_once() -> None:
    """Anything else is a guide that no longer fits."""
    assert Change("", "delete", "", "key = 1\n").applied(FILE) == FILE.replace("\nkey = 1\n", "\n")
    with pytest.raises(ValueError, match="not there"):
        Change("", "delete", "", "key = 7\n").applied(FILE)


def test_lines_are_typed_into_one_shell(tmp_path: Path) -> None:
    """What it prints and how it ends is told line by line; standard input is nobody's, and what is left behind is found."""
    with Shell(("bash",), tmp_path, {"PATH": "/usr/bin:/bin"}) as shell:
        assert shell.typed("printf one; cat; printf two >&2", 10) == Answer(0, "onetwo")
        assert shell.typed("(umask 077; false)", 10).status == 1
        assert shell.typed("cat > file <<'EOF'\nit's\nEOF", 10) == Answer(0, "")
        assert shell.typed("cat file", 10).last == "it's"
        for line in ("umask 077; true", "cd /", "export A=1", "set -u"):
            with pytest.raises(AssertionError, match="leaves behind"):
                shell.typed(line, 10)
        with pytest.raises(AssertionError, match="took longer"):
            shell.typed("sleep 1", 0.1)
    with (
        Shell(("bash",), tmp_path, {"PATH": "/usr/bin:/bin"}) as shell,
        pytest.raises(AssertionError, match="ended the shell"),
    ):
        shell.typed("exit 3", 10)
