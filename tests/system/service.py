"""Steps: the service is started by its socket, authenticates, is confined, and is watched over."""

from tests.system.installation import require
from tests.system.machine import HOME
from tests.system.report import Report, Row
from tests.system.site import (
    CONFIGURATION,
    OUTSIDER,
    SERVICE,
    STATE,
    STRANGER,
    TERMINAL,
    TERMINAL_SERVICE,
    Site,
)

READY = "curl -sf --max-time 5 --unix-socket /run/jpki-appliance/appliance.sock http://localhost/readyz"
_WATCHDOG_SECONDS = 9


def set_up(report: Report, site: Site) -> None:
    """Keys, certificates, cards."""
    with report.step(
        "setting up",
        "make keys as the service's user, encrypt the PIN, typed and not shown, and the pseudonym key",
    ) as row:
        site.make_keys()
        row.seen = site.machine.shell("ls -1 /etc/credstore.encrypted | paste -sd' '").last
    with report.step(
        "setting up", "test hierarchy, lists of revoked certificates, configuration, peers"
    ) as row:
        site.configure()
        row.seen = "from the packaged /etc/jpki-appliance/appliance.toml"
    with report.step("setting up", "cards on two readers of the system's own pcscd") as row:
        site.put_cards()
        row.seen = "35963 and 35964"


def start(report: Report, site: Site) -> None:
    """The socket is there, the service comes with the first caller."""
    inside = site.machine
    with report.step("socket", "the first caller starts the service") as row:
        inside.run("systemctl", "enable", "--now", "jpki-appliance.socket")
        require(inside.shown(SERVICE, "ActiveState") == "inactive", "it ran before")
        answer = site.ask("/healthz")
        require(answer.status == 200, f"{answer.text}\n{site.journal()}")
        inside.wait("ready", READY)
        row.seen = f"{answer.status} {answer.text}; {inside.shown(SERVICE, 'StatusText')}"
    with report.step("socket", "mode and group keep other accounts out") as row:
        mode = inside.shell("stat --format='%A %U:%G' /run/jpki-appliance/appliance.sock").last
        refused = site.ask("/healthz", user=OUTSIDER)
        require(mode.startswith("srw-rw---- ") and mode.endswith(":jpki-clients"), mode)
        require(refused.status == 0, refused.text)
        row.seen = f"{mode}; {refused.text.splitlines()[0]}"
    with report.step("socket", "an account of the group that the configuration does not know") as row:
        answer = site.ask("/v1/status", user=STRANGER)
        require(answer.status == 403, answer.text)
        row.seen = f"403 {answer.body['code']}"
    with report.step("authentication", "PIN-less, asked for by an unprivileged user") as row:
        row.seen = site.require_authenticated()
    with report.step("authentication", "the ledger has it, and verifies") as row:
        row.seen = f"{site.ledger_size()} entries"


def hide(report: Report, site: Site) -> None:
    """Secrets are where they belong and nowhere else."""
    inside = site.machine
    with report.step(
        "credentials", "no other account reads them; the PIN stands in no environment, argument, log"
    ) as row:
        pin = inside.run("cat", f"{HOME}/kept/user.pin").out.strip()
        refused = inside.shell(f"cat /run/credentials/{SERVICE}/hsm-pin", user=OUTSIDER, check=False)
        require(refused.status, "an outsider reads the PIN")
        places = inside.shell(
            "for p in $(pgrep --uid jpki-appliance); do cat /proc/$p/environ /proc/$p/cmdline; done | tr '\\0' '\\n';"
            f" journalctl --output=export --no-pager; systemctl show {SERVICE}; cat {CONFIGURATION}"
        ).out
        require(pin not in places, "the PIN is to be seen")
        row.seen = f"{refused.last}; looked through {len(places)} characters"


def watch(report: Report, site: Site) -> None:
    """The watchdog, with a shorter time."""
    inside = site.machine
    site.drop_in("watchdog", f"[Service]\nWatchdogSec={_WATCHDOG_SECONDS}\nTimeoutAbortSec=5\nRestartSec=1\n")
    with report.step("watchdog", "fed: several times its time pass") as row:
        inside.run("systemctl", "restart", SERVICE)
        pid = site.main_pid
        inside.shell(f"sleep {2.5 * _WATCHDOG_SECONDS}")
        require(site.main_pid == pid, site.journal())
        row.seen = f"process {pid} all the time, restarts {inside.shown(SERVICE, 'NRestarts')}"
    with report.step("watchdog", "bites: the process hangs") as row:
        inside.run("kill", "-STOP", pid)
        inside.wait(
            "started again", f"test $(systemctl show --value -p MainPID {SERVICE}) != {pid} && {READY}", 90
        )
        lines = inside.run("journalctl", "--unit", SERVICE, "--lines=40", "--output=cat").out.splitlines()
        row.seen = next(line for line in lines if "atchdog" in line)
    with report.step("watchdog", "authenticates again after the bite") as row:
        row.seen = site.require_authenticated()
    site.no_drop_in("watchdog")
    inside.run("systemctl", "restart", SERVICE)


def lose_hsm(report: Report, site: Site) -> None:
    """The HSM goes and comes back, and the daemon stays."""
    inside = site.machine
    with report.step("HSM", "its workers are killed: the next authentication succeeds") as row:
        pid = site.main_pid
        inside.shell(f"pkill --signal KILL --parent {pid} --full appliance.hsm.worker")
        row.seen = site.require_authenticated()
        _require_same(site, pid, row)
    with report.step("HSM", "it is away: refused with a code, not ready, the daemon stays") as row:
        inside.shell(f"mv {STATE}/softhsm/tokens {STATE}/softhsm/away")
        code = site.refusal()
        require(code and code.startswith("hsm_"), code)
        inside.wait("not ready", f"! {READY}")
        ready = site.ask("/readyz")
        require(ready.status == 503, ready.text)
        row.seen = f"{code}; readyz {ready.status} {ready.text}"
        _require_same(site, pid, row)
    with report.step("HSM", "it is back: ready and authenticating without a restart") as row:
        inside.shell(f"mv {STATE}/softhsm/away {STATE}/softhsm/tokens")
        inside.wait("ready", READY, 120)
        row.seen = site.require_authenticated()
        _require_same(site, pid, row)


def _require_same(site: Site, pid: str, row: Row) -> None:
    require(site.main_pid == pid, f"process {pid} is gone\n{site.journal()}")
    row.seen += f"; same process {pid}"


def refuse_pin(report: Report, site: Site) -> None:
    """A wrong PIN: once, status 78, and nobody tries again."""
    inside = site.machine
    encrypt = "systemd-creds encrypt --name=hsm-pin - /etc/credstore.encrypted/jpki-appliance.hsm-pin"
    with report.step("wrong PIN", "ends with 78 and is not started again") as row:
        inside.run("systemctl", "stop", "jpki-appliance.socket", SERVICE)
        inside.shell(f"printf 000000000000 | {encrypt}")
        inside.run("systemctl", "start", SERVICE, check=False)
        inside.wait("ended", f"systemctl is-failed {SERVICE}", 60)
        inside.shell("sleep 8")
        status = (
            inside.shown(SERVICE, "ExecMainStatus"),
            inside.shown(SERVICE, "NRestarts"),
            inside.shown(SERVICE, "ActiveState"),
        )
        row.seen = f"status {status[0]}, restarts {status[1]}, {status[2]}"
        require(status == ("78", "0", "failed"), f"{row.seen}\n{site.journal()}")
    with report.step("wrong PIN", "started by hand it ends again, now without asking the token") as row:
        inside.run("systemctl", "reset-failed", SERVICE)
        inside.run("systemctl", "start", SERVICE, check=False)
        inside.wait("ended", f"systemctl is-failed {SERVICE}", 60)
        marker = inside.shell(f"ls {STATE}/hsm").out.split()
        row.seen = f"status {inside.shown(SERVICE, 'ExecMainStatus')}; {' '.join(marker)}"
        require(inside.shown(SERVICE, "ExecMainStatus") == "78" and marker, f"{row.seen}\n{site.journal()}")
    with report.step(
        "wrong PIN", "the right PIN, one login with another tool, unlock-marker: it serves"
    ) as row:
        inside.shell(f"tr -d '\\n' < {HOME}/kept/user.pin | {encrypt}")
        site.log_in_once()
        said = site.command("hsm", "unlock-marker", "--config", CONFIGURATION, "--yes")
        require(not said.status, said.out)
        inside.run("systemctl", "reset-failed", SERVICE)
        inside.run("systemctl", "start", "jpki-appliance.socket", SERVICE)
        inside.wait("ready", READY)
        row.seen = site.require_authenticated()


def renew(report: Report, site: Site) -> None:
    """Reload and restart, with a terminal connected and callers asking."""
    inside = site.machine
    with report.step(
        "terminal", "jpki-terminal.service brings the second reader; a card there authenticates"
    ) as row:
        site.edit("/etc/jpki-appliance/terminal.toml", "Virtual PCD 00 00", "Virtual PCD 00 01")
        site.drop_in("local", site.packaged_drop_in("local-terminal"), TERMINAL_SERVICE)
        inside.run("systemctl", "enable", "--now", TERMINAL_SERVICE)
        inside.wait(
            "a terminal",
            "curl -s --max-time 5 --unix-socket /run/jpki-appliance/appliance.sock http://localhost/v1/terminals | grep -q ward-3.desk-1",
            30,
        )
        row.seen = site.require_authenticated(TERMINAL)
    with report.step(
        "reload", "a changed configuration is taken; no process, terminal or socket is lost"
    ) as row:
        pid = site.main_pid
        site.edit(CONFIGURATION, "lifetime_seconds = 300", "lifetime_seconds = 120")
        site.reload()
        told = site.authenticate(TERMINAL)
        claims = (told.body or {}).get("claims") or {}
        lifetime = claims.get("exp", 0) - claims.get("iat", 0)
        require(lifetime == 120, f"{lifetime}: {told.text[:500]}\n{site.journal()}")
        row.seen = f"lifetime now {lifetime} s, by the terminal's card"
        _require_same(site, pid, row)
    with report.step("restart", "callers wait and none is refused; the terminal comes back by itself") as row:
        inside.shell(
            "(for i in $(seq 60); do curl -s -o /dev/null -w '%{http_code} %{errormsg}\\n' --max-time 60 --unix-socket"
            f" /run/jpki-appliance/appliance.sock http://localhost/healthz || :; sleep 0.1; done) > {HOME}/asked &"
            f" systemctl restart {SERVICE}; wait"
        )
        answers = inside.outside(f"{HOME}/asked").read_text().splitlines()
        require(len(answers) == 60 and {one.strip() for one in answers} == {"200"}, answers)
        inside.wait(
            "a terminal",
            "curl -s --max-time 5 --unix-socket /run/jpki-appliance/appliance.sock http://localhost/v1/terminals | grep -q ward-3.desk-1",
            90,
        )
        row.seen = f"{len(answers)} answers, all 200; then {site.require_authenticated('ward-3.desk-1')}"


def measure(report: Report, site: Site) -> str:
    """Return what Prometheus would get."""
    with report.step("metrics", "on a listener of their own, on this machine alone") as row:
        scraped = site.machine.run("curl", "--silent", "--fail", "http://127.0.0.1:9464/metrics").out
        names = {line.split()[2] for line in scraped.splitlines() if line.startswith("# TYPE jpki_")}
        listening = site.machine.shell("ss -Hltn 'sport = :9464'").out.split()
        row.seen = f"{len(names)} names, listening at {listening[3]}"
        require(len(names) > 20 and listening[3] == "127.0.0.1:9464", row.seen)
        return scraped
    return ""
