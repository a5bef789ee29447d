"""`jpki-appliance support-bundle`: useful, and without what may not leave the site, wherever that was written."""

import ast
import base64
import json
import os
import re
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast
from urllib.parse import quote

import msgspec
import pytest
from cryptography import x509
from prometheus_client import generate_latest

from appliance import config
from appliance.config import Configuration
from appliance.doctor import bundle, logs, series
from appliance.doctor.configuration import permissions
from appliance.doctor.disclosed import WITHHELD, disclosed
from appliance.errors import ConfigInvalid
from appliance.ledger import place
from appliance.ledger.store import stored_entries
from appliance.metrics import Metrics
from appliance.simulator.card_data import CardData
from tests.cli.conftest import files_of_at_most, run
from tests.cli.house import OPERATOR, RECEPTION, authenticated, furnished, serving
from tests.daemon.process import Daemon, Site

NAME, DRAWN = "浜田　紗英", "HAMADA SAE"
HOST, ACCOUNT, PASSWORD = "log.hamada-clinic.example.jp", "hamada-uketsuke", "Tsukimi-2217"
SOURCES = Path(logs.__file__).parents[1]
OTHER_PROCESSES = {"cli", "handover"}
"""Whose events are not in the log of the service."""
OTHERS = ("responder-authority", "eligibility-authority", "syslog-authority")


@dataclass(frozen=True)
class Planted:
    """The bundle's parts from a site where all *secrets* had been written wherever one can write."""

    parts: dict[str, bytes]
    names: tuple[str, ...]
    mode: int
    secrets: dict[str, bytes]
    said: str


def secrets_of(site: Site, token: str) -> dict[str, bytes]:
    """Return everything that may not get out, as bytes."""
    card = CardData.load(site.folder / "card")
    assert card.certificate is not None
    holder = x509.load_der_x509_certificate(card.certificate)
    serial = holder.serial_number
    (subject,) = holder.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    softhsm = site.folder / "softhsm"
    key = (site.folder / "tls" / "server-key.pem").read_bytes()
    entries: list[bytes] = []
    with place.store(config.load(site.file)).reading() as reader:
        entries += [content for _, content in stored_entries(reader, 0, reader.head().size)]
    assert entries
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return {
        "user PIN": (softhsm / "user.pin").read_bytes().strip(),
        "SO PIN": (softhsm / "so.pin").read_bytes().strip(),
        "pseudonym key": (site.folder / "pseudonym.key").read_bytes()[:24],
        "TLS key": b"".join(key.splitlines()[1:-1])[:48],
        "certificate": card.certificate[:64],
        "certificate's end": card.certificate[-48:],
        "serial": serial.to_bytes((serial.bit_length() + 7) // 8),
        "serial in decimal": str(serial).encode(),
        "subject": str(subject.value).encode(),
        "照合番号B": card.secrets.number_b.encode(),
        "token's payload": payload[:60].encode(),
        "token's signature": token.split(".")[2][:60].encode(),
        "pseudonym": str(claims["sub"]).encode(),
        "name": NAME.encode(),
        "drawn name": DRAWN.encode(),
        "host": HOST.encode(),
        "account": ACCOUNT.encode(),
        "password": PASSWORD.encode(),
        **{f"entry {number}": content[-24:] for number, content in enumerate(entries)},
    }


LEAST = 7
"""Bytes of a spelling; shorter ones turn up by chance."""


def written(secret: bytes) -> Iterator[bytes]:
    """Yield how *secret* may be written in a file."""
    yield from (one for one in _spellings(secret) if len(one) >= LEAST or one == secret)


def _spellings(secret: bytes) -> Iterator[bytes]:
    yield from (secret, secret.hex().encode(), secret.hex().upper().encode(), secret.hex(":").encode())
    for before in range(3):
        # Without the characters that depend on what stands before and behind it.
        encoded = base64.b64encode(bytes(before) + secret)[
            -(-8 * before // 6) : 8 * (before + len(secret)) // 6
        ]
        yield encoded
        yield encoded.replace(b"+", b"-").replace(b"/", b"_")
    try:
        text = secret.decode()
    except UnicodeDecodeError:
        return
    yield from (text[::-1].encode(), text.encode("utf-16-le"), text.encode("utf-16-be"))
    yield quote(text, safe="").encode()
    yield json.dumps(text)[1:-1].encode()
    if not text.isascii():
        for charset in ("shift_jis", "euc-jp"):
            # Random bytes that happen to be UTF-8 may be of any script.
            with suppress(UnicodeEncodeError):
                yield text.encode(charset)


def planted_log(daemon: Daemon, secrets: dict[str, bytes]) -> str:
    """Return the daemon's log with *secrets* in every place of a line that there is."""
    lines = daemon.log.read_text().splitlines()
    for secret in secrets.values():
        text = secret.decode("utf-8", "replace")
        for value in (text, secret.hex(), base64.b64encode(secret).decode()):
            lines += [
                json.dumps({"level": value, "time": value, "logger": value, "event": value, value: value}),
                json.dumps(
                    {
                        "time": "2026-11-22T01:02:03.456+00:00",
                        "level": "info",
                        "logger": "appliance.gateway.jobs",
                        "request": value,
                        "event": f"hsm failed hsm={value} code={value} ckr={value} {value}={value} detail={value}",
                        "error": [value, f"hsm_timeout: {value}"],
                        "at": [f"/opt/appliance/{value}.py:1 {value}"],
                        "name": value,
                    }
                ),
                json.dumps({"logger": f"appliance.{value}", "event": f"ready version={value}"}),
                value,
                f'"{value}"',
            ]
    return "\n".join(lines)


def planted_settings(site: Site, daemon: Daemon, secrets: dict[str, bytes]) -> str:
    """Return the site's configuration, with names of people and machines, and a PIN where its file should be named."""
    text = site.file.read_text()
    pin = secrets["user PIN"].decode()
    port = daemon.metrics.removesuffix("/metrics").rpartition(":")[2]
    for old, new in (
        ('pin_file = "softhsm/user.pin"', f'pin_file = "{pin}"'),
        ('name = "Virtual PCD 00 00"', f'name = "{NAME}"'),
        ('issuer = "jpki-appliance.example.jp"', f'issuer = "{HOST}"'),
    ):
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    text = re.sub(r"(?m)^port = 0$", f"port = {port}", text)
    return (
        f"{text}\n[ledger.syslog]\nhost = '{HOST}'\n"
        f"[[ledger.witness]]\nurl = 'https://{HOST}/{PASSWORD}'\nkey = '{HOST}'\n"
        f"[[peer]]\nalias = 'reception-9'\nrole = 'reception'\nuser = '{ACCOUNT}'\naudience = '{NAME}'\n"
    )


@pytest.fixture(scope="module")
def planted() -> Iterator[Planted]:
    """A bundle from a site full of what may not be in it. Nothing of it is left out because a part was missing."""
    import asyncio  # noqa: PLC0415 - a module's fixture has no loop of its own

    with furnished() as site, serving(site) as daemon, tempfile.TemporaryDirectory() as name:
        token = asyncio.run(authenticated(daemon))
        with site.changed((RECEPTION, OPERATOR)):
            daemon.reload()
            secrets = secrets_of(site, token)
            folder = Path(name)
            (folder / "log").write_text(planted_log(daemon, secrets))
            journalctl = folder / "journalctl"
            journalctl.write_text(f"#!/bin/sh\nexec cat {folder / 'log'}\n")
            journalctl.chmod(0o755)
            for number, secret in enumerate(secrets.values()):
                (site.folder / f"note-{number}.txt").write_bytes(secret)
            before = site.file.read_text()
            site.file.write_text(planted_settings(site, daemon, secrets))
            output = folder / "bundle.tar.gz"
            finished = run(
                "support-bundle",
                "--config",
                str(site.file),
                "--output",
                str(output),
                "--lines",
                "100000",
                **{**site.environment(), "PATH": f"{folder}:/usr/bin:/bin"},
            )
            site.file.write_text(before)
            assert finished.returncode == 0, finished.stderr
            with tarfile.open(output) as archive:
                members = archive.getmembers()
                parts = {one.name: cast("Any", archive.extractfile(one)).read() for one in members}
            described = tuple(f"{one.name} {one.uname} {one.gname} {one.linkname}" for one in members)
            yield Planted(
                parts,
                described,
                stat.S_IMODE(output.stat().st_mode),
                secrets,
                finished.stdout + finished.stderr,
            )


def part(planted: Planted, name: str) -> bytes:
    """Return the part called *name*."""
    return planted.parts[f"{bundle.FOLDER}/{name}"]


def test_nothing_that_was_planted_gets_out(planted: Planted) -> None:
    """No PIN, key, token, number, name or entry is in any part, in any of the usual spellings."""
    everything = {**planted.parts, "names": "\n".join(planted.names).encode(), "said": planted.said.encode()}
    for name, content in everything.items():
        for what, secret in planted.secrets.items():
            for spelling in written(secret):
                assert spelling not in content, f"{what} is in {name}"


def test_the_search_finds_what_is_there() -> None:
    """The search is no formality: each spelling of a secret is found where it stands in the middle of something."""
    secret = b"\x01\xfe-the-secret-itself-\x9d"
    for begin in range(5):
        text = base64.b64encode(b"x" * begin + secret + b"yyyy")
        assert any(spelling in text for spelling in written(secret))
    assert any(spelling in json.dumps({"a": NAME}).encode() for spelling in written(NAME.encode()))


def test_all_parts_are_there_and_of_use(planted: Planted) -> None:
    """Findings, configuration, versions, status, ledger, metrics and log: with what a supporter asks for first."""
    contents = json.loads(part(planted, "contents.json"))
    assert contents["missing"].keys() <= {"units.json"}, contents
    findings = json.loads(part(planted, "doctor.json"))
    assert {"check": "daemon", "verdict": "ok"}.items() <= {
        key: value for one in findings if one["check"] == "daemon" for key, value in one.items()
    }.items()
    assert any(one["code"] == "config_invalid" and "detail" not in one for one in findings)
    settings = json.loads(part(planted, "configuration.json"))
    assert settings["ledger"]["key"] == "softhsm/ledger.pub.pem"
    assert settings["hsm"]["pin_file"] == WITHHELD
    assert settings["result"]["pseudonym_key_file"] == "pseudonym.key"
    assert settings["ledger"]["syslog"] == {"host": WITHHELD, "port": 6514, "authority": None}
    assert json.loads(part(planted, "versions.json"))["packages"].keys() >= {"cryptography", "msgspec"}
    assert json.loads(part(planted, "status.json"))["ready"] is True
    ledger = json.loads(part(planted, "ledger.json"))
    assert ledger["head"]["size"] >= 2
    metrics = part(planted, "metrics.txt").decode()
    assert 'jpki_hsm_up{hsm="hsm-1"} 1.0' in metrics.splitlines()
    assert 'sink="directory"' in metrics
    log = [json.loads(line) for line in part(planted, "log.jsonl").splitlines()]
    events = [line["event"] for line in log]
    assert any(re.fullmatch(r"ready version=\S+", event) for event in events)
    assert "hsm failed" in events


def test_the_file_is_its_owners_alone_and_never_overwrites(planted: Planted, tmp_path: Path) -> None:
    """Mode 0600; an existing file stays as it is, and that is the error."""
    assert planted.mode == 0o600
    there = tmp_path / "there.tar.gz"
    there.write_text("mine")
    finished = run("support-bundle", "--config", str(tmp_path / "none.toml"), "--output", str(there))
    assert finished.returncode == 78
    assert "[config_invalid]" in finished.stderr
    assert there.read_text() == "mine"


def test_a_disk_that_fills_up_leaves_no_half_of_a_bundle(tmp_path: Path) -> None:
    """There is nothing under the name then, and so nothing in the way of the next try."""
    output, parts = tmp_path / "bundle.tar.gz", {"noise": os.urandom(1 << 16)}
    with files_of_at_most(1 << 12), pytest.raises(ConfigInvalid, match="File too large"):
        bundle.write(output, parts)
    assert not any(tmp_path.iterdir())
    bundle.write(output, parts)
    assert output.stat().st_size > 1 << 16


def test_without_a_configuration_there_is_a_bundle_all_the_same(tmp_path: Path) -> None:
    """What cannot be had is named as missing; the reason is a code."""
    output = tmp_path / "bundle.tar.gz"
    broken = tmp_path / "appliance.toml"
    broken.write_text(f'[hsm]\npin = "{PASSWORD}"\n')
    finished = run("support-bundle", "--config", str(broken), "--output", str(output), "--lines", "0")
    assert finished.returncode == 0, finished.stderr
    with tarfile.open(output) as archive:
        names = archive.getnames()
        everything = b"".join(cast("Any", archive.extractfile(name)).read() for name in names)
    assert f"{bundle.FOLDER}/doctor.json" in names
    assert f"{bundle.FOLDER}/configuration.json" not in names
    assert PASSWORD.encode() not in everything


def test_settings_nobody_has_thought_of_are_withheld() -> None:
    """The list is closed: of the annotated example, no text stands for itself that is neither a word nor a file."""
    example = config.load(SOURCES.parent / "hsm-config" / "appliance.toml")
    told = disclosed(example)
    assert told["result"] == {
        **cast("dict[str, object]", told["result"]),
        "issuer": WITHHELD,
        "audience": WITHHELD,
    }
    assert cast("dict[str, object]", told["ledger"])["origin"] == WITHHELD
    assert cast("list[dict[str, object]]", told["reader"])[0]["name"] == WITHHELD


def test_a_path_tells_no_account(tmp_path: Path) -> None:
    """Whose home a file lies in is left out, where the configuration names the file and where a finding does."""
    home = tmp_path / "home" / ACCOUNT
    home.mkdir(parents=True)
    pin = home / "keys" / "user.pin"
    pin.parent.mkdir()
    pin.write_text("1234")
    pin.chmod(0o644)
    example = config.load(SOURCES.parent / "hsm-config" / "appliance.toml")
    hsm = msgspec.structs.replace(example.settings.hsm, pin_file=str(pin))
    settings = msgspec.structs.replace(example.settings, hsm=hsm)
    here = Configuration(settings, home)
    told = cast("dict[str, object]", disclosed(here)["hsm"])
    assert told["pin_file"] == f"{tmp_path}/home/{WITHHELD}/keys/user.pin"
    (found,) = (one for one in permissions(here, home / "appliance.toml") if one.subject == "hsm.pin_file")
    assert str(pin) in found.detail
    assert ACCOUNT not in json.dumps(bundle._finding(found))


def logged() -> set[str]:
    """Return what the events of the service begin with, from its sources."""
    heads = set()
    for path in SOURCES.rglob("*.py"):
        if path.relative_to(SOURCES).parts[0] in OTHER_PROCESSES:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(
                    ast.Attribute(ast.Name("_LOG" | "_log"), "log"), [_, ast.Constant(str(text)), *_]
                ):
                    pass
                case ast.Call(ast.Attribute(ast.Name("_LOG" | "_log")), [ast.Constant(str(text)), *_]):
                    pass
                case _:
                    continue
            for written in ("hsm up", "hsm down") if text.startswith("hsm %s ") else (text,):
                head = re.fullmatch(r"([A-Za-z ]+?)(?: [a-z_]+=.*)?", written)
                assert head is not None, f"{path}: no event of words and name=value: {text}"
                heads.add(head[1])
    return heads


def test_the_events_are_those_that_the_daemon_writes() -> None:
    """What was renamed there is renamed here, and a new event is told, or left out."""
    assert logged() == logs.EVENTS | logs.LEFT_OUT


@pytest.mark.parametrize("rest", ["exec tac log", "while :; do cat request; done"])
def test_requests_keep_no_failure_out_of_the_bundle(rest: str, tmp_path: Path) -> None:
    """They are not told and not counted: what went wrong before an open console's thousands of them is there."""
    time, ours = "2026-11-22T01:02:03.456+00:00", "appliance.gateway.request_log"
    request = {"time": time, "level": "info", "logger": ours, "event": "request method=GET status=200"}
    failures = [
        {
            "time": time,
            "level": "warning",
            "logger": "appliance.gateway.jobs",
            "event": f"hsm failed count={number}",
        }
        for number in range(3)
    ]
    lines = [json.dumps(one) + "\n" for one in (*failures, *[request] * 3_000)]
    (tmp_path / "log").write_text("".join(lines))
    (tmp_path / "request").write_text(lines[-1])
    journalctl = tmp_path / "journalctl"
    newest_first = 'case "$*" in *--reverse*) ;; *) exit 1 ;; esac'
    journalctl.write_text(f"#!/bin/sh\ncd {tmp_path}\n{newest_first}\ntac log\n{rest}\n")
    journalctl.chmod(0o755)
    output = tmp_path / "bundle.tar.gz"
    arguments = ("--config", str(tmp_path / "none.toml"), "--output", str(output), "--lines", "2")
    finished = run("support-bundle", *arguments, PATH=f"{tmp_path}:/usr/bin:/bin")
    assert finished.returncode == 0, finished.stderr
    with tarfile.open(output) as archive:
        log = cast("Any", archive.extractfile(f"{bundle.FOLDER}/log.jsonl")).read()
    assert [json.loads(line)["event"] for line in log.splitlines()] == [
        "hsm failed count=1",
        "hsm failed count=2",
    ]


def test_what_is_counted_is_told_by_its_closed_labels() -> None:
    """All values that there are from the start may leave; what only a token says of itself may not."""
    metrics = Metrics()
    metrics.configured(["hsm-1"], ["ward-1"])
    metrics.know_sinks(["directory", "syslog"])
    for name in (*OTHERS, "authority", "tls-clients"):
        metrics.trust.certificate(f"{name}-1", 1.0)
    for name in ("tls-server", "responder-client", "eligibility-client"):
        metrics.trust.certificate(name, 1.0)
    metrics.trust.no_lists("authority-1")
    metrics.hsm_info.labels("hsm-1", HOST, HOST, HOST).set(1)
    lines = list(series.told(generate_latest(metrics.registry).decode(), frozenset({"hsm-1", "ward-1"})))
    hidden = [line for line in lines if WITHHELD in line]
    (only,) = hidden
    assert only.startswith("jpki_hsm_info{")
    assert only.count(WITHHELD) == 3
    assert 'jpki_connections_refused_total{cause="late"} 0.0' in lines
    assert 'jpki_holder_certificates_ending_total{within_days="30"} 0.0' in lines


@pytest.mark.parametrize(
    "line", ["", "{", "[]", "null", '"x"', "1", '{"event": {}}', '{"at": [1, null]}', "\ud800", "[" * 5000]
)
def test_lines_of_any_shape_are_taken(line: str) -> None:
    """What is no line of ours tells nothing, and stops nothing."""
    assert PASSWORD not in msgspec.json.encode(list(logs.told([line], frozenset()))).decode()


def test_metrics_of_others_tell_nothing() -> None:
    """A series that we do not register is left out, and a label's value that is none of ours is withheld."""
    scrape = f'node_uname_info{{nodename="{HOST}"}} 1\njpki_hsm_up{{hsm="{HOST}"}} 1.0\n# HELP {HOST}\n'
    assert list(series.told(scrape, frozenset({"hsm-1"}))) == [f'jpki_hsm_up{{hsm="{WITHHELD}"}} 1.0']


def test_where_something_arose_is_told_by_our_own_modules() -> None:
    """Module and line of an exception stay, and the code of its cause; its words and foreign places do not."""
    line = {
        "time": "2026-11-22T01:02:03.456+00:00",
        "level": "error",
        "logger": "appliance.daemon.vigil",
        "event": "does not work cause=ledger-unwritable code=ledger_unavailable",
        "error": ["ledger_unavailable: disk full of " + NAME, "OperationalError"],
        "at": ["/opt/x/appliance/daemon/vigil.py:142 Vigil.look", "/usr/lib/python3/asyncio/base.py:1 run"],
    }
    (told,) = logs.told([json.dumps(line)], frozenset())
    assert told == {
        "time": line["time"],
        "level": "error",
        "logger": "appliance.daemon.vigil",
        "event": "does not work cause=ledger-unwritable code=ledger_unavailable",
        "error": ["ledger_unavailable", "OperationalError"],
        "at": ["appliance/daemon/vigil.py:142"],
    }
