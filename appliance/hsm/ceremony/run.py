"""
The ceremony itself, on the outside of the HSM: look first, then have the keys made, then publish what came of it.

Everything is written into a hidden folder beside the output, which takes the output's name in one step at the very
end. Its first content is the plan, written by the process that makes the keys when, logged in, it has seen that the
token holds no key of the planned names, and before it makes any. So if a run is killed, whatever bears those names in
the token was made by it and never given out: the next run says what it is, and destroys it when it is told to. The
hidden folder is locked while a run, or the process it has sent, is at work.
"""

import fcntl
import os
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from appliance.config import read_bounded
from appliance.errors import CeremonyRefused, CeremonyUnfinished, ConfigInvalid, HsmKeyAmbiguous
from appliance.hsm.ceremony import folder
from appliance.hsm.ceremony import plan as plans
from appliance.hsm.ceremony.audit import audit
from appliance.hsm.ceremony.errand import Look, MakeKeys, Refused, Seen, Stated, expected, send
from appliance.hsm.ceremony.plan import Plan, Reviewed
from appliance.hsm.ceremony.transcript import KeysMade, Transcript

TRANSCRIPT = "transcript.json"
PLAN = "plan.toml"
REQUEST = "{label}.csr.pem"
PUBLIC_KEY = "{label}.pub.pem"


def look(reviewed: Reviewed) -> Seen:
    """Return what is at the token of *reviewed*, without logging in; raise what speaks against the ceremony."""
    _refuse_used(reviewed.output)
    seen = _look(reviewed)
    if seen.missing:
        raise CeremonyRefused(f"the token does not offer {', '.join(seen.missing)}")
    left_by = _unfinished(working_folder(reviewed.output))
    if left_by is not None and (left := _look(_same_place(reviewed, left_by)).taken):
        raise CeremonyUnfinished(f"an unfinished run has left {', '.join(map(str, left))}")
    if seen.taken:
        raise HsmKeyAmbiguous(f"the token holds {', '.join(map(str, seen.taken))}")
    return seen


def hold(reviewed: Reviewed, noted_sha256: str, *, discard_unfinished: bool = False) -> Transcript:
    """
    Hold the ceremony of *reviewed*, whose reviewers noted *noted_sha256*; return its transcript.

    Raises CeremonyRefused where the plan is another, the output is in use, or a run is at work; CeremonyUnfinished
    where an earlier run was killed and has left keys, unless *discard_unfinished* says to destroy those.
    """
    if not secrets.compare_digest(noted_sha256.strip().lower().encode(), reviewed.sha256.encode()):
        raise CeremonyRefused(f"the plan is not the reviewed one: its SHA-256 is {reviewed.sha256}")
    working = working_folder(reviewed.output)
    try:
        with _locked(working) as lock:
            left_by = _unfinished(working)
            try:
                discard = _to_discard(reviewed, left_by, discard_unfinished=discard_unfinished)
                _tidy(working)
                content = _make(reviewed, working, lock, discard)
            except HsmKeyAmbiguous as error:
                if left_by is None:
                    raise
                # Private keys show themselves only after the login.
                raise CeremonyUnfinished(error.detail) from error
            finally:
                if left_by is None and not any(working.iterdir()):
                    working.rmdir()
            # What will be verified later is verified before anybody relies on it.
            transcript = audit(content)
            _publish(reviewed.output, working, _files(transcript, content))
    except OSError as error:
        raise CeremonyRefused(f"{error.filename} cannot be written: {error.strerror}") from error
    return transcript


def working_folder(output: Path) -> Path:
    """Return where a run keeps what it has not published."""
    return output.with_name(f".{output.name}.unfinished")


def _make(reviewed: Reviewed, working: Path, lock: int, discard: bytes | None) -> bytes:
    """Have the keys made and return the transcript."""
    make = MakeKeys(
        plan=reviewed.content, folder=str(reviewed.folder), claim=str(working / PLAN), discard=discard
    )
    fresh = not (working / PLAN).exists()
    answer = send(make, reviewed, hold=[lock])
    if isinstance(answer, Refused) and answer.left == () and fresh:
        # Nothing was made, or it was taken away again, and the process says so.
        (working / PLAN).unlink(missing_ok=True)
    return expected(answer, Stated).transcript


def _publish(output: Path, working: Path, files: Mapping[str, bytes]) -> None:
    """Write *files* and give the folder its name, or raise CeremonyUnfinished: the keys are in the token by now."""
    try:
        for name, content in files.items():
            folder.write(working / name, content)
        working.rename(output)
        folder.sync(output.parent)
    except OSError as error:
        raise CeremonyUnfinished(
            f"the keys are made, and {error.filename} cannot be written: {error.strerror}"
        ) from error


def _to_discard(reviewed: Reviewed, left_by: bytes | None, *, discard_unfinished: bool) -> bytes | None:
    """Return the plan whose keys are to be destroyed first, if any; raise what speaks against the ceremony."""
    try:
        look(reviewed)
    except CeremonyUnfinished:
        if not discard_unfinished:
            raise
    return left_by if discard_unfinished else None


def _tidy(working: Path) -> None:
    """Remove what a killed run has written, but for the plan."""
    for path in working.iterdir():
        if path.name != PLAN:
            path.unlink()


def _look(reviewed: Reviewed) -> Seen:
    return expected(send(Look(plan=reviewed.content, folder=str(reviewed.folder)), reviewed), Seen)


def _same_place(reviewed: Reviewed, left_by: bytes) -> Reviewed:
    """Return the plan of the unfinished run; it must have been for the token that the present one is for."""
    left = Reviewed(plans.parse(left_by), left_by, reviewed.folder)
    if left.plan.token != reviewed.plan.token:
        raise CeremonyUnfinished(
            f"an unfinished run, of the plan with SHA-256 {left.sha256}, was at another token: finish it first"
        )
    return left


def _unfinished(working: Path) -> bytes | None:
    """Return the plan that a killed run had begun to carry out, or None."""
    try:
        return read_bounded(working / PLAN)
    except ConfigInvalid:
        return None


def _refuse_used(output: Path) -> None:
    if output.exists() or output.is_symlink():
        raise CeremonyRefused(f"{output} is there already: a ceremony makes its own folder")


def _files(transcript: Transcript, content: bytes) -> Mapping[str, bytes]:
    """Return what is published, all of which is public."""
    statement = transcript.statement
    if not isinstance(statement, KeysMade):
        raise TypeError(type(statement))
    files = {PUBLIC_KEY.format(label=key.label): key.public_key.encode() for key in statement.keys}
    planned: Plan = plans.parse(statement.plan.encode())
    for key in planned.keys:
        if key.request is not None and statement.request is not None:
            files[REQUEST.format(label=key.label)] = statement.request.encode()
    return {**files, TRANSCRIPT: content}


@contextmanager
def _locked(working: Path) -> Iterator[int]:
    """Make the folder *working* if need be, and give the descriptor that holds its lock."""
    working.parent.mkdir(parents=True, exist_ok=True)
    working.mkdir(exist_ok=True)
    lock = os.open(working, os.O_RDONLY | os.O_DIRECTORY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise CeremonyRefused(f"{working} is in use: another run, or its process, is at work") from error
        yield lock
    finally:
        os.close(lock)
