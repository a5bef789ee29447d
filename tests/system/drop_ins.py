"""Steps: what a site adds to the units."""

from tests.system.installation import require
from tests.system.report import Report
from tests.system.service import READY
from tests.system.site import HANDOVER, SERVICE, TERMINAL_SERVICE, Site

_FOLDER = "/usr/share/jpki-appliance/drop-ins"


def add(report: Report, site: Site) -> None:
    """Each drop-in of the package is read by systemd, in the place that its first line names."""
    inside = site.machine
    names = sorted(one.stem for one in inside.outside(_FOLDER).glob("*.conf"))
    for name in names:
        text = site.packaged_drop_in(name)
        head = text.splitlines()[0]
        unit = next((one for one in (TERMINAL_SERVICE, HANDOVER) if one in head), SERVICE)
        with report.step("drop-ins", f"{name}.conf is in force for {unit}") as row:
            before = _exposure(site, unit)
            site.drop_in(name, text, unit)
            path = f"/etc/systemd/system/{unit}.d/{name}.conf"
            require(path in inside.shown(unit, "DropInPaths"), "systemd has not read it")
            require(text in inside.run("systemctl", "cat", unit).out, "systemctl cat does not show it")
            said = inside.run("systemd-analyze", "verify", "--man=no", unit).out
            require(not said, said)
            lines = [line for line in text.splitlines() if "=" in line and not line.startswith(("#", "["))]
            seen = {line.split("=", 1)[0]: inside.shown(unit, line.split("=", 1)[0]) for line in lines}
            for line in lines:
                key, value = line.split("=", 1)
                require(_in_force(value, seen[key]), f"{line}, and systemctl show says {seen[key]!r}")
            row.seen = f"exposure {before}, with it {_exposure(site, unit)}; {'; '.join(lines)}"
        site.no_drop_in(name, unit)
    with report.step(
        "drop-ins", "plain-credentials.conf: the service starts with plain files, mode 0600"
    ) as row:
        inside.shell(
            "install -d -m 700 /etc/credstore\n"
            "for name in hsm-pin pseudonym-key; do\n"
            "  (umask 077; systemd-creds decrypt --name=$name /etc/credstore.encrypted/jpki-appliance.$name"
            " /etc/credstore/jpki-appliance.$name)\n"
            "done; mv /etc/credstore.encrypted /etc/credstore.away"
        )
        site.drop_in("plain", site.packaged_drop_in("plain-credentials"))
        inside.run("systemctl", "restart", SERVICE)
        inside.wait("ready", READY)
        row.seen = f"{site.require_authenticated()}, without /etc/credstore.encrypted"
    site.no_drop_in("plain")
    inside.shell("rm -r /etc/credstore; mv /etc/credstore.away /etc/credstore.encrypted")
    inside.run("systemctl", "restart", SERVICE)
    inside.wait("ready", READY)


def _in_force(value: str, shown: str) -> bool:
    """Return whether what systemd has *shown* of a setting has all words of *value*."""
    return "[unprintable]" in shown or all(word in shown for word in value.replace(":", " ").split())


def _exposure(site: Site, unit: str) -> str:
    said = site.machine.run("systemd-analyze", "security", "--no-pager", unit, check=False)
    return said.last.split(": ")[-1].split()[0]
