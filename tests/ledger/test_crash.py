"""
The crash matrix: kill -9 at every point where the process touches store or HSM, on both stores, then a restart.

Nothing that was acknowledged is lost, everything the HSM was asked to sign has its `reserved`, no checkpoint that
anybody saw is contradicted, and nothing stays open. Where the point is about the HSM, it is a worker on a SoftHSM
token, and its module is held at the very point: with the challenge in hand, or having signed it.
"""

import asyncio
import shutil
import sys
from pathlib import Path

import pytest

from appliance.hsm import softhsm
from appliance.ledger import audit, checkpoint
from appliance.ledger.entries import Reserved, decode
from appliance.ledger.fault import POINTS
from appliance.ledger.log import Log
from appliance.ledger.store import stored_entries
from tests.hsm.conftest import copied, provisioned, shim
from tests.ledger.crashing import HSM, SHIM, keeper_of, noted, signing, store_at
from tests.shim.rules import Function, Rules

__all__ = ["provisioned", "shim"]

STORES = ("sqlite", "postgres")
ONCE = {point for point in POINTS if point.startswith("store.")}
AT_THE_HSM = {"checkpoint.signing", "checkpoint.signed", *(p for p in POINTS if p.startswith("hsm."))}
NOT_THERE = {("postgres", "append.inserted")}
"""PostgreSQL gets one statement that inserts and commits."""
MATRIX = [
    (store, point, nth)
    for store in STORES
    for point in POINTS
    for nth in ((1,) if point in ONCE else (1, 3))
    if (store, point) not in NOT_THERE
]
BEFORE_THE_ANSWER = {"hsm.signing", "hsm.signed"}
PAGE = Path(__file__).parents[2] / "docs" / "ledger.md"


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Return where the store is that a parameter names."""
    if request.param == "sqlite":
        return str(tmp_path / "ledger.sqlite3")
    conninfo: str = request.getfixturevalue("postgres_server").database()
    return conninfo


@pytest.mark.parametrize(("place", "point", "nth"), MATRIX, indirect=["place"])
async def test_killed_at_every_point(
    place: str, point: str, nth: int, tmp_path: Path, provisioned: Path, shim: Path
) -> None:
    """Whatever the process was doing, what the world has seen of it is in the log after a restart."""
    if point in AT_THE_HSM:
        copied(provisioned, tmp_path / HSM)
        shutil.copy(shim, tmp_path / SHIM)
    program = (sys.executable, "-m", "tests.ledger.crashing", place, point, str(nth), str(tmp_path))
    # Into a file: a pipe would wait for the worker, whose module may be held.
    said = tmp_path / "said"
    with Rules(tmp_path / "rules", str(softhsm.MODULE)) as rules, said.open("wb") as stderr:
        died = await asyncio.create_subprocess_exec(*program, stderr=stderr)
        try:
            status = await asyncio.wait_for(died.wait(), 60)
        finally:
            rules.lift(Function.SIGN)
    assert status == -9, said.read_text()
    asked, signed = noted(tmp_path / "asked"), noted(tmp_path / "signed")
    assert signed <= asked
    if point in BEFORE_THE_ANSWER:
        assert signed < asked
    async with signing(tmp_path) as (signer, key), Log(store_at(place), seconds=20) as log:
        keeper = keeper_of(log, tmp_path, signer, key)
        await keeper.start()
        await keeper.checkpoint()
    saved = tmp_path / "copies" / "checkpoint"
    with store_at(place).reading() as reader:
        report = audit.verify(reader, key, saved=checkpoint.verified(saved.read_bytes(), key), contents=True)
        kept = {index: decode(content) for index, content in stored_entries(reader, 0, report.size)}
    assert report.unfinished == 0
    assert report.covered == report.size
    assert noted(tmp_path / "acknowledged") <= set(kept)
    assert asked <= {index for index, entry in kept.items() if isinstance(entry, Reserved)}


def test_the_matrix_in_the_documentation_is_the_one_tested() -> None:
    """`docs/ledger.md` shows every point, and for which stores it was tried."""
    rows = [
        f"| `{point}` | "
        + " | ".join("-" if (store, point) in NOT_THERE else "consistent" for store in STORES)
        + " |"
        for point in POINTS
    ]
    assert "\n".join(rows) in PAGE.read_text()
