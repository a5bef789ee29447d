"""Steps: the units with another program in them: what systemd refuses it, and what goes through."""

import json
from typing import Any

from tests.system.installation import require
from tests.system.machine import HOME
from tests.system.report import Report
from tests.system.site import HANDOVER, PYTHON, SERVICE, STATE, TERMINAL_SERVICE, Site, folder_of_tests

_ASK_CLOCK = "import ctypes; ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)) >= 0 or exit(1)"
_TMP = "/tmp"  # noqa: S108  # inside the sandbox it is its own
_HERE, _SITE, _ELSEWHERE = "127.0.0.1", "192.0.2.2", "198.51.100.2"
"""The machine itself; what drop-ins/network.conf opens; somewhere else."""
_NOT_THE_PROBES = (
    *(
        "Type=",
        "ExecStart=",
        "ExecReload=",
        "WatchdogSec=",
        "Restart",
        "ExecStopPost=",
        "Requires=",
        "After=",
    ),
    *("Wants=", "TimeoutStopSec="),
)
_DEVICES = {"mem", "kmsg", "sda", "vda", "tpm0", "rtc0", "bus"}


def confine(report: Report, site: Site) -> None:
    """The appliance's unit, thing by thing."""
    site.machine.write("/usr/local/lib/probe.py", (folder_of_tests() / "probe.py").read_text("utf-8"))
    site.machine.shell("ip addr add 192.0.2.1/24 dev lo && ip addr add 198.51.100.1/24 dev lo")
    with report.step("sandbox", "a probe runs in the unit's place") as row:
        found = probed(site, SERVICE)
        row.seen = f"user {found['user']}, {found['status']}, core limit {found['core limit']}"
        require(found["status"]["CapBnd"].strip("0") == "" and found["status"]["NoNewPrivs"] == "1", row.seen)
        require(found["core limit"] == "0" and found["user"][0] != 0, row.seen)
    if row.outcome != "ok":
        return
    for what, tried, but in (
        ("writes outside its own folders", found["write"], {STATE, _TMP, "/run/jpki-appliance"}),
        ("address families beyond Unix and IP", found["family"], set()),
        ("system calls that no service needs", found["syscall"], set()),
    ):
        with report.step("sandbox", what) as row:
            row.seen = shown({name: how for name, how in tried.items() if name not in but})
            require(through(tried) == but, f"went through: {through(tried)}; {row.seen}")
    with report.step(
        "sandbox", "memory that is written and run; set-user-id programs; other processes"
    ) as row:
        three = {name: found[name] for name in ("memory that is written and run", "set-user-id", "/proc/1")}
        require(all(three.values()), three)
        row.seen = shown(three)
    with report.step("sandbox", "devices") as row:
        row.seen = " ".join(found["devices"])
        require(not _DEVICES & set(found["devices"]), row.seen)
    with report.step("sandbox", "the clock can be asked, and not set") as row:
        row.seen = f"clock_settime: {found['syscall']['clock_settime']}, adjtimex answers: {found['clock can be asked']}"
        require(found["syscall"]["clock_settime"], row.seen)
        if not found["clock can be asked"]:
            asked = site.machine.run(
                "systemd-run", "--pipe", "--quiet", "--wait", PYTHON, "-I", "-c", _ASK_CLOCK, check=False
            )
            require(asked.status, f"{row.seen}, although a service without a sandbox is told")
            row.not_here(f"{row.seen}: the container refuses it to every service, also without a sandbox")
    with report.step("sandbox", "network beyond the machine itself") as row:
        row.seen = shown(found["network"])
        require(found["network"][_HERE] is None, row.seen)
        if through(found["network"]) != {_HERE}:
            row.not_here(
                f"{row.seen}: this kernel gives the container's systemd no cgroup filter (IPAddressDeny=)"
            )
    with report.step("sandbox", "drop-ins/network.conf opens the network that it names, and no other") as row:
        opened = probed(site, SERVICE, "network")["network"]
        row.seen = shown(opened)
        if through(found["network"]) == {_HERE}:
            require(through(opened) == {_HERE, _SITE}, row.seen)
        else:
            row.not_here(f"{row.seen}: as above")
    with report.step("credentials", "the service reads them, decrypted") as row:
        row.seen = shown({name: f"{size} bytes" for name, size in found["credentials"].items()})
        require(found["credentials"].keys() == {"hsm-pin", "pseudonym-key"}, row.seen)


def confine_others(report: Report, site: Site) -> None:
    """The units of terminal and hand-over."""
    folder = "/var/lib/jpki-handover"
    for unit, drop_in, own, reached in (
        (TERMINAL_SERVICE, "local-terminal", {_TMP}, {_HERE, _SITE, _ELSEWHERE}),
        (HANDOVER, None, {_TMP, folder}, set[str]()),
    ):
        with report.step("sandbox", f"a probe in the place of {unit}") as row:
            found = probed(site, unit, drop_in)
            require(found["user"][0] != 0 and found["status"]["CapBnd"].strip("0") == "", found["status"])
            require(through(found["write"]) == own, f"writes: {shown(found['write'])}")
            for kind in ("family", "syscall"):
                require(not through(found[kind]), f"{kind}: {shown(found[kind])}")
            for one in ("memory that is written and run", "set-user-id", "/proc/1"):
                require(found[one], f"{one} went through")
            require(not _DEVICES & set(found["devices"]), found["devices"])
            require(through(found["network"]) == reached, f"network: {shown(found['network'])}")
            row.seen = (
                f"user {found['user'][0]}, writes to {', '.join(sorted(own))} alone; families and system calls refused;"
                f" network: {shown(found['network'])}"
            )


def probed(site: Site, unit: str, drop_in: str | None = None) -> dict[str, Any]:
    """Return what a probe finds that runs as *unit* says, with one of the package's drop-ins."""
    inside = site.machine
    lines = inside.outside(f"/usr/lib/systemd/system/{unit}").read_text("utf-8").splitlines()
    kept = [line for line in lines if not line.startswith(_NOT_THE_PROBES)]
    place = kept.index("[Service]") + 1
    kept[place:place] = [
        "Type=oneshot",
        f"ExecStart={PYTHON} -I /usr/local/lib/probe.py",
        f"StandardOutput=truncate:{HOME}/probe.json",
        "StandardError=journal",
    ]
    inside.write("/etc/systemd/system/probe.service", "\n".join(kept))
    if drop_in is not None:
        site.drop_in("probe", site.packaged_drop_in(drop_in), "probe.service")
    inside.run("systemctl", "daemon-reload")
    said = inside.run("systemctl", "start", "probe.service", check=False)
    if drop_in is not None:
        site.no_drop_in("probe", "probe.service")
    require(not said.status, said.out + site.journal("probe.service"))
    found: dict[str, Any] = json.loads(inside.outside(f"{HOME}/probe.json").read_text())
    return found


def through(tried: dict[str, str | None]) -> set[str]:
    """Return what of *tried* was not refused."""
    return {name for name, how in tried.items() if how is None}


def shown(found: dict[str, str | None]) -> str:
    """Return *found* in a line."""
    return ", ".join(f"{name}: {how or 'went through'}" for name, how in found.items())
