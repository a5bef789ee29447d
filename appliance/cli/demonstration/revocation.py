"""The part of the demonstration's stage that knows which certificates were revoked: lists, or OpenSSL's responder."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from appliance.revocation import importing
from appliance.simulator.crl import complete
from appliance.simulator.openssl_responder import OpensslResponder, Status
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import Anchors

_DAY: Final = timedelta(days=1)
_BY_LIST: Final = 'sources = ["crl"]'
_RESPONDER: Final = '#[revocation.ocsp]\n#url = "https://ocsp.example.jp/"'


class By(StrEnum):
    """How revocation is checked."""

    CRL = "crl"
    OCSP = "ocsp"


@contextmanager
def crl_delivered(
    folder: Path, hierarchy: Hierarchy, revoked: x509.Certificate | None, age: timedelta
) -> Iterator[None]:
    """Deliver every municipality's lists into *folder*, *age* old and good for a day, and imported at that time."""
    lists = folder / "revocation" / "lists"
    lists.mkdir(parents=True)
    then = datetime.now(UTC) - age
    serials = [1] if revoked is None else [1, revoked.serial_number]
    for name, crl in complete(hierarchy.holders, serials, now=then, number=1):
        (lists / name).write_bytes(crl.public_bytes(Encoding.DER))
    if age > _DAY:
        importing.run(lists, folder / "revocation" / "state", Anchors(hierarchy.ca_certificates), then)
    yield


@contextmanager
def responder_running(
    folder: Path, hierarchy: Hierarchy, certificate: x509.Certificate, status: Status, *, down: bool
) -> Iterator[None]:
    """Have the configuration in *folder* ask OpenSSL's responder, or an address where there is none."""
    if down:
        with socket.create_server(("127.0.0.1", 0)) as server:
            url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        _ask(folder / "appliance.toml", url)
        yield
        return
    with OpensslResponder(
        hierarchy.holders, folder / "revocation" / "responder", {certificate: status}
    ) as responder:
        _ask(folder / "appliance.toml", responder.url)
        yield


def _ask(configuration: Path, url: str) -> None:
    text = configuration.read_text(encoding="utf-8")
    for line in (_BY_LIST, _RESPONDER):
        if text.count(line) != 1:
            raise ValueError(f"the annotated configuration no longer has {line!r}")
    text = text.replace(_BY_LIST, 'sources = ["ocsp"]').replace(
        _RESPONDER, f'[revocation.ocsp]\nurl = "{url}"'
    )
    configuration.write_text(text, encoding="utf-8")
