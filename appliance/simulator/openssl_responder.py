"""
An OCSP responder: `openssl ocsp` as a process of its own, for the test hierarchy.

It reads its knowledge from a text file in the form of `openssl ca`, answers on a port of this machine alone as far as
OpenSSL lets it, and ends with its context.
"""

import re
import subprocess
from collections.abc import Mapping
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.errors import PartMissing
from appliance.simulator.holder_pki import HolderAuthority
from appliance.simulator.key_files import private_pem, write_private

_LISTENING: Final = re.compile(r"ACCEPT .*:(\d+)")
_DATE: Final = "%y%m%d%H%M%SZ"


class Status(StrEnum):
    """What the responder says of a certificate."""

    GOOD = "good"
    REVOKED = "revoked"
    UNKNOWN = "unknown"


class OpensslResponder:
    """The responder of the newest generation of *authority*; its files are in *folder*. A context manager."""

    def __init__(
        self, authority: HolderAuthority, folder: Path, statuses: Mapping[x509.Certificate, Status]
    ) -> None:
        self._folder = folder
        generation = authority.generations[-1]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "ca.pem").write_bytes(generation.certificate.public_bytes(Encoding.PEM))
        (folder / "responder.pem").write_bytes(generation.responder.public_bytes(Encoding.PEM))
        write_private(folder / "responder-key.pem", private_pem(authority.responder_key))
        (folder / "index.txt").write_text("".join(_line(*entry) for entry in statuses.items()))
        self.url = ""
        """Where it answers, once it runs."""

    def __enter__(self) -> Self:
        try:
            self._process = subprocess.Popen(
                (
                    *("openssl", "ocsp", "-port", "0", "-index", "index.txt", "-CA", "ca.pem"),
                    *("-rsigner", "responder.pem", "-rkey", "responder-key.pem", "-nmin", "60"),
                ),
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        except FileNotFoundError as error:
            raise PartMissing("the program openssl is missing: package openssl") from error
        assert_output = self._process.stdout
        said = ""
        while assert_output is not None and (line := assert_output.readline()):
            said += line
            if found := _LISTENING.search(line):
                self.url = f"http://127.0.0.1:{found[1]}/"
                return self
        self._process.wait()
        raise PartMissing(f"openssl ocsp did not start: {said.strip()}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


def _line(certificate: x509.Certificate, status: Status) -> str:
    """Return what `openssl ca` would write of *certificate*; nothing where it is unknown."""
    if status is Status.UNKNOWN:
        return ""
    end = f"{certificate.not_valid_after_utc:{_DATE}}"
    since = f"{certificate.not_valid_before_utc + timedelta(minutes=1):{_DATE}}"
    serial = f"{certificate.serial_number:X}"
    letter, revoked = ("V", "") if status is Status.GOOD else ("R", since)
    return f"{letter}\t{end}\t{revoked}\t{serial.zfill(len(serial) + len(serial) % 2)}\tunknown\t/CN=TEST\n"
