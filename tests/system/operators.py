"""Steps: whoever looks after the appliance asks how it is, and sends what a supporter needs to see."""

import base64
import json
import tarfile
from collections.abc import Iterator

from tests.system.installation import require
from tests.system.machine import HOME
from tests.system.report import Report
from tests.system.site import CARETAKER, OUTSIDER, PROGRAM, RECEPTION, STRANGER, Site

_PSEUDONYM_KEY = "/etc/credstore.encrypted/jpki-appliance.pseudonym-key"


def look_after(report: Report, site: Site) -> None:
    """Status, doctor, support bundle: each by the accounts that it is for, and by others."""
    inside = site.machine
    with report.step("status", "an account that a peer of the role operator names is told") as row:
        said = inside.run(PROGRAM, "status", "--language", "en", user=CARETAKER)
        row.seen = said.out.splitlines()[0]
    with report.step("status", "other accounts are not told, each with its code") as row:
        refused = {
            user: inside.run(PROGRAM, "status", user=user, check=False)
            for user in (RECEPTION, STRANGER, OUTSIDER)
        }
        require(all(one.status for one in refused.values()), refused)
        row.seen = "; ".join(f"{user}: {one.last}" for user, one in refused.items())
    for user in (PROGRAM, None):
        with report.step("doctor", f"as {user or 'root'}: nothing has failed") as row:
            row.seen = _examined(site, user)
    with report.step("support-bundle", "as root: complete, and without what was planted or is secret") as row:
        row.seen = _bundled(site)


def _examined(site: Site, user: str | None) -> str:
    """Return what `doctor` finds, by verdict; raise AssertionError where something has failed."""
    said = site.machine.run(PROGRAM, "doctor", "--json", user=user, check=False)
    found = json.loads(said.out)
    failed = [one for one in found["checks"] if one["verdict"] == "failed"]
    require(not failed and said.status == 0, failed)
    verdicts = [one["verdict"] for one in found["checks"]]
    worse = [f"{one['check']}: {one['detail']}" for one in found["checks"] if one["verdict"] == "warning"]
    return f"{verdicts.count('ok')} ok, {len(worse)} warnings: {'; '.join(worse) or 'none'}"


def _bundled(site: Site) -> str:
    """Make a bundle and look for what it must not hold; return what it does hold."""
    inside = site.machine
    inside.run(PROGRAM, "support-bundle", "--output", f"{HOME}/bundle.tar.gz")
    file = inside.outside(f"{HOME}/bundle.tar.gz")
    require(file.stat().st_mode & 0o777 == 0o600, oct(file.stat().st_mode))
    with tarfile.open(file) as archive:
        parts = {
            one.name.rsplit("/", 1)[-1]: content.read()
            for one in archive.getmembers()
            if (content := archive.extractfile(one)) is not None
        }
    contents = json.loads(parts["contents.json"])
    require(not contents["missing"], contents["missing"])
    everything = b"\n".join(parts.values())
    for what, secret in _secrets(site):
        require(secret.lower() not in everything.lower(), f"it holds {what}")
    return f"{len(parts)} parts, {len(everything)} bytes, nothing missing: {' '.join(sorted(parts))}"


def _secrets(site: Site) -> Iterator[tuple[str, bytes]]:
    """Yield what must stay on the machine, in the forms it could be written in."""
    inside = site.machine
    yield "the PIN", inside.outside(f"{HOME}/kept/user.pin").read_bytes().strip()
    yield "the security officer's PIN", inside.outside(f"{HOME}/kept/so.pin").read_bytes().strip()
    key = inside.run(
        "systemd-creds", "decrypt", "--transcode=hex", "--name=pseudonym-key", _PSEUDONYM_KEY, "-"
    ).out.strip()
    raw = bytes.fromhex(key)
    for form in (
        raw,
        key.encode(),
        base64.b64encode(raw).rstrip(b"="),
        base64.urlsafe_b64encode(raw).rstrip(b"="),
    ):
        yield "the pseudonym key", form
    subject = (site.authenticate().body or {})["claims"]["sub"]
    yield "a holder's pseudonym", subject.encode()
    for account in (RECEPTION, CARETAKER, STRANGER, OUTSIDER):
        yield f"the account {account}", f'"{account}"'.encode()
    yield "the machine's name", inside.run("hostname").out.strip().encode()
