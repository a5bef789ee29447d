"""A clinic whose appliance asks an eligibility service, and at which emergency windows may be opened."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Self

from appliance.simulator.network_pki import NetworkAuthority
from tests.browser.clinic import OPERATOR, SECOND_OPERATOR, Clinic
from tests.eligibility.fhir_service import FhirService, certify, server_tls, serving
from tests.eligibility.test_daemon import SECTION


class Insurer:
    """The eligibility service of `tests.eligibility`, in a thread of its own; its certificates are in *folder*."""

    def __init__(self, folder: Path) -> None:
        self.service = FhirService()
        self._folder = folder
        self._ready, self._end = threading.Event(), asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="insurer")

    @contextlib.contextmanager
    def serving(self) -> Iterator[FhirService]:
        """Have it answer for the length of a block."""
        self._thread.start()
        try:
            assert self._ready.wait(30)
            yield self.service
        finally:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        async with serving(self.service, server_tls(self._folder)):
            self._ready.set()
            await self._end.wait()


@dataclass(frozen=True, slots=True)
class Insured:
    """The *clinic* and the *service* that it asks."""

    clinic: Clinic
    service: FhirService

    @classmethod
    @contextlib.contextmanager
    def open(cls) -> Iterator[Self]:
        """Have one for the length of a block. Its path is short, because sockets are in it."""
        with TemporaryDirectory(prefix="insurer-") as insurer, TemporaryDirectory(prefix="clinic-") as folder:
            certify(Path(insurer), NetworkAuthority.create(datetime.now(UTC)))
            with Insurer(Path(insurer)).serving() as service:
                section = SECTION.format(url=service.url).replace('"eligibility/', f'"{insurer}/')
                hours = ("emergency_hours = 0.0", "emergency_hours = 8.0")
                with Clinic.open(Path(folder), hours, more=section) as clinic:
                    service.jwks = clinic.asked("GET", "/.well-known/jwks.json")
                    yield cls(clinic, service)

    def open_window(self) -> str:
        """Have two operators open an emergency window, and return its id."""
        until = f"{datetime.now(UTC) + timedelta(hours=1):%Y-%m-%dT%H:%M:%SZ}"
        path = "/v1/emergency-windows"
        asked = {"reason": "unconscious", "until": until}
        identity: str = self.clinic.asked("POST", path, asked, as_peer=OPERATOR)["id"]
        confirmation = f"{path}/{identity}/confirmation"
        confirmed = self.clinic.asked("POST", confirmation, {"confirm": True}, as_peer=SECOND_OPERATOR)
        assert confirmed["state"] == "open"
        return identity

    def close_window(self, identity: str) -> None:
        """Have an operator close it."""
        self.clinic.asked("DELETE", f"/v1/emergency-windows/{identity}", as_peer=OPERATOR)
