"""The documentation in the package: every page, where other pages, alerts and messages say that it is."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "packaging" / "documentation.py"
BUILD = ROOT / "packaging" / "build-deb.sh"
HERE = {
    "../../common-licenses/Apache-2.0": ROOT / "LICENSE",
    "/opt/jpki-appliance/lib/python3.11/site-packages/appliance": ROOT / "appliance",
    "/opt/jpki-appliance/share/jpki-appliance/hsm-config": ROOT / "hsm-config",
}
"""What the package has in these places is made of this."""
_LINK = re.compile(r"\]\(([^)#\s]+)[^)]*\)")


@pytest.fixture(scope="module")
def documentation(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the package's documentation, its links leading to what the package is made of."""
    folder = tmp_path_factory.mktemp("doc")
    subprocess.run((sys.executable, str(PROGRAM), str(folder)), check=True)
    links = [path for path in folder.iterdir() if path.is_symlink()]
    assert {str(path.readlink()) for path in links} == set(HERE)
    for path in links:
        there = HERE[str(path.readlink())]
        path.unlink()
        path.symlink_to(there)
    return folder


def test_every_link_leads_somewhere(documentation: Path) -> None:
    """Whoever has the package alone reads every page from any other, with its pictures."""
    dead = [
        f"{page.relative_to(documentation)}: {link}"
        for page in sorted(documentation.rglob("*.md"))
        for link in _LINK.findall(page.read_text("utf-8"))
        if "://" not in link and not (page.parent / link).exists()
    ]
    assert not dead


def test_what_alerts_name_is_there(documentation: Path) -> None:
    """An alert's runbook is a path from the documentation's folder."""
    rules = yaml.safe_load((ROOT / "monitoring" / "rules" / "alerts.yaml").read_text("utf-8"))
    for group in rules["groups"]:
        for rule in group["rules"]:
            for name in ("runbook", "runbook_ja"):
                assert (documentation / rule["annotations"][name].partition("#")[0]).is_file()


@pytest.mark.parametrize("name", ["verify_checkpoint.py", "evidence.schema.json", "ledger-entry.schema.json"])
def test_what_others_verify_with_is_there(documentation: Path, name: str) -> None:
    """Proofs and evidence outlive the product: what they are checked with is beside the pages that say so."""
    assert (documentation / "docs" / name).read_bytes() == (ROOT / "docs" / name).read_bytes()


def test_the_build_compresses_no_page() -> None:
    """A compressed page has another name than its links say; what nothing links may be compressed."""
    compressed = [
        line
        for line in BUILD.read_text("utf-8").splitlines()
        if line.startswith(("find", "gzip")) and "gzip" in line
    ]
    assert compressed == [
        'gzip --best --no-name "$doc/changelog" "$doc/sbom.cdx.json"',
        'find "$root/usr/share/man" -type f -exec gzip --best --no-name {} +',
    ]


@pytest.mark.parametrize(
    "page", ["docs/guide.en.md", "docs/guide.ja.md", "packaging/man/jpki-appliance.service.8"]
)
def test_the_folder_is_named(page: str) -> None:
    """Where the documentation is on an installed machine is said where one begins to read."""
    assert "/usr/share/doc/jpki-appliance" in (ROOT / page).read_text("utf-8").replace("\\", "")


def test_nothing_of_a_working_copy_comes_along(tmp_path: Path) -> None:
    """Bytecode of an example that somebody ran would make each build another one."""
    source = tmp_path / "source"
    for name in ("packaging", "docs/examples"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source / name)
    left = source / "docs" / "examples" / "__pycache__" / "authenticate.cpython-311.pyc"
    left.parent.mkdir()
    left.write_bytes(b"")
    subprocess.run(
        (sys.executable, str(source / "packaging" / PROGRAM.name), str(tmp_path / "doc")), check=True
    )
    assert {path.name for path in (tmp_path / "doc/docs/examples").iterdir()} == {
        path.name for path in (ROOT / "docs/examples").glob("*.py")
    }
