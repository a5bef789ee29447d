"""How the appliance is, as it tells it: what ends, and until when what is known counts."""

import asyncio
import re
import time
from datetime import UTC, datetime, timedelta

import aiohttp
import msgspec
import pytest

from appliance import config
from appliance.config import Configuration
from appliance.daemon.condition import certificates, count_hsms
from appliance.hsm.health import HsmHealth, HsmState, KeyHealth, WorkerState
from appliance.hsm.messages import KeyLabel
from appliance.metrics import Metrics
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


def test_a_file_that_cannot_be_read_hides_no_other(configured: Configuration) -> None:
    """What is told is as much as is known; that the file is bad, others say."""
    configured.path("ends/responder.pem").write_text("no certificate")
    names = {one.name for one in certificates(configured)}
    assert "responder-client" not in names
    assert {"tls-server", "eligibility-client"} <= names


async def scraped(daemon: Daemon) -> dict[str, float]:
    """Return what the daemon tells of lists, by series."""
    async with aiohttp.ClientSession() as client, client.get(daemon.metrics) as answer:
        lines = (await answer.text()).splitlines()
    pairs = (line.rpartition(" ") for line in lines if line.startswith("jpki_crl_"))
    return {name: float(value) for name, _, value in pairs}


async def test_lists_count_no_longer_than_the_site_allows(daemon: Daemon, site: Site) -> None:
    """A list that its issuer lets count for days is of no use after the longest age: told as such, as holders are refused."""
    before = await scraped(daemon)
    made = before['jpki_crl_this_update_timestamp_seconds{issuer="authority-2"}']
    hours = (time.time() - made) / 3600 / 2
    with site.changed(("longest_age_hours = 48.0", f"longest_age_hours = {hours:f}")):
        await asyncio.to_thread(daemon.reload)
        after = await scraped(daemon)
        url = f"https://localhost:{site.port}/v1/status"
        async with (
            aiohttp.ClientSession() as client,
            client.get(url, ssl=client_context(site, "operator-1")) as answer,
        ):
            status = msgspec.json.decode(await answer.read())
        with site.card():
            async with (
                session(site) as client,
                client.post("/v1/authentications?wait=20", json=ORDER) as answer,
            ):
                job = await answer.json()
    await asyncio.to_thread(daemon.reload)
    until = 'jpki_crl_counts_until_timestamp_seconds{issuer="authority-2"}'
    due = 'jpki_crl_next_update_timestamp_seconds{issuer="authority-2"}'
    assert before[until] == pytest.approx(min(made + 48 * 3600, before[due]))
    assert after[until] == pytest.approx(made + hours * 3600, abs=1)
    assert after[due] == before[due] > time.time() > after[until]
    assert (status["ready"], status["causes"]) == (False, ["revocation"])
    assert job["problem"]["code"] == "revocation_stale"
