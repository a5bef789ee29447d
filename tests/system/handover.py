"""Steps: reception software that only writes and reads files, through the hand-over's unit."""

import json
from typing import Any

from tests.system.installation import require
from tests.system.report import Report
from tests.system.site import CLERK, HANDOVER, OUTSIDER, SERVICE, Site

_FOLDER = "/var/lib/jpki-handover"
_REQUESTS, _RESULTS = f"{_FOLDER}/requests", f"{_FOLDER}/results"
_SETTINGS = "/etc/jpki-appliance/handover.toml"
_REQUEST = {
    "version": 1,
    "desk": "desk-1",
    "mode": "pinless",
    "identity_check": {"method": "face", "device": "kiosk-1"},
    "echo": {"chart": "0042"},
}


def hand_over(report: Report, site: Site) -> None:
    """A request is laid down, a result is taken away."""
    inside = site.machine
    with report.step("hand-over", "its unit starts with the packaged configuration, as its own user") as row:
        inside.run("systemctl", "enable", "--now", HANDOVER)
        _wait_ready(site)
        row.seen = (
            f"user {inside.shown(HANDOVER, 'User')}, {inside.shell(f'stat --format=%A {_REQUESTS}').last}"
        )
    with report.step("hand-over", "an account of its group lays a request down, and takes the result") as row:
        result = _carried_out(site, "visit-1")
        require(result["outcome"] == "authenticated" and result["echo"] == _REQUEST["echo"], result)
        row.seen = f"{result['outcome']}, log {result['claims']['log']['index']}; {_taken_away(site)}"
    with report.step("hand-over", "another account sees no request, no result, and lays nothing down") as row:
        tried = [
            inside.shell(script, user=OUTSIDER, check=False)
            for script in (f"ls {_RESULTS}", f"ls {_REQUESTS}", f"echo > {_REQUESTS}/x.json")
        ]
        require(all(one.status for one in tried), tried)
        row.seen = "; ".join(one.last for one in tried)
    with report.step(
        "hand-over", "killed while a request lies there: started again, it is carried out"
    ) as row:
        pid = inside.shown(HANDOVER, "MainPID")
        inside.run("kill", "-KILL", pid)
        result = _carried_out(site, "visit-2")
        require(result["outcome"] == "authenticated", result)
        _taken_away(site)
        row.seen = f"{result['outcome']}; process {pid}, then {inside.shown(HANDOVER, 'MainPID')}"
    with report.step("hand-over", "the appliance does not run: the request starts it at its socket") as row:
        inside.run("systemctl", "stop", SERVICE)
        result = _carried_out(site, "visit-3")
        require(result["outcome"] == "authenticated", result)
        _taken_away(site)
        row.seen = f"{result['outcome']}, appliance {inside.shown(SERVICE, 'ActiveState')}"
    with report.step("hand-over", "a configuration that cannot be: status 78, not started again") as row:
        site.edit(_SETTINGS, r"\[folders\]", "[folder]")
        inside.run("systemctl", "restart", HANDOVER, check=False)
        inside.wait("ended", f"systemctl is-failed {HANDOVER}")
        status = inside.shown(HANDOVER, "ExecMainStatus"), inside.shown(HANDOVER, "NRestarts")
        site.edit(_SETTINGS, r"\[folder\]", "[folders]")
        require(status == ("78", "0"), f"{status}\n{site.journal(HANDOVER)}")
        inside.run("systemctl", "restart", HANDOVER)
        _wait_ready(site)
        row.seen = f"status {status[0]}, restarts {status[1]}; serves again with the right one"


def _wait_ready(site: Site) -> None:
    pid = site.machine.shown(HANDOVER, "MainPID")
    site.machine.wait(
        "the hand-over is ready",
        f"journalctl --unit {HANDOVER} --output=cat _PID={pid} | grep -q 'hand-over ready'",
    )


def _carried_out(site: Site, name: str) -> dict[str, Any]:
    """Lay a request down as reception software does, and return its result."""
    inside = site.machine
    text = json.dumps(_REQUEST)
    inside.run(
        *(
            "sh",
            "-euc",
            f"cat > {_REQUESTS}/.{name}.json; mv {_REQUESTS}/.{name}.json {_REQUESTS}/{name}.json",
        ),
        user=CLERK,
        entering=text,
    )
    inside.wait(f"a result of {name}", f"test -e {_RESULTS}/{name}.json", 120)
    result: dict[str, Any] = json.loads(inside.run("cat", f"{_RESULTS}/{name}.json", user=CLERK).out)
    return result


def _taken_away(site: Site) -> str:
    """Take all results away, and return what is left."""
    site.machine.shell(f"rm {_RESULTS}/*.json", user=CLERK)
    left = site.machine.shell(f"ls -A {_REQUESTS} {_RESULTS} | grep json || echo nothing left").last
    require(left == "nothing left", left)
    return left
