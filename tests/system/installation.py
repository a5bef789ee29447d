"""Steps: the package comes, is replaced by a newer one, and goes."""

import shutil
from pathlib import Path

from tests.system.machine import HOME
from tests.system.report import Report
from tests.system.site import CONFIGURATION, HANDOVER, PROGRAM, SERVICE, SOCKET, STATE, TERMINAL_SERVICE, Site

_UNITS = (SERVICE, "jpki-appliance.socket", TERMINAL_SERVICE, HANDOVER)
_LISTED = "find / -xdev ! -path '/srv/*' ! -path '/var/log/*' ! -path '/var/cache/*' ! -path '/proc/*' | sort"
_KEPT = {"/etc/credstore.encrypted", "/var/lib/dpkg/info/format"}
"""What a purge may leave: a folder of systemd's, which holds other services' secrets as well."""


def bring(site: Site, package: Path) -> str:
    """Copy *package* into the machine; return its path there."""
    shutil.copy(package, site.machine.outside(f"{HOME}/{package.name}"))
    return f"{HOME}/{package.name}"


def install(report: Report, site: Site, package: Path) -> None:
    """The package on a Debian that has never seen it."""
    inside = site.machine
    before = set(inside.shell(_LISTED).out.splitlines())
    with report.step("package", "install it") as row:
        inside.run("dpkg", "--install", bring(site, package))
        row.seen = inside.run(PROGRAM, "--version").last
    with report.step("package", "every file is as it was packed (dpkg --verify)") as row:
        said = inside.run("dpkg", "--verify", PROGRAM)
        require(not said.out, said.out)
        row.seen = "no difference"
    with report.step(
        "package", "the configuration is the site's: copied, and nothing of it in dpkg's hands"
    ) as row:
        inside.shell(f"diff --recursive /usr/share/jpki-appliance/configuration {Path(CONFIGURATION).parent}")
        require(not conffiles(site), conffiles(site))
        row.seen = inside.shell(f"ls {Path(CONFIGURATION).parent} | paste -sd' '").last
    with report.step("package", "it brings users and a group, and starts nothing") as row:
        enabled = inside.run("systemctl", "is-enabled", *_UNITS, check=False).out.split()
        require(enabled == ["disabled"] * len(_UNITS), enabled)
        inside.shell("getent passwd jpki-appliance jpki-terminal jpki-handover && getent group jpki-clients")
        row.seen = inside.shell(
            f"stat --format='%n %A %U' {STATE} /run/jpki-appliance /var/lib/jpki-handover"
        ).out
    with report.step("package", "systemd has nothing to say to the units (systemd-analyze verify)") as row:
        said = inside.run("systemd-analyze", "verify", "--man=no", *_UNITS)
        require(not said.out, said.out)
        row.seen = "no output"
    with report.step("package", "systemd reads its users and folders (systemd-analyze cat-config)") as row:
        for kind in ("sysusers.d", "tmpfiles.d"):
            said = inside.run("systemd-analyze", "cat-config", f"{kind}/jpki-appliance.conf")
            require(f"/usr/lib/{kind}/jpki-appliance.conf" in said.out, said.out)
        row.seen = "/usr/lib/sysusers.d/jpki-appliance.conf, /usr/lib/tmpfiles.d/jpki-appliance.conf"
    with report.step("package", "the demonstration, as nobody, from the installed package") as row:
        said = inside.run(PROGRAM, "demo", "--json", user="nobody")
        row.seen = f"status {said.status}, {len(said.out)} characters"
    with report.step("package", "purged before it was used: nothing of it is left but accounts") as row:
        inside.run("dpkg", "--purge", PROGRAM)
        left = set(inside.shell(_LISTED).out.splitlines()) - before - _KEPT
        left -= {one for one in left if one.startswith(("/tmp/", "/run/", "/var/lib/systemd/"))}  # noqa: S108
        require(not left, " ".join(sorted(left)))
        accounts = inside.shell("getent passwd | grep ^jpki | cut -d: -f1 | paste -sd' '").last
        row.seen = f"{len(before)} files before it, none more after it; accounts: {accounts}"


def begin(report: Report, site: Site, package: Path) -> None:
    """An earlier package, with which the appliance is set up."""
    with report.step("package", "the earlier package, with which all begins") as row:
        site.machine.run("dpkg", "--install", bring(site, package))
        row.seen = f"{site.version}, {package.name}; conffiles: {len(conffiles(site))}"


def conffiles(site: Site) -> list[str]:
    """Return the configuration files that dpkg takes for its own, or once took for it (obsolete)."""
    told = site.machine.run("dpkg-query", "-Wf", "${Conffiles}", PROGRAM).out
    return [line for line in told.splitlines() if line.strip()]


def compare_sandboxes(report: Report, site: Site) -> None:
    """The units' exposure beside that of others on the same machine."""
    with report.step("sandbox", "exposure by systemd-analyze security, beside others'") as row:
        ours = (SERVICE, TERMINAL_SERVICE, HANDOVER)
        figures = {}
        for unit in (*ours, "pcscd.service", "polkit.service", "dbus.service", "systemd-logind.service"):
            said = site.machine.run("systemd-analyze", "security", "--no-pager", unit, check=False)
            figures[unit] = float(said.last.split(": ")[-1].split()[0])
        row.seen = ", ".join(f"{unit} {figure}" for unit, figure in figures.items())
        require(all(figures[unit] <= 1.5 for unit in ours), figures)


def upgrade(report: Report, site: Site, package: Path) -> None:
    """A newer package over the one that runs."""
    inside = site.machine
    with report.step(
        "upgrade", "a newer package over the running one: same ledger, same configuration, and no question"
    ) as row:
        before, version = site.ledger_size(), site.version
        configuration, pid = inside.run("sha256sum", CONFIGURATION).out, site.main_pid
        # Site and example have changed since, and nobody is there to be asked.
        inside.run("dpkg", "--install", bring(site, package))
        require(all(one.endswith(" obsolete") for one in conffiles(site)), conffiles(site))
        inside.wait(
            "serving again", f"curl -sf --max-time 5 --unix-socket {SOCKET} http://localhost/readyz", 90
        )
        require(site.main_pid != pid, "the service was not started again")
        require(inside.run("sha256sum", CONFIGURATION).out == configuration, "the configuration was changed")
        after = site.ledger_size()
        require(after == before, f"{before} entries before, {after} after")
        row.seen = f"{version} to {site.version}, {after} entries"
    site.extend()
    inside.wait("ready", f"curl -sf --max-time 5 --unix-socket {SOCKET} http://localhost/readyz")
    with report.step("upgrade", "the next authentication is remembered in the same ledger") as row:
        row.seen = site.require_authenticated()
        size = site.ledger_size()
        require(size == after + 2, size)
        row.seen += f"; {size} entries, verified"


def remove(report: Report, site: Site) -> None:
    """The package goes."""
    inside = site.machine
    with report.step(
        "removal", "remove: nothing runs, nothing is enabled, ledger and configuration stay"
    ) as row:
        inside.run("dpkg", "--remove", PROGRAM)
        for user in (PROGRAM, "jpki-terminal", "jpki-handover"):
            require(inside.run("pgrep", "--uid", user, check=False).status, f"processes of {user} are left")
        inside.shell(
            f"test ! -e /opt/jpki-appliance && test -e {STATE}/ledger/ledger.sqlite3 && test -e {CONFIGURATION}"
        )
        failed = inside.run("systemctl", "list-units", "--no-legend", "jpki-*").out
        require(not failed, failed)
        row.seen = "no process, no unit, no /opt/jpki-appliance; ledger and configuration there"
    with report.step("removal", "purge: the package's own files go, the ledger stays and is named") as row:
        said = inside.run("dpkg", "--purge", PROGRAM)
        inside.shell(
            f"test ! -e {CONFIGURATION} && test ! -e /var/lib/jpki-handover && test -e {STATE}/ledger/ledger.sqlite3"
        )
        require(f"{STATE} is kept" in said.out, said.out)
        row.seen = next(line for line in said.out.splitlines() if STATE in line)


def require(holds: object, seen: object) -> None:
    """Raise AssertionError with what was *seen*, unless it *holds*."""
    if not holds:
        raise AssertionError(str(seen))
