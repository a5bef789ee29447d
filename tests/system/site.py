"""A clinic's machine: the package's appliance with a SoftHSM token, a test hierarchy and cards on pcscd's virtual readers."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.system.machine import HOME, Machine, Said

PROGRAM = "jpki-appliance"
SERVICE = "jpki-appliance.service"
TERMINAL_SERVICE = "jpki-terminal.service"
HANDOVER = "jpki-handover.service"
SOCKET = "/run/jpki-appliance/appliance.sock"
CONFIGURATION = "/etc/jpki-appliance/appliance.toml"
STATE = "/var/lib/jpki-appliance"
PYTHON = "/opt/jpki-appliance/bin/python"
RECEPTION, CARETAKER, STRANGER, OUTSIDER = "frontdesk", "caretaker", "stranger", "outsider"
"""Asks; looks after the appliance; may connect, but is unknown to the configuration; may not even connect."""
CLERK = "clerk"
"""Lays requests down as files."""
_PORTS = (35963, 35964)
"""Of the two slots that Debian's vpcd package configures."""
TERMINAL = "ward-3.desk-1"
"""The desk at the second reader, which jpki-terminal.service brings."""
_PEERS = """
[[peer]]
alias = "reception-1"
role = "reception"
user = "frontdesk"

[[peer]]
alias = "console-1"
role = "operator"
user = "root"

[[peer]]
alias = "console-2"
role = "operator"
user = "caretaker"
"""
_NEWER_PEERS = """
[[peer]]
alias = "ward-3"
role = "terminal"
user = "jpki-terminal"
face_device = "kiosk-1"

[[peer]]
alias = "handover"
role = "reception"
user = "jpki-handover"
"""
# Runs with what the earlier package brings, too.
_LISTS = """
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from appliance.simulator.crl import issue
from appliance.simulator.people import MUNICIPALITIES
from appliance.simulator.pki import Hierarchy
hierarchy = Hierarchy.load(Path(sys.argv[2]))
for number, one in enumerate(hierarchy.ca_certificates, start=1):
    Path(f"/etc/jpki-appliance/authorities/ca-{number}.pem").write_bytes(one.public_bytes(Encoding.PEM))
Path("/etc/jpki-appliance/authorities/front-root.pem").write_bytes(
    hierarchy.surface_root_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
for number, generation in enumerate(hierarchy.holders.generations, start=1):
    for one in MUNICIPALITIES:
        crl = issue(generation, one, [1], now=datetime.now(UTC), number=1, life=timedelta(days=1))
        Path(sys.argv[1], f"{one.code}-{number}.crl").write_bytes(crl.public_bytes(Encoding.DER))
"""
_LOGIN = """
import pkcs11
(token,) = pkcs11.lib("/usr/lib/softhsm/libsofthsm2.so").get_tokens(token_label="jpki-appliance")
token.open(user_pin=input()).close()
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer: *status* 0 is none at all."""

    status: int
    body: Any
    text: str


@dataclass(frozen=True, slots=True)
class Site:
    """What is done on *machine* by its administrator and its users."""

    machine: Machine

    # --- setting up -----------------------------------------------------------------------------------------------

    def make_keys(self) -> str:
        """Make the token as the appliance's user, and encrypt the PIN, which is typed, for the service; return what was shown."""
        folder = f"{STATE}/softhsm"
        self.machine.run(PROGRAM, "hsm", "provision-softhsm", folder, user=PROGRAM)
        pin = self.machine.outside(f"{folder}/user.pin").read_text("ascii").strip()
        said = self.machine.asked(
            "systemd-ask-password -n |"
            " systemd-creds encrypt --name=hsm-pin - /etc/credstore.encrypted/jpki-appliance.hsm-pin",
            "Password:",
            pin,
        )
        if said.status or pin in said.out:
            raise AssertionError(said.out.replace(pin, "(PIN)"))
        self.machine.shell(
            "head -c 32 /dev/urandom |"
            " systemd-creds encrypt --name=pseudonym-key - /etc/credstore.encrypted/jpki-appliance.pseudonym-key\n"
            f"mkdir -p {HOME}/kept && mv {folder}/user.pin {folder}/so.pin {HOME}/kept/"
        )
        return said.out

    def configure(self) -> None:
        """Certify the institution, deliver lists, and complete the package's configuration."""
        inside = self.machine
        inside.shell(
            f"jpki-appliance simulator pki {HOME}/pki --institution-key {STATE}/softhsm/institution.pub.pem\n"
            f"cd /etc/jpki-appliance && mkdir -p authorities keys && cp -r {HOME}/pki/institution .\n"
            "find institution -name '*key*' ! -name '*.pub*' ! -name '*.cvc' -delete\n"
            f"cp {STATE}/softhsm/token.pub.pem {STATE}/softhsm/ledger.pub.pem keys/\n"
            f"install -d -o jpki-appliance -g jpki-appliance {STATE}/revocation {STATE}/revocation/lists"
        )
        inside.write(f"{HOME}/lists.py", _LISTS)
        inside.run(PYTHON, "-I", f"{HOME}/lists.py", f"{STATE}/revocation/lists", f"{HOME}/pki")
        inside.shell(
            f"chmod -R go+rX /etc/jpki-appliance && chown -R {PROGRAM}: {STATE}/revocation\n"
            f"jpki-appliance simulator issue {HOME}/pki {HOME}/pki/second-card\n"
            f"for user in {RECEPTION} {CARETAKER} {STRANGER}; do useradd --groups jpki-clients $user; done\n"
            f"useradd {OUTSIDER}"
        )
        self.edit(CONFIGURATION, r"\Z", _PEERS)

    def extend(self) -> None:
        """Name terminal and hand-over in the configuration, as the newer package knows them, and make a clerk's account."""
        if "\nface_device" not in self.machine.outside(CONFIGURATION).read_text("utf-8"):
            self.edit(CONFIGURATION, r'\nalias = "desk-1"', '\nalias = "desk-1"\nface_device = "kiosk-1"')
        self.edit(CONFIGURATION, r"\Z", _NEWER_PEERS)
        self.machine.run("useradd", "--groups", "jpki-handover", CLERK)
        # What a reader is for counts from the next start on.
        self.machine.run("systemctl", "restart", SERVICE)

    def edit(self, path: str, what: str, instead: str) -> None:
        """Replace *what* (a pattern) by *instead* in a file."""
        file = self.machine.outside(path)
        text, changes = re.subn(what, instead.replace("\\", r"\\"), file.read_text("utf-8"), count=1)
        if not changes:
            raise AssertionError(f"{path} has no {what}")
        file.write_text(text, "utf-8")

    def put_cards(self) -> None:
        """Put a card on each of the two readers, for as long as the machine runs."""
        for port, card in zip(_PORTS, ("card", "second-card"), strict=True):
            self.machine.run(
                *("systemd-run", f"--unit=card-{port}", "--property=Restart=always"),
                *("--property=RestartSec=1", "--property=StartLimitIntervalSec=0"),
                *(PROGRAM, "simulator", "card", f"{HOME}/pki/{card}", f"--port={port}"),
            )

    # --- asking ---------------------------------------------------------------------------------------------------

    def ask(
        self, path: str, *, user: str = RECEPTION, method: str = "GET", body: object = None, seconds: int = 60
    ) -> Answer:
        """Ask on the local socket."""
        said = self.machine.run(
            *("curl", "--silent", "--show-error", "--max-time", str(seconds), "--unix-socket", SOCKET),
            *("--request", method, "--write-out", "\n%{http_code}"),
            *(() if body is None else ("--json", json.dumps(body))),
            f"http://localhost{path}",
            user=user,
            check=False,
        )
        text, _, status = said.out.rpartition("\n")
        try:
            body = json.loads(text)
        except ValueError:
            body = None
        return Answer(int(status) if status.isdigit() else 0, body, text or said.out)

    def authenticate(self, desk: str = "desk-1") -> Answer:
        """Have the card at *desk* authenticated, and wait for the end."""
        asked = self.ask(
            "/v1/authentications",
            method="POST",
            body={
                "desk": desk,
                "mode": "pinless",
                "identity_check": {"method": "face", "device": "kiosk-1"},
            },
        )
        if asked.status != 201:
            return asked
        for _ in range(3):
            told = self.ask(f"/v1/authentications/{asked.body['id']}?wait=20")
            if told.body is None or told.body.get("state") != "running":
                return told
        return told

    def require_authenticated(self, desk: str = "desk-1") -> str:
        """Authenticate; return what the result says of it."""
        told = self.authenticate(desk)
        if told.body is None or told.body.get("state") != "authenticated":
            raise AssertionError(f"{told.status} {told.text[:1500]}")
        claims = told.body["claims"]
        return f"authenticated, {claims['mode']}, {claims['assurance']}, log {claims['log']['index']}"

    def refusal(self, desk: str = "desk-1") -> str | None:
        """Have an authentication refused at *desk*; return its code, None where it is not refused."""
        body = self.authenticate(desk).body or {}
        code = body.get("code") or (body.get("problem") or {}).get("code")
        return None if code is None else str(code)

    def command(self, *arguments: str) -> Said:
        """Run the program as the service's user, with the service's configuration where it is asked for."""
        return self.machine.run(PROGRAM, *arguments, user=PROGRAM, check=False)

    def log_in_once(self) -> None:
        """Log in to the token as one does with the vendor's own tool: a token that has seen a wrong PIN asks for that."""
        self.machine.run(
            *("runuser", "--user", PROGRAM, "--", "env", f"SOFTHSM2_CONF={STATE}/softhsm/softhsm2.conf"),
            *(PYTHON, "-I", "-c", _LOGIN),
            entering=self.machine.outside(f"{HOME}/kept/user.pin").read_text("ascii"),
        )

    def ledger_size(self) -> int:
        """Return how many entries the ledger has; raise where it does not verify."""
        said = self.command("ledger", "--config", CONFIGURATION, "verify")
        if said.status:
            raise AssertionError(said.out)
        found = re.search(r"\d+", said.out)
        if found is None:
            raise AssertionError(said.out)
        return int(found[0])

    # --- the unit -------------------------------------------------------------------------------------------------

    def drop_in(self, name: str, text: str, unit: str = SERVICE) -> None:
        """Add a drop-in."""
        self.machine.write(f"/etc/systemd/system/{unit}.d/{name}.conf", text)
        self.machine.run("systemctl", "daemon-reload")

    def packaged_drop_in(self, name: str) -> str:
        """Return a drop-in that the package brings."""
        return self.machine.outside(f"/usr/share/jpki-appliance/drop-ins/{name}.conf").read_text("utf-8")

    def no_drop_in(self, name: str, unit: str = SERVICE) -> None:
        """Take it away."""
        self.machine.outside(f"/etc/systemd/system/{unit}.d/{name}.conf").unlink()
        self.machine.run("systemctl", "daemon-reload")

    def reload(self) -> None:
        """Have the service read its configuration again, and wait until it counts."""
        told = f"journalctl --unit {SERVICE} --output=cat | grep -c 'configuration read again'"
        before = self.machine.shell(told, check=False).last
        self.machine.run("systemctl", "reload", SERVICE)
        self.machine.wait("the configuration is read again", f"test $({told}) -gt {before}")

    @property
    def version(self) -> str:
        """The version of the package that is installed."""
        return self.machine.run("dpkg-query", "-Wf", "${Version}", PROGRAM).out

    @property
    def main_pid(self) -> str:
        """The service's main process, by its number inside."""
        return self.machine.shown(SERVICE, "MainPID")

    def journal(self, unit: str = SERVICE, lines: int = 15) -> str:
        """Return the unit's last lines in the journal."""
        return self.machine.run(
            "journalctl", "--unit", unit, f"--lines={lines}", "--output=cat", check=False
        ).out


def folder_of_tests() -> Path:
    """Return where the programs are that are brought into the machine."""
    return Path(__file__).parent
