"""
A clinic that is reached by browsers: the real daemon over TLS, SoftHSM, and two readers on which cards come and go.

    desk-1            the appliance's own reader, with the face device kiosk-1; visual checks by operator-1 and -2
    ward-1.reader-1   a terminal's, where holders enter their PIN at the keyboard (`ward`)
"""

import contextlib
import http.client
import json
import shutil
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, Final, Self

import msgspec

from appliance.cli.demonstration.site import PRINTED
from appliance.simulator.credentials import CredentialName
from appliance.simulator.faults import Fault
from appliance.simulator.network_pki import CA
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.reader import InsertedCard, load_card
from appliance.simulator.tries import save_tries
from tests.daemon.process import SECONDS, Daemon, Site, started
from tests.daemon.tls import client_context

RECEPTION: Final = "desk-pc"
OPERATOR: Final = "gateway-pc"
SECOND_OPERATOR: Final = "gateway-pc-2"
AUDITOR: Final = "auditor-pc"
STRANGER: Final = "stranger-pc"
"""Has a certificate of the clinic's CA, and is nobody."""
DESK: Final = "desk-1"
WARD_DESK: Final = "ward-1.reader-1"
READERS: Final = ("Desk", "Ward")
_MORE: Final[Mapping[str, str]] = {SECOND_OPERATOR: "operator", AUDITOR: "auditor"}
_PLENTY: Final = "budget = { per_minute = 60000, at_once = 64, per_day = 1000000 }"


class Printed(msgspec.Struct, frozen=True):
    """What is printed on the site's card."""

    birth: date
    expiry_year: int
    security_code: str

    @classmethod
    def from_toml(cls, text: str | bytes) -> Self:
        """Return what *text* says."""
        return msgspec.toml.decode(text, type=cls)


@dataclass(frozen=True, slots=True)
class Clinic:
    """The clinic, while its daemon runs. Tests put cards on its readers, and take its HSM away (`Site.without_hsm`)."""

    site: Site
    daemon: Daemon

    @classmethod
    @contextlib.contextmanager
    def open(
        cls,
        folder: Path,
        *changes: tuple[str, str],
        more: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> Iterator[Self]:
        """
        Have one in *folder*, its configuration *changed* and with *more* at its end, for the length of a block.

        The daemon finds this *environment* besides its own.
        """
        with PrivatePcscd(READERS) as pcscd:
            site = _made(folder / "site", pcscd)
            site.change(*changes)
            site.add(more)
            log = folder / "daemon"
            log.mkdir()
            with started(site, log, environment) as daemon:
                yield cls(site, daemon)

    @property
    def url(self) -> str:
        """Where browsers reach it."""
        return f"https://localhost:{self.site.port}"

    @property
    def authority(self) -> Path:
        """The CA that its server's certificate leads to."""
        return self.site.folder / "tls" / CA

    @property
    def printed(self) -> Printed:
        """What is printed on the card in the folder `card`."""
        return Printed.from_toml((self.site.folder / PRINTED).read_bytes())

    def certificate(self, name: str) -> tuple[Path, Path]:
        """Return certificate and key of the browser called *name*."""
        folder = self.site.folder / "tls"
        return folder / f"{name}.pem", folder / f"{name}-key.pem"

    def copied_card(self, name: str, *, tries: int | None = None) -> str:
        """Return the folder of a copy of the card, whose 照合番号B has so many *tries* left, or all."""
        folder = self.site.folder / name
        shutil.copytree(self.site.folder / "card", folder)
        if tries is not None:
            save_tries(folder, {CredentialName.SURFACE_B: tries})
        return name

    @contextlib.contextmanager
    def card(self, *faults: Fault, desk: str = DESK, folder: str = "card") -> Iterator[InsertedCard]:
        """
        Have a card on the reader of *desk*, seen there, for the length of a block; it is seen to be gone after it.

        It is the one kept in *folder* of the site.
        """
        place = self.site.pcscd.readers[0 if desk == DESK else 1]
        inserted = InsertedCard(load_card(self.site.folder / folder, faults), place.host, place.port)
        try:
            self.until(desk, "card", "busy")
            yield inserted
        finally:
            inserted.remove()
        self.until(desk, "empty")

    def until(self, desk: str, *states: str) -> None:
        """Wait until *desk* is in one of these *states*."""
        deadline = time.monotonic() + SECONDS
        while self.state(desk) not in states:
            assert time.monotonic() < deadline, f"{desk} is {self.state(desk)}, not {states}"
            time.sleep(0.05)

    def state(self, desk: str) -> str | None:
        """Return what the appliance says of *desk*."""
        desks = self.asked("GET", "/v1/terminals", as_peer=OPERATOR)["desks"]
        return next((one["state"] for one in desks if one["desk"] == desk), None)

    def until_ready(self, *, is_ready: bool) -> None:
        """Wait until the appliance says that it is ready, or that it is not."""
        deadline = time.monotonic() + SECONDS
        while self.asked("GET", "/readyz")["ready"] is not is_ready:
            assert time.monotonic() < deadline, self.daemon.log.read_text()
            time.sleep(0.05)

    def asked(
        self, method: str, path: str, body: Mapping[str, object] | None = None, *, as_peer: str = RECEPTION
    ) -> Any:  # noqa: ANN401  # whatever the answer is
        """Return what the appliance answers to a peer that is no browser."""
        connection = http.client.HTTPSConnection(
            "localhost", self.site.port, context=self._context(as_peer), timeout=SECONDS
        )
        try:
            sent = None if body is None else json.dumps(body)
            connection.request(
                method, path, sent, {} if body is None else {"Content-Type": "application/json"}
            )
            return json.loads(connection.getresponse().read())
        finally:
            connection.close()

    def _context(self, name: str) -> ssl.SSLContext:
        return client_context(self.site, name)


def _made(folder: Path, pcscd: PrivatePcscd) -> Site:
    """Make the site, and certificates for all who have a browser."""
    site = Site.made(folder, pcscd)
    tls = folder / "tls"
    for name in (RECEPTION, OPERATOR, *_MORE, STRANGER):
        site.authority.issue_client(tls / f"{name}.pem", f"{name}.example.jp")
    site.change(
        ('name = "Virtual PCD 00 00"', f'name = "{pcscd.readers[0].name}"'),
        *(
            (
                f'certificate_name = "{name}.example.jp"\n',
                f'certificate_name = "{name}.example.jp"\n{_PLENTY}\n',
            )
            for name in (RECEPTION, OPERATOR)
        ),
    )
    for name, role in _MORE.items():
        site.add(
            f'[[peer]]\nalias = "{name}"\nrole = "{role}"\ncertificate_name = "{name}.example.jp"\n{_PLENTY}\n'
        )
    return site
