"""
A whole clinic for one machine: everything that `serve` and `terminal` need, ready to be started.

    appliance.toml   the annotated example, with TLS and four peers: this account as reception, and by certificate a
                     terminal, the desk's browser and the operator's
    terminal.toml    the annotated example, for that terminal
    printed.toml     what is printed on the card
    tls/             a CA for all of them, and their certificates; those of browsers as a browser takes them (.p12), too
    …                token, hierarchy, lists, card: as on the demonstration's stage
"""

import os
import pwd
from contextlib import AbstractContextManager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from appliance.card.jpki import Mode
from appliance.cli.demonstration import stage
from appliance.cli.demonstration.revocation import By, crl_delivered
from appliance.cli.demonstration.stage import Script
from appliance.hsm.shipped import shipped
from appliance.simulator.key_files import write_private
from appliance.simulator.network_pki import CA, NetworkAuthority
from appliance.simulator.people import Person

TERMINAL: Final = "ward-1"
BROWSERS: Final = {"desk-pc": "reception", "gateway-pc": "operator"}
"""Peers with a browser, and their roles."""
PRINTED: Final = "printed.toml"
IMPORT_PASSWORD: Final = "test"  # noqa: S105  # nobody's secret
"""Of the .p12 files; browsers insist on one."""
_TERMINAL_NAME: Final = "ward-1.example.jp"
_DESK: Final = 'alias = "desk-1"'
_SOCKET: Final = 'socket = "run/appliance.sock"'
_METRICS: Final = "port = 9464"


def build(folder: Path, *, port: int, metrics_port: int, account: str | None = None) -> Person:
    """
    Make a site in *folder*, which has to be absent or empty; its appliance listens on *port* of this machine.

    Whoever runs under *account*, this process's if None, is its reception. Returns whose card it is.
    """
    made = stage.furnish(folder, Script(Mode.PINLESS, None, By.CRL, stage.REFERENCE), _untold)
    with crl_delivered(folder, made.hierarchy, None, timedelta()):
        pass
    authority = NetworkAuthority.create(datetime.now(UTC))
    tls = folder / "tls"
    authority.save(tls)
    authority.issue_server(tls / "server.pem", ("localhost", "127.0.0.1"))
    authority.issue_client(tls / f"{TERMINAL}.pem", _TERMINAL_NAME)
    for name in BROWSERS:
        authority.issue_client(tls / f"{name}.pem", _dns_name(name))
        write_private(tls / f"{name}.p12", authority.bundle(tls / f"{name}.pem", IMPORT_PASSWORD))
    account = account or pwd.getpwuid(os.geteuid()).pw_name
    appliance = folder / "appliance.toml"
    text = _changed(appliance.read_text("utf-8"), _METRICS, f"port = {metrics_port}")
    site = _APPLIANCE.format(port=port, ca=CA, account=account, terminal=TERMINAL, name=_TERMINAL_NAME)
    peers = (_PEER.format(alias=name, role=role, name=_dns_name(name)) for name, role in BROWSERS.items())
    appliance.write_text(text + site + "".join(peers), "utf-8")
    terminal = _changed(shipped("terminal.toml").read_text("utf-8"), _DESK, 'alias = "reader-1"')
    network = _NETWORK.format(port=port, ca=CA, terminal=TERMINAL)
    (folder / "terminal.toml").write_text(_changed(terminal, _SOCKET, network), "utf-8")
    person = made.person
    (folder / PRINTED).write_text(
        _PRINTED.format(birth=person.birth, year=person.expires.year, code=person.security_code), "utf-8"
    )
    return person


_APPLIANCE: Final = """
# --- this site ---

[gateway.tls]
address = "127.0.0.1"
port = {port}
certificate = "tls/server.pem"
key_file = "tls/server-key.pem"
clients = "tls/{ca}"

[[peer]]
alias = "reception-1"
role = "reception"
user = "{account}"

[[peer]]
alias = "{terminal}"
role = "terminal"
certificate_name = "{name}"
face_device = "kiosk-1"
"""
_PEER: Final = """
[[peer]]
alias = "{alias}"
role = "{role}"
certificate_name = "{name}"
"""
_PRINTED: Final = """# What is printed on the card, for the check by the staff's eyes.
birth = {birth}
expiry_year = {year}
security_code = "{code}"
"""
_NETWORK: Final = """url = "wss://localhost:{port}/v1/terminal"
authorities = "tls/{ca}"
certificate = "tls/{terminal}.pem"
key_file = "tls/{terminal}-key.pem\""""


def _dns_name(browser: str) -> str:
    return f"{browser}.example.jp"


def _changed(text: str, old: str, new: str) -> str:
    if text.count(f"\n{old}\n") != 1:
        raise ValueError(f"the annotated configuration no longer has {old!r}")
    return text.replace(f"\n{old}\n", f"\n{new}\n")


def _untold(_part: str) -> AbstractContextManager[None]:
    return nullcontext()
