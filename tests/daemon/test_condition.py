"""How the appliance is, as it tells it: what ends, and until when what is known counts."""

import asyncio
import re
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import aiohttp
import msgspec
import pytest
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificate

from appliance import config
from appliance.config import Configuration
from appliance.daemon.condition import certificates, count_hsms, pinned
from appliance.hsm import softhsm
from appliance.hsm.health import HsmHealth, HsmState, KeyHealth, WorkerState
from appliance.hsm.messages import KeyLabel
from appliance.metrics import Metrics
from appliance.revocation.importing import INDEX
from appliance.simulator.holder_pki import HolderAuthority
from appliance.simulator.network_pki import CA, NetworkAuthority
from tests.daemon.process import ORDER, Daemon, Site, session
from tests.daemon.tls import client_context
from tests.eligibility.fhir_service import certify

OTHERS = """
[eligibility]
url = "https://127.0.0.1:9/fhir"
authorities = "ends/eligibility/ca.pem"
client_certificate = "ends/eligibility/client.pem"
client_key_file = "ends/eligibility/client-key.pem"

[revocation.ocsp]
url = "https://127.0.0.1:9/"
authorities = "ends/two.pem"
client_certificate = "ends/responder.pem"
client_key_file = "ends/responder-key.pem"

[ledger.syslog]
host = "log.example.jp"
authority = "ends/eligibility/ca.pem"
"""


def authority(days: int) -> NetworkAuthority:
    """Return an authority of so many *days* ago."""
    return NetworkAuthority.create(datetime.now(UTC) - timedelta(days=days), f"TEST CA {days}")


@pytest.fixture
def configured(site: Site) -> Configuration:
    """A configuration that names a certificate wherever one can be named, and files with several."""
    folder = site.folder / "ends"
    (old, new) = authority(300), authority(10)
    certify(folder / "eligibility", old)
    new.issue_client(folder / "responder.pem", "appliance.example.jp")
    for one, name in ((old, "old"), (new, "new")):
        one.save(folder / name)
    both = (folder / "old" / CA).read_text() + (folder / "new" / CA).read_text()
    (folder / "two.pem").write_text(both)
    # A chain whose second certificate ends before the first one.
    chain = (site.folder / "tls" / "server.pem").read_text() + (folder / "old" / CA).read_text()
    (folder / "server.pem").write_text(chain)
    holders = "".join((site.folder / f"authorities/ca-{number}.pem").read_text() for number in (1, 2))
    (folder / "holders.pem").write_text(holders)
    text = site.file.read_text()
    for pattern, value in (
        (r"^authorities = \[.*\]$", 'authorities = ["ends/holders.pem", "authorities/ca-1.pem"]'),
        (r'^clients = "tls/ca.pem"$', 'clients = "ends/two.pem"'),
        (r'^certificate = "tls/server.pem"$', 'certificate = "ends/server.pem"'),
    ):
        text, times = re.subn(pattern, value, text, flags=re.MULTILINE)
        assert times == 1, pattern
    file = site.folder / "ends.toml"
    file.write_text(f"{text}\n{OTHERS}")
    return config.load(file)


def test_every_certificate_that_ends_is_watched(configured: Configuration) -> None:
    """Each in a file with several counts, under the number that it has among those of its kind, and a chain by its first end."""
    ends = {one.name: one.not_after for one in certificates(configured)}
    assert list(ends) == [
        *("authority-1", "authority-2", "authority-3"),
        *("tls-clients-1", "tls-clients-2"),
        *("responder-authority-1", "responder-authority-2"),
        *("eligibility-authority-1", "syslog-authority-1"),
        *("tls-server", "responder-client", "eligibility-client"),
    ]
    assert ends["authority-1"] == ends["authority-3"] != ends["authority-2"]
    assert ends["tls-clients-1"] < ends["tls-clients-2"]
    assert ends["tls-server"] == ends["tls-clients-1"]
    assert ends["eligibility-client"] < ends["responder-client"]


def test_a_certificate_of_a_peer_is_told_as_the_peers(configured: Configuration) -> None:
    """Not as one that others lead to: who is pinned, or known by a name in it, is named; what is nobody's is not told."""
    folder = configured.folder
    for number, days in enumerate((300, 200, 10), start=1):
        authority(days).issue_client(folder / f"ends/{number}.pem", f"leaf-{number}.example.jp")
    leaves = [(folder / f"ends/{number}.pem").read_text() for number in (1, 2, 3)]
    pins = [load_pem_x509_certificate(one.encode()) for one in leaves]
    clients = folder / "ends/two.pem"
    clients.write_text("".join((leaves[0], clients.read_text(), *leaves[1:])))
    file = folder / "peers.toml"
    file.write_text(
        f"{(folder / 'ends.toml').read_text()}\n"
        f'[[peer]]\nalias = "pinned-1"\nrole = "auditor"\n'
        f'certificate_sha256 = "{pins[0].fingerprint(SHA256()).hex()}"\n'
        f'[[peer]]\nalias = "named-2"\nrole = "auditor"\ncertificate_name = "Leaf-2.example.jp"\n'
    )
    named = config.load(file)
    assert {one.name: one.not_after for one in pinned(named)} == {
        alias: one.not_valid_after_utc.timestamp()
        for alias, one in zip(("pinned-1", "named-2"), pins, strict=False)
    }
    ends = [one.name for one in certificates(named) if one.name.startswith("tls-clients")]
    assert ends == ["tls-clients-2", "tls-clients-3"]


async def test_a_peer_is_told_by_the_certificate_that_it_shows(daemon: Daemon, site: Site) -> None:
    """Nobody else here knows when it ends; with the peer it goes from what is told."""
    await asyncio.to_thread(daemon.reload)
    shown = load_pem_x509_certificate((site.folder / "tls" / "operator-1.pem").read_bytes())
    series = 'jpki_peer_certificate_not_after_timestamp_seconds{peer="operator-1"}'
    await status_of(site)
    status = await status_of(site)
    assert (await scraped(daemon, "jpki_peer_"))[series] == shown.not_valid_after_utc.timestamp()
    ends = {one["name"]: one["not_after"] for one in status["condition"]["peer_certificates"]}
    assert ends["operator-1"] == shown.not_valid_after_utc.timestamp()
    with site.changed(('\nalias = "operator-1"\n', '\nalias = "operator-9"\n')):
        await asyncio.to_thread(daemon.reload)
        assert series not in await scraped(daemon, "jpki_peer_")
    await asyncio.to_thread(daemon.reload)


def test_gauges_tell_of_the_hsms_that_there_are_now() -> None:
    """A key that went in a rotation grows no older, and a breaker of workers that have gone is not open for ever."""

    def told(*, labels: tuple[KeyLabel, ...], refusing: bool) -> tuple[float | None, ...]:
        keys = tuple(KeyHealth(label, label.value, 1.8e9, 0.001) for label in labels)
        workers = dict.fromkeys(WorkerState, 0)
        count_hsms(metrics, [HsmHealth("hsm-1", HsmState.UP, workers, keys, refusing, None, None)])
        canary, value = "jpki_hsm_canary_timestamp_seconds", metrics.registry.get_sample_value
        return (
            value("jpki_hsm_breaker_open", {"hsm": "hsm-1"}),
            *(value(canary, {"hsm": "hsm-1", "key": key}) for key in ("institution", "institution-next")),
        )

    metrics = Metrics()
    metrics.know_hsm("hsm-1")
    assert told(labels=(KeyLabel.INSTITUTION_NEXT, KeyLabel.INSTITUTION), refusing=True) == (1, 1.8e9, 1.8e9)
    assert told(labels=(KeyLabel.INSTITUTION,), refusing=False) == (0, 1.8e9, 0)


def test_a_marker_is_told_though_a_worker_recovers() -> None:
    """A worker that logged in before is ready again, and the next login is refused all the same: the alert stays."""
    metrics = Metrics()
    metrics.know_hsm("hsm-1")

    def told(marker: str | None) -> float | None:
        workers = dict.fromkeys(WorkerState, 0)
        count_hsms(metrics, [HsmHealth("hsm-1", HsmState.UP, workers, (), False, None, marker)])  # noqa: FBT003  # by their order
        return metrics.registry.get_sample_value("jpki_hsm_pin_tries_low", {"hsm": "hsm-1"})

    metrics.pin_tries_low("hsm-1")
    metrics.worker_changed("hsm-1", 0, WorkerState.READY)
    assert told("/var/lib/marker") == 1
    # A person has looked, and a login went well.
    metrics.worker_changed("hsm-1", 0, WorkerState.READY)
    assert told(None) == 0


def test_a_file_that_cannot_be_read_hides_no_other(configured: Configuration) -> None:
    """What is told is as much as is known; that the file is bad, others say."""
    configured.path("ends/responder.pem").write_text("no certificate")
    names = {one.name for one in certificates(configured)}
    assert "responder-client" not in names
    assert {"tls-server", "eligibility-client"} <= names


async def scraped(daemon: Daemon, beginning: str = "jpki_crl_") -> dict[str, float]:
    """Return what the daemon tells, by series, of what has this *beginning*: of lists."""
    async with aiohttp.ClientSession() as client, client.get(daemon.metrics) as answer:
        lines = (await answer.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith(beginning))
    return {name: float(value) for name, _, value in pairs}


async def status_of(site: Site) -> dict[str, Any]:
    """Return what an operator is told."""
    async with (
        aiohttp.ClientSession() as client,
        client.get(
            f"https://localhost:{site.port}/v1/status", ssl=client_context(site, "operator-1")
        ) as answer,
    ):
        told: dict[str, Any] = msgspec.json.decode(await answer.read())
    return told


def of_lists(status: dict[str, Any]) -> list[tuple[str, str | None, list[str]]]:
    """Return what *status* finds of revocation: verdict, advice, subjects."""
    return [
        (one["verdict"], one["advice"], one["subjects"])
        for one in status["findings"]
        if one["part"] == "revocation"
    ]


@pytest.fixture
def two_more_authorities(site: Site) -> Iterator[None]:
    """Two CAs of which no list comes are believed in for the length of a test; the second one has ended."""
    new, ended = (
        HolderAuthority.create(datetime.now(UTC) - timedelta(days=age)).generations[-1].certificate
        for age in (0, 30 * 365)
    )
    assert ended.not_valid_after_utc < datetime.now(UTC)
    for number, one in ((3, new), (4, ended)):
        (site.folder / f"authorities/ca-{number}.pem").write_bytes(one.public_bytes(Encoding.PEM))
    more = '"authorities/ca-2.pem", "authorities/ca-3.pem", "authorities/ca-4.pem"]'
    with site.changed(('"authorities/ca-2.pem"]', more)):
        yield


@pytest.mark.usefixtures("two_more_authorities")
async def test_an_authority_of_which_no_list_has_come_is_missed(daemon: Daemon, site: Site) -> None:
    """Everybody under it is refused, while others are served: it is named. One that has ended refuses nobody any more."""
    await asyncio.to_thread(daemon.reload)
    series, status = await scraped(daemon), await status_of(site)
    until = "jpki_crl_counts_until_timestamp_seconds"
    assert [name for name, value in series.items() if value == 0 and name.startswith(until)] == [
        f'{until}{{issuer="authority-3"}}'
    ]
    assert f'{until}{{issuer="authority-4"}}' not in series
    assert (status["ready"], status["condition"]["revocation"]["missing"]) == (True, ["authority-3"])
    assert of_lists(status) == [("warning", "list-missing", ["authority-3"])]


@pytest.mark.parametrize("damage", ["gone", "damaged"])
async def test_an_index_that_is_lost_is_told_as_one_without_lists(
    daemon: Daemon, site: Site, damage: str
) -> None:
    """What it said last counts no more, in the metrics either: no alert is silent by it."""
    await asyncio.to_thread(daemon.reload)
    (index,) = site.folder.glob(f"**/{INDEX}")
    before = await scraped(daemon)
    kept = index.rename(index.with_name("kept"))
    try:
        if damage == "damaged":
            index.write_bytes(kept.read_bytes()[:-1])
        lost, status = await scraped(daemon), await status_of(site)
    finally:
        kept.rename(index)
    assert lost.keys() == before.keys()
    assert set(lost.values()) == {0}
    assert of_lists(status) == [("failed", "list-missing", ["authority-1", "authority-2"])]
    assert (await scraped(daemon)) == before


async def test_hsms_of_a_configuration_that_is_refused_are_not_told_of(daemon: Daemon, site: Site) -> None:
    """Nobody has them: they would be down until somebody reads a good configuration, and the alert with them."""
    await asyncio.to_thread(daemon.reload)
    before = await scraped(daemon, "jpki_hsm_up")
    with site.changed(
        ('\nalias = "hsm-1"\n', '\nalias = "hsm-2"\n'),
        (f'\ntoken = "{softhsm.TOKEN_LABEL}"\n', '\ntoken = "none-of-this-name"\n'),
    ):
        told = len(daemon.logged())
        await asyncio.to_thread(daemon.reload)
        refused = [one["event"] for one in daemon.logged()[told:] if "configuration" in one["event"]]
        assert refused[-1].startswith("configuration refused code=hsm_"), refused
        after = await scraped(daemon, "jpki_hsm_")
    await asyncio.to_thread(daemon.reload)
    assert before == {'jpki_hsm_up{hsm="hsm-1"}': 1.0}
    gauges = ("up", "workers", "breaker_open", "pin_tries_low", "canary_timestamp_seconds")
    assert [
        name
        for name in after
        if "hsm-2" in name and name.startswith(tuple(f"jpki_hsm_{one}" for one in gauges))
    ] == []
    assert after['jpki_hsm_up{hsm="hsm-1"}'] == 1


async def test_lists_count_no_longer_than_the_site_allows(daemon: Daemon, site: Site) -> None:
    """A list that its issuer lets count for days is of no use after the longest age: told as such, as holders are refused."""
    before = await scraped(daemon)
    made = before['jpki_crl_this_update_timestamp_seconds{issuer="authority-2"}']
    hours = (time.time() - made) / 3600 / 2
    with site.changed(("longest_age_hours = 48.0", f"longest_age_hours = {hours:f}")):
        await asyncio.to_thread(daemon.reload)
        after = await scraped(daemon)
        status = await status_of(site)
        with site.card():
            async with (
                session(site) as client,
                client.post("/v1/authentications?wait=20", json=ORDER) as answer,
            ):
                job = await answer.json()
    await asyncio.to_thread(daemon.reload)
    until = 'jpki_crl_counts_until_timestamp_seconds{issuer="authority-2"}'
    due = 'jpki_crl_next_update_timestamp_seconds{issuer="authority-2"}'
    assert before[until] == pytest.approx(min(made + 48 * 3600, before[due]), abs=1)
    assert after[until] == pytest.approx(made + hours * 3600, abs=1)
    assert after[due] == before[due] > time.time() > after[until]
    assert (status["ready"], status["causes"]) == (False, ["revocation"])
    assert job["problem"]["code"] == "revocation_stale"
