"""
The import as a process of its own: reading a large CRL holds the interpreter's lock for seconds.

    python -m appliance.revocation.importer  < job.json  > report.json
"""

import asyncio
import gc
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import ApplianceError, RevocationUnavailable
from appliance.revocation import importing
from appliance.revocation.importing import Report
from appliance.trust.certificates import Anchors

_LONGEST: Final = 900.0
"""Seconds that an import may take."""


class Job(msgspec.Struct, frozen=True):
    """What is to be imported from where to where, believing which CAs (PEM)."""

    folder: str
    state: str
    anchors: bytes
    now: datetime | None = None


async def import_lists(folder: Path, state: Path, anchors: Anchors) -> Report:
    """Run the import in a process of its own, and return its report; raise RevocationUnavailable where it fails."""
    pem = b"".join(anchor.public_bytes(Encoding.PEM) for anchor in anchors.certificates)
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    job = msgspec.json.encode(Job(str(folder), str(state), pem))
    try:
        async with asyncio.timeout(_LONGEST):
            output, said = await process.communicate(job)
    except TimeoutError as error:
        raise RevocationUnavailable("the import of revocation lists did not end") from error
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
    if process.returncode != 0:
        last = said.decode(errors="replace").strip().splitlines()[-1:]
        raise RevocationUnavailable("".join(last) or "the import of revocation lists failed")
    return msgspec.json.decode(output, type=Report)


def main() -> int:
    """Do the job that standard input describes."""
    # Millions of short-lived objects, none of them in a cycle: looking for cycles would take a quarter of the time.
    gc.disable()
    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    try:
        anchors = Anchors.from_pem([job.anchors])
        report = importing.run(Path(job.folder), Path(job.state), anchors, job.now or datetime.now(UTC))
    except ApplianceError as error:
        sys.stderr.write(error.detail)
        return error.exit_status
    sys.stdout.buffer.write(msgspec.json.encode(report))
    return 0


if __name__ == "__main__":
    sys.exit(main())
