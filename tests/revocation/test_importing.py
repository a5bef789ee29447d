"""Importing lists: what counts, what is left aside, what changes nothing."""

import asyncio
import os
from collections import Counter
from datetime import timedelta
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.card.tlv import header
from appliance.errors import CertificateRevoked, RevocationStale, RevocationUnavailable
from appliance.revocation import importing
from appliance.revocation.importer import import_lists
from appliance.revocation.importing import Outcome, Report
from appliance.revocation.index import Edition
from appliance.revocation.lists import ListSource
from appliance.revocation.watch import watch
from appliance.simulator.people import MIDORI
from appliance.simulator.pki import Hierarchy
from appliance.trust.certificates import HolderCertificate
from appliance.trust.crl import LARGEST
from appliance.trust.revocation import Assurance, Lists, Method, Revocation, Scope, distribution_point
from tests.revocation.conftest import MakeHolder, Site

HOUR = timedelta(hours=1)
_RSA_SHA256 = bytes.fromhex("300d06092a864886f70d01010b0500")


def scope(holder: HolderCertificate) -> Scope:
    """Return the scope of *holder*."""
    return Scope.of(holder.issuer, distribution_point(holder.certificate))


def serials(site: Site, holder: HolderCertificate) -> list[int]:
    """Return what the index lists for the municipality of *holder*."""
    return list(site.index.edition.serials(scope(holder)))


async def test_a_holder_who_is_not_listed_is_good(site: Site, holder: HolderCertificate) -> None:
    """The result says by which list, of which times, and that the knowledge is cached."""
    site.deliver("aoba.crl", (holder.certificate.serial_number ^ 1,), number=41)
    assert site.outcomes() == {"aoba.crl": "imported"}
    standing = await ListSource(site.index, 48 * HOUR).check(holder, site.now)
    assert (standing.result, standing.method, standing.assurance) == (
        Revocation.GOOD,
        Method.CRL,
        Assurance.CACHED,
    )
    assert (standing.checked_at, standing.this_update) == (site.now, site.now)
    assert isinstance(standing.basis, Lists)
    assert standing.basis.number == 41


async def test_a_holder_who_is_listed_is_revoked(site: Site, holder: HolderCertificate) -> None:
    """A listed serial number is a refusal of its own, which says when and not whom."""
    serial = holder.certificate.serial_number
    site.deliver("aoba.crl", (serial,))
    site.run()
    with pytest.raises(CertificateRevoked) as caught:
        await ListSource(site.index, 48 * HOUR).check(holder, site.now)
    assert str(serial) not in str(caught.value)


async def test_another_municipalitys_list_clears_nobody(
    site: Site, holder: HolderCertificate, make_holder: MakeHolder
) -> None:
    """A list counts for its own municipality, and for the generation that signed it (ruling 27)."""
    site.deliver("midori.crl", municipality=MIDORI)
    site.run()
    source = ListSource(site.index, 48 * HOUR)
    assert (await source.check(make_holder(MIDORI), site.now)).result is Revocation.GOOD
    for other in (holder, make_holder(MIDORI, generation=1)):
        with pytest.raises(RevocationUnavailable):
            await source.check(other, site.now)


async def test_a_list_ends(site: Site, holder: HolderCertificate) -> None:
    """After nextUpdate, or beyond the age that the site allows, a list answers nothing any more."""
    site.deliver("aoba.crl", life=10 * HOUR)
    site.run()
    for longest, end in ((48 * HOUR, 10 * HOUR), (2 * HOUR, 2 * HOUR)):
        source = ListSource(site.index, longest)
        assert (await source.check(holder, site.now + end)).result is Revocation.GOOD
        with pytest.raises(RevocationStale):
            await source.check(holder, site.now + end + timedelta(seconds=1))


async def test_a_list_that_is_over_when_it_comes_is_called_stale(
    site: Site, holder: HolderCertificate
) -> None:
    """With nothing better at hand the answer says until when something was known: stale, and not unavailable."""
    source = ListSource(site.index, 48 * HOUR)
    for number, age in ((10, 100), (11, 90)):
        site.deliver(f"{number}.crl", number=number, now=site.now - age * HOUR, life=24 * HOUR)
        assert site.outcomes() == {f"{number}.crl": "ended"}
        over = site.now - (age - 24) * HOUR
        with pytest.raises(RevocationStale, match=f"until {over:%Y-%m-%d %H:%M} UTC"):
            await source.check(holder, site.now)
    site.deliver("9.crl", number=9, now=site.now - 110 * HOUR, life=24 * HOUR)
    assert site.outcomes() == {"9.crl": "superseded"}
    site.deliver("delta.crl", (holder.certificate.serial_number,), number=12, base=11)
    assert site.outcomes() == {"delta.crl": "imported"}
    with pytest.raises(CertificateRevoked):
        await source.check(holder, site.now)


async def test_a_clock_set_back_is_noticed(site: Site, holder: HolderCertificate) -> None:
    """A list from the future tells that the clock is wrong; it answers nothing."""
    site.deliver("aoba.crl")
    site.run()
    with pytest.raises(Exception, match="revocation_data_invalid"):
        await ListSource(site.index, 48 * HOUR).check(holder, site.now - HOUR)


async def test_without_an_index_nothing_is_known(site: Site, holder: HolderCertificate) -> None:
    """Before the first import the answer is unavailable, which is not good."""
    with pytest.raises(RevocationUnavailable):
        await ListSource(site.index, HOUR).check(holder, site.now)


def test_order_of_delivery_does_not_matter(site: Site, holder: HolderCertificate) -> None:
    """Of several lists the newest counts, in whatever order they lie there; the others are superseded."""
    site.deliver("a.crl", (3,), number=12)
    site.deliver("b.crl", (1,), number=10, now=site.now - 2 * HOUR)
    site.deliver("c.crl", (2,), number=11, now=site.now - HOUR)
    assert site.outcomes()["a.crl"] == "imported"
    assert serials(site, holder) == [3]
    site.deliver("d.crl", (1,), number=9, now=site.now - 3 * HOUR)
    assert site.outcomes() == {"d.crl": "superseded"}
    assert serials(site, holder) == [3]


def test_deltas_wait_for_what_they_start_from(site: Site, holder: HolderCertificate) -> None:
    """A delta without its list changes nothing; when the list comes, both count together."""
    site.deliver("delta.crl", (9,), number=12, base=10, removed=(4,))
    assert site.outcomes() == {"delta.crl": "without-base"}
    site.deliver("full.crl", (4, 5), number=10, now=site.now - HOUR)
    assert site.outcomes() == {"delta.crl": "imported", "full.crl": "imported"}
    assert serials(site, holder) == [5, 9]
    site.deliver("next.crl", (11,), number=13, base=12, removed=(5,), now=site.now + timedelta(minutes=1))
    assert site.outcomes() == {"next.crl": "imported"}
    assert serials(site, holder) == [9, 11]
    listing = site.index.edition.listings[scope(holder)]
    assert (listing.number, listing.complete, len(listing.digests)) == (13, 10, 3)


def test_what_was_rolled_back_is_refused(site: Site, holder: HolderCertificate) -> None:
    """A lower number with a later time, or a higher one with an earlier, contradicts itself and changes nothing."""
    site.deliver("a.crl", (1,), number=10)
    site.run()
    site.deliver("b.crl", number=9, now=site.now + timedelta(minutes=1))
    site.deliver("c.crl", number=11, now=site.now - HOUR)
    assert site.outcomes() == {"b.crl": "rolled-back", "c.crl": "rolled-back"}
    assert serials(site, holder) == [1]


def test_the_last_good_list_stays(site: Site, holder: HolderCertificate) -> None:
    """Whatever bad is delivered, what was known is still known, and each file has its reason."""
    good = site.deliver("aoba.crl", (1, 2))
    site.run()
    site.put("aoba.crl", good[:-1])
    site.put("noise.crl", b"\x30\x03noise")
    site.put("empty.crl", b"")
    site.put(".half-written", good[:100])
    site.deliver("stale.crl", number=20, now=site.now - 48 * HOUR)
    site.deliver("future.crl", number=30, now=site.now + HOUR)
    assert site.outcomes() == {
        "aoba.crl": "malformed",
        "noise.crl": "malformed",
        "empty.crl": "malformed",
        "stale.crl": "stale",
        "future.crl": "future",
    }
    assert serials(site, holder) == [1, 2]
    assert site.outcomes(site.now + HOUR) == {"future.crl": "imported"}
    assert serials(site, holder) == []


def test_a_huge_file_is_not_read(site: Site) -> None:
    """What is larger than any list is refused by its size alone."""
    site.put("huge.crl", b"")
    os.truncate(site.folder / "huge.crl", LARGEST + 1)
    assert site.outcomes() == {"huge.crl": "too-large"}


def test_another_issuers_list_says_nothing(site: Site, hierarchy: Hierarchy) -> None:
    """A list of the CA for digital signatures is no list of the CA for user authentication."""
    signing = hierarchy.signing
    start = site.now
    crl = (
        x509.CertificateRevocationListBuilder(signing.ca.subject, start, start + HOUR)
        .add_extension(x509.CRLNumber(1), critical=False)
        .sign(signing.key, SHA256())
    )
    site.put("other.crl", crl.public_bytes(Encoding.DER))
    assert site.outcomes() == {"other.crl": "issuer"}


def test_nothing_is_read_twice(site: Site) -> None:
    """A file that was dealt with is known by name, size and time, also by a new process."""
    site.deliver("aoba.crl")
    site.deliver("midori.crl", municipality=MIDORI)
    first, second = site.run(), site.run()
    assert (len(first.files), first.known, first.lists) == (2, 0, 2)
    assert (len(second.files), second.known, second.lists) == (0, 2, 2)


def test_an_edition_is_whole_or_not_there(site: Site, holder: HolderCertificate) -> None:
    """A reader keeps the edition that it has opened while the next takes its place, and sees it at the next look."""
    site.deliver("aoba.crl", (1,))
    site.run()
    index = site.index
    before = index.edition
    site.deliver("aoba-2.crl", (2,), number=11, now=site.now + timedelta(minutes=1))
    site.run()
    assert list(before.serials(scope(holder))) == [1]
    assert list(index.edition.serials(scope(holder))) == [2]
    assert sorted(path.name for path in site.state.iterdir()) == ["revoked.index", "revoked.lock"]


@pytest.mark.parametrize("place", [0, 20, 60, -5])
def test_a_damaged_index_is_noticed_and_made_anew(site: Site, holder: HolderCertificate, place: int) -> None:
    """One changed byte anywhere is noticed when it is needed; the next import reads the lists again."""
    site.deliver("aoba.crl", tuple(range(1, 200)))
    site.run()
    path = site.index.path
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(RevocationUnavailable, match="damaged"):
        site.index.edition.contains(scope(holder), 5)
    site.deliver("midori.crl", municipality=MIDORI)
    report = site.run()
    assert (report.unreadable, report.damaged) == ((False, 1) if place == 60 else (True, 0))
    assert site.index.edition.contains(scope(holder), 5)
    assert (site.run().unreadable, site.run().damaged) == (False, 0)


def test_lists_that_are_lost_with_the_index_are_told(site: Site) -> None:
    """Where the files are gone, too, nothing is known any more: that is no import like another."""
    site.deliver("aoba.crl", (1,))
    assert not site.run().unreadable
    (site.folder / "aoba.crl").unlink()
    content = bytearray(site.index.path.read_bytes())
    content[-5] ^= 1
    site.index.path.write_bytes(content)
    report = site.run()
    assert (report.lists, report.unreadable) == (0, True)


def test_one_damaged_list_is_one_lists_damage(site: Site, holder: HolderCertificate) -> None:
    """Where its file is gone it is given up, and that is told; the others stay, whether their files do or not."""
    site.deliver("aoba.crl", tuple(range(1, 200)))
    site.run()
    site.deliver("midori.crl", (7, 8), municipality=MIDORI)
    site.run()
    for name in ("aoba.crl", "midori.crl"):
        (site.folder / name).unlink()
    listings = site.index.edition.listings.values()
    damaged = next(listing for listing in listings if listing.scope == scope(holder))
    content = bytearray(site.index.path.read_bytes())
    content[damaged.offset] ^= 1
    site.index.path.write_bytes(content)
    report = site.run()
    assert (report.lists, report.damaged) == (1, 1)
    assert [listing.count for listing in site.index.edition.listings.values()] == [2]
    assert site.run().damaged == 0


def test_a_delta_that_is_replaced_meanwhile_does_not_take_its_list_along(
    site: Site, holder: HolderCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The complete list counts at once; the delta that came in its place does at the next import."""
    minute = timedelta(minutes=1)
    site.deliver("full.crl", (1,), now=site.now - 3 * minute)
    site.run()
    site.deliver("full-11.crl", (1, 2), number=11, now=site.now - 2 * minute)
    site.deliver("delta.crl", (3,), number=12, base=11, now=site.now - minute)
    read, looks = Path.read_bytes, Counter[str]()

    def replaced(path: Path) -> bytes:
        looks[path.name] += 1
        if (path.name, looks[path.name]) == ("delta.crl", 2):
            site.deliver("delta.crl", (3, 4), number=13, base=11)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", replaced)
    assert site.outcomes() == {"full-11.crl": "imported", "delta.crl": "malformed"}
    assert serials(site, holder) == [1, 2]
    assert site.outcomes() == {"delta.crl": "imported"}
    assert serials(site, holder) == [1, 2, 3, 4]


def test_a_list_that_is_replaced_meanwhile_does_not_take_its_delta_along(
    site: Site, holder: HolderCertificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The delta counts at once where it fits what is known; the list is told, with what was wrong with it."""
    minute = timedelta(minutes=1)
    site.deliver("full.crl", (1,), number=5, now=site.now - 3 * minute)
    site.run()
    site.deliver("full-6.crl", (1, 2), number=6, now=site.now - 2 * minute)
    site.deliver("delta.crl", (2, 3), number=7, base=5, now=site.now - minute)
    read, looks = Path.read_bytes, Counter[str]()

    def replaced(path: Path) -> bytes:
        looks[path.name] += 1
        if (path.name, looks[path.name]) == ("full-6.crl", 2):
            site.deliver("full-6.crl", (1, 2, 4), number=8)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", replaced)
    refused, imported = sorted(site.run().files, key=lambda report: report.outcome is Outcome.IMPORTED)
    assert (imported.name, imported.outcome) == ("delta.crl", Outcome.IMPORTED)
    assert (refused.name, refused.detail) == ("full-6.crl", "the file was changed while it was imported")
    assert serials(site, holder) == [1, 2, 3]
    assert site.outcomes() == {"full-6.crl": "imported"}
    assert serials(site, holder) == [1, 2, 4]


@pytest.mark.parametrize("bad", ["full-6.crl", "delta.crl"])
def test_a_list_whose_entries_cannot_be_read_is_left_aside(
    site: Site, holder: HolderCertificate, bad: str
) -> None:
    """It is signed, and of no use: whichever it is, the others that are whole count, and no other is blamed."""
    minute = timedelta(minutes=1)
    site.deliver("full.crl", (1,), number=5, now=site.now - 3 * minute)
    site.deliver("full-6.crl", (1, 101), number=6, now=site.now - 2 * minute)
    site.deliver("delta.crl", (101,), number=7, base=5, now=site.now - minute)
    content = x509.load_der_x509_crl((site.folder / bad).read_bytes()).tbs_certlist_bytes
    assert content.count(b"\x02\x01\x65") == 1
    signed = content.replace(b"\x02\x01\x65", b"\x02\x01\xff")
    signature = site.hierarchy.holders.generations[-1].key.sign(signed, PKCS1v15(), SHA256())
    bits = header(0x03, len(signature) + 1) + b"\x00" + signature
    whole = signed + _RSA_SHA256 + bits
    site.put(bad, header(0x30, len(whole)) + whole)
    outcomes = site.outcomes()
    assert {name for name, outcome in outcomes.items() if outcome == "malformed"} == {bad}
    assert serials(site, holder) == [1, 101]
    assert site.index.edition.listings[scope(holder)].number == (7 if bad == "full-6.crl" else 6)


def test_a_file_that_goes_while_it_is_looked_at_is_no_failure(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A site's job may take files away at any time."""
    site.deliver("aoba.crl")
    site.deliver("midori.crl", municipality=MIDORI)
    listed = importing.candidates

    def gone(folder: Path) -> list[Path]:
        found = listed(folder)
        (folder / "aoba.crl").unlink(missing_ok=True)
        return found

    monkeypatch.setattr(importing, "candidates", gone)
    assert site.outcomes() == {"midori.crl": "imported"}


def test_an_index_of_another_version_is_made_anew(site: Site) -> None:
    """A directory that this version cannot read is no reason for anybody to delete a file by hand."""
    site.deliver("aoba.crl")
    site.run()
    content = site.index.path.read_bytes()
    start = int.from_bytes(content[8:16])
    newer = msgspec.json.encode({**msgspec.json.decode(content[start:]), "newer": 1})
    head = content[:16] + len(newer).to_bytes(8) + sha256(newer).digest()
    site.index.path.write_bytes(head + content[len(head) : start] + newer)
    with pytest.raises(RevocationUnavailable, match="version"):
        Edition.open(site.index.path)
    assert site.outcomes() == {"aoba.crl": "imported"}


async def test_a_list_that_is_being_written_starts_no_import(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Names that begin with a dot are a delivery's own: the watch does not look at them either."""
    imports = 0
    looks: asyncio.Queue[None] = asyncio.Queue()
    loop = asyncio.get_running_loop()

    def looked(folder: Path) -> list[Path]:
        loop.call_soon_threadsafe(looks.put_nowait, None)
        return importing.candidates(folder)

    monkeypatch.setattr("appliance.revocation.watch.candidates", looked)

    async def count() -> Report:
        nonlocal imports
        imports += 1
        (site.folder / f".{imports}.crl").write_bytes(b"")
        return Report((), 0, 0, 0, None)

    watching = asyncio.create_task(watch(site.folder, count, 0.001))
    async with asyncio.timeout(30):
        for _ in range(3):
            # The third look comes after whatever the second has led to.
            await looks.get()
    watching.cancel()
    assert imports == 1


@pytest.mark.parametrize(
    ("report", "told"),
    [
        (Report((), 0, 0, 0, None, unreadable=True), "revocation index unreadable"),
        (Report((), 0, 1, 1, None, damaged=1), "revocation index damaged"),
    ],
)
async def test_an_index_that_was_given_up_is_logged(
    site: Site, caplog: pytest.LogCaptureFixture, report: Report, told: str
) -> None:
    """Nobody reads an import's report in the daemon: what was lost is a warning there."""
    logged = asyncio.Event()

    async def import_now() -> Report:
        logged.set()
        return report

    watching = asyncio.create_task(watch(site.folder, import_now, 60))
    await logged.wait()
    await asyncio.sleep(0)
    watching.cancel()
    assert [one.message for one in caplog.records if one.levelname == "WARNING"] == [told]


@given(st.sets(st.integers(1, (1 << 159) - 1), max_size=40), st.lists(st.integers(1, (1 << 160) - 1)))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=40)
def test_the_index_knows_exactly_what_is_listed(
    site: Site, holder: HolderCertificate, listed: set[int], asked: list[int]
) -> None:
    """Serial numbers of any length up to 20 bytes are found if listed, and no other is."""
    (site.state / "revoked.index").unlink(missing_ok=True)
    site.deliver("aoba.crl", tuple(listed))
    site.run()
    edition = site.index.edition
    for serial in {*listed, *asked, *(number + 1 for number in listed)}:
        assert edition.contains(scope(holder), serial) is (serial in listed)


async def test_the_import_is_a_process_of_its_own(site: Site, holder: HolderCertificate) -> None:
    """The daemon's loop goes on turning while a list is read, and sees the result at its next look."""
    site.deliver("aoba.crl", (holder.certificate.serial_number,))
    turns = 0

    async def turn() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    turning = asyncio.create_task(turn())
    report = await import_lists(site.folder, site.state, site.anchors)
    turning.cancel()
    assert (report.lists, report.entries) == (1, 1)
    assert turns > 10
    with pytest.raises(CertificateRevoked):
        await ListSource(site.index, 48 * HOUR).check(holder, site.now)


async def test_a_folder_that_is_missing_is_told(site: Site) -> None:
    """Where the folder cannot be read, the import says so and the index stays."""
    site.folder.rmdir()
    with pytest.raises(RevocationUnavailable, match="folder"):
        await import_lists(site.folder, site.state, site.anchors)


def test_an_edition_of_another_make_is_refused(site: Site) -> None:
    """A file that is no index is not taken for one."""
    site.state.mkdir()
    (site.state / "revoked.index").write_bytes(bytes(100))
    with pytest.raises(RevocationUnavailable, match="damaged"):
        Edition.open(site.state / "revoked.index")
