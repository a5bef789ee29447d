"""
Lay the documentation into a folder as it lies in the source: README.md, CHANGELOG.md, docs.

    python packaging/documentation.py FOLDER

Pages are not compressed and keep their places: pages, alerts and messages name each other by them (docs/errors.en.md).
What pages link outside of docs is in the package already, and is a link there.
"""

import shutil
import sys
from pathlib import Path

_SOURCE = Path(__file__).resolve().parents[1]
_HOME = Path("/opt/jpki-appliance")
LINKS = {
    "LICENSE": Path("../../common-licenses/Apache-2.0"),
    "appliance": _HOME / "lib/python3.11/site-packages/appliance",
    "hsm-config": _HOME / "share/jpki-appliance/hsm-config",
}
"""What lies in the source beside docs, by its place in the package."""


def main(folder: Path) -> None:
    """Write all of it below *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("README.md", "CHANGELOG.md"):
        shutil.copyfile(_SOURCE / name, folder / name)
    # What lies beside them in somebody's working copy (bytecode, an editor's files) stays there.
    shutil.copytree(
        _SOURCE / "docs",
        folder / "docs",
        ignore=shutil.ignore_patterns("__pycache__", ".*", "*~"),
        copy_function=shutil.copyfile,
    )
    for name, there in LINKS.items():
        (folder / name).symlink_to(there)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
