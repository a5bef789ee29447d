"""The hand-over as a process, with the daemon, a card, and reception software that only knows files."""

import asyncio
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.catalogue import Language, error_text
from tests.daemon.process import SECONDS, Daemon, Site, session
from tests.handover.desk import REQUEST, Reception, serving

IVS = "葛\U000e0100城"


@pytest.fixture
def reception(site: Site) -> Iterator[Reception]:
    """Reception at the daemon's site, with empty folders."""
    here = Reception(site.folder)
    here.configure()
    yield here
    for folder in (here.requests, here.results, here.work):
        if folder.exists():
            for path in folder.rglob("*"):
                if not path.is_dir():
                    path.unlink()


def test_a_request_becomes_a_result(daemon: Daemon, reception: Reception) -> None:
    """With token and claims, what was to be echoed, and nothing left of the request."""
    with daemon.site.card(), serving(reception) as handover:
        reception.ask("visit-1", nonce="visit-4711", echo={"name": IVS, "chart": "chart-42"}, evidence=True)
        result = reception.result("visit-1")
        assert (result["outcome"], result["request"], result["encoding"]) == (
            "authenticated",
            "visit-1",
            "utf-8",
        )
        assert result["claims"]["nonce"] == "visit-4711"
        assert result["token"].count(".") == 2
        assert json.loads(result["evidence"])
        assert result["echo"] == {"name": IVS, "chart": "chart-42"}
        assert IVS.encode() in reception.raw("visit-1")
        reception.gone(reception.requests / "visit-1.json")
        assert (reception.results / "visit-1.json").stat().st_mode & 0o777 == 0o640
        log = handover.log.read_text()
    for personal in ("visit-1", "visit-4711", "chart-42", "葛", result["token"], result["claims"]["sub"]):
        assert personal not in log


def test_shift_jis_loses_nothing(daemon: Daemon, reception: Reception) -> None:
    """What does not fit is there as an escape, and is named by its code points; the rest is Shift_JIS."""
    with daemon.site.card(), serving(reception):
        name = f"{IVS} 髙橋 𠮷 〜 表"
        reception.ask("visit-2", encoding="shift_jis", echo={"name": name})
        raw = reception.raw("visit-2")
    result = json.loads(raw.decode("cp932"))
    assert result["echo"]["name"] == name
    assert "髙橋".encode("cp932") in raw
    assert result["unencodable"] == [
        {"at": "echo.name", "characters": ["U+845B U+E0100", "U+20BB7", "U+301C"]}
    ]


def test_a_refusal_is_for_the_clerk(daemon: Daemon, reception: Reception) -> None:
    """The appliance's code and text, in the language of the request, and the number for the telephone."""
    with serving(reception):
        for language in Language:
            reception.ask(
                f"far-{language}",
                desk="desk-9",
                mode="pin",
                identity_check=None,
                language=language,
                echo={"chart": "1"},
            )
            result = reception.result(f"far-{language}")
            assert (result["outcome"], result["code"]) == ("refused", "desk_unknown")
            assert result["clerk"] == error_text("desk_unknown").clerk.in_language(language)
            assert result["echo"] == {"chart": "1"}
            assert any(line["request"] == result["request_id"] for line in daemon.logged())


def test_outside_of_an_emergency_window_nobody_is_let_pass(daemon: Daemon, reception: Reception) -> None:
    """Software that only writes files hears what the clerk has to do, as any other."""
    with daemon.site.card(), serving(reception):
        reception.ask("emergency", identity_check={"method": "none_emergency"})
        result = reception.result("emergency")
    assert (result["outcome"], result["code"]) == ("refused", "emergency_closed")


def test_a_request_is_done_once(daemon: Daemon, reception: Reception) -> None:
    """The same name again is refused beside the first result, also after a restart and when the result is gone."""
    with daemon.site.card():
        with serving(reception):
            reception.ask("visit-3")
            first = reception.raw("visit-3")
            reception.ask("visit-3")
            assert reception.result("visit-3~repeated")["code"] == "handover_repeated"
            assert reception.raw("visit-3") == first
        for result in reception.results.iterdir():
            result.unlink()
        with serving(reception):
            reception.ask("VISIT-3")
            assert reception.result("VISIT-3~repeated")["code"] == "handover_repeated"
            assert not (reception.results / "VISIT-3.json").exists()


def test_rubbish_beside_a_running_request_leaves_its_result_alone(
    daemon: Daemon, reception: Reception
) -> None:
    """Whatever is put there under a name that was begun is answered beside it."""
    with daemon.site.card(), serving(reception):
        reception.ask("visit-4")
        first = reception.raw("visit-4")
        reception.put("visit-4", b"rubbish")
        assert reception.result("visit-4~repeated")["code"] == "handover_request_invalid"
        assert reception.raw("visit-4") == first


def test_half_written_files_are_waited_for(daemon: Daemon, reception: Reception) -> None:
    """A request that is written slowly in its place is carried out when it is whole."""
    content = json.dumps(REQUEST).encode()
    patient = ("settle_seconds = 2.0", "settle_seconds = 30.0")
    with (
        daemon.site.card(),
        serving(reception, patient),
        (reception.requests / "slow.json").open("wb") as file,
    ):
        for byte in (content[:10], content[10:20], content[20:]):
            file.write(byte)
            file.flush()
            time.sleep(0.1)
        assert reception.result("slow")["outcome"] == "authenticated"


@pytest.mark.usefixtures("daemon")
def test_what_is_hostile_is_refused_and_removed(reception: Reception, tmp_path: Path) -> None:
    """Links, pipes, sockets, folders, sizes, names, encodings, paths: each has an answer, and nothing hangs."""
    secret = tmp_path / "secret.json"
    secret.write_text(json.dumps(REQUEST))
    made = {name: reception.requests / f"{name}.json" for name in ("soft", "hard", "pipe", "socket", "full")}
    with serving(reception), socket.socket(socket.AF_UNIX) as listening:
        made["soft"].symlink_to(secret)
        os.link(secret, made["hard"])
        os.mkfifo(made["pipe"])
        listening.bind(str(made["socket"]))
        made["full"].mkdir()
        (made["full"] / "x").touch()
        (reception.requests / "device.json").symlink_to("/dev/zero")
        (reception.requests / "-rf $(x).json").write_text(json.dumps(REQUEST))
        os.close(os.open(os.fsencode(reception.requests) + b"/\xff\xfe.json", os.O_CREAT | os.O_WRONLY))
        reception.put("large", b" " * (1 << 20))
        for name in (*made, "device", "large"):
            assert reception.result(name)["code"] == "handover_file_refused", name
        for name, content in {
            "empty": b"",
            "latin": json.dumps(REQUEST | {"echo": {"a": "é"}}, ensure_ascii=False).encode("latin-1"),
            "sjis": json.dumps(REQUEST | {"echo": {"a": "表"}}, ensure_ascii=False).encode("cp932"),
            "utf16": json.dumps(REQUEST).encode("utf-16"),
            "deep": b"[" * 10_000,
            "unknown": json.dumps(REQUEST | {"result_file": "/etc/passwd"}).encode(),
            "path": json.dumps(REQUEST | {"desk": "../../desk-1"}).encode(),
            "echoed": json.dumps(REQUEST | {"echo": {"../a": "b"}}).encode(),
            "half": json.dumps(REQUEST).encode()[:-3],
            "visual": json.dumps(
                REQUEST | {"identity_check": {"method": "visual", "operator": "a"}}
            ).encode(),
            "two": json.dumps(REQUEST).encode() * 2,
        }.items():
            reception.put(name, content)
            result = reception.result(name)
            assert (result["code"], bool(result["clerk"])) == ("handover_request_invalid", True), name
        unnamed = [path for path in reception.results.iterdir() if path.name.startswith("unnamed~")]
        assert len(unnamed) == 2
        for path in reception.requests.iterdir():
            reception.gone(path)
    assert secret.read_text() == json.dumps(REQUEST)
    assert not list(reception.results.glob("*passwd*"))


def test_many_files_keep_nobody_waiting(daemon: Daemon, reception: Reception) -> None:
    """Thousands of files of rubbish do not keep a request from being carried out."""
    for number in range(3000):
        (reception.requests / f"rubbish-{number}.json").touch()
    with daemon.site.card(), serving(reception):
        reception.ask("visit-5")
        assert reception.result("visit-5")["outcome"] == "authenticated"


@pytest.mark.usefixtures("daemon")
def test_a_request_that_lay_too_long_is_not_carried_out(reception: Reception) -> None:
    """Nobody is at the desk for it any more."""
    reception.ask("old")
    os.utime(reception.requests / "old.json", (time.time() - 301,) * 2)
    with serving(reception):
        assert reception.result("old")["code"] == "handover_late"


@pytest.mark.usefixtures("daemon")
def test_a_request_from_the_future_is_not_carried_out(reception: Reception) -> None:
    """With its time ahead it would stay young for longer than anybody waits at the desk."""
    reception.ask("ahead")
    os.utime(reception.requests / "ahead.json", (time.time() + 3600,) * 2)
    with serving(reception):
        assert reception.result("ahead")["code"] == "handover_late"


@pytest.mark.usefixtures("daemon")
def test_results_do_not_stay(reception: Reception) -> None:
    """They are about patients; what others have put there is theirs."""
    others = reception.results / "note.txt"
    others.write_text("theirs")
    os.utime(others, (0, 0))
    with serving(reception, ("keep_seconds = 900.0", "keep_seconds = 1.0")):
        reception.put("short", b"{}")
        reception.result("short")
        reception.gone(reception.results / "short.json")
    assert others.exists()


def test_an_interruption_is_told_and_nothing_done_twice(daemon: Daemon, reception: Reception) -> None:
    """Killed in the middle, the next process answers; ended politely, it answers itself and frees the desk."""
    with serving(reception) as handover:
        reception.ask("crash")
        handover.logged("request begun")
        handover.end(signal.SIGKILL)
    assert not (reception.results / "crash.json").exists()
    with serving(reception) as handover:
        assert reception.result("crash")["code"] == "handover_interrupted"
        # Nobody has cancelled the killed one's authentication; it ends when a card has come.
        with daemon.site.card():
            _wait_for(daemon, "card")
        _wait_for(daemon, "empty")
        reception.ask("polite")
        _wait_for(daemon, "busy")
        assert handover.end() == 0
    assert reception.result("polite")["code"] == "handover_interrupted"
    # Which it is not by itself for long: a card may take more time to come than is waited here.
    _wait_for(daemon, "empty")
    with daemon.site.card(), serving(reception):
        reception.ask("after")
        assert reception.result("after")["outcome"] == "authenticated"


def _wait_for(daemon: Daemon, state: str) -> None:
    """Wait until the desk at the site is in *state*."""

    async def waiting() -> None:
        async with asyncio.timeout(SECONDS), session(daemon.site) as client:
            while True:
                async with client.get("/v1/terminals") as answer:
                    desks = {one["desk"]: one["state"] for one in (await answer.json())["desks"]}
                if desks["desk-1"] == state:
                    return
                await asyncio.sleep(0.05)

    asyncio.run(waiting())


@pytest.mark.usefixtures("daemon")
def test_what_was_claimed_and_not_begun_is_carried_out(reception: Reception) -> None:
    """A crash between the two costs nothing."""
    reception.work.mkdir(exist_ok=True)
    (reception.work / f"claimed~{'0' * 16}").write_text(
        json.dumps({"version": 1, "desk": "desk-9", "mode": "pin"})
    )
    with serving(reception):
        assert reception.result("claimed")["code"] == "desk_unknown"


def test_folders_that_go_away_come_back(daemon: Daemon, reception: Reception) -> None:
    """Without the request folder it waits, without the result folder it keeps the result, and the process stays."""
    with daemon.site.card(), serving(reception) as handover:
        away = reception.requests.rename(reception.requests.with_name("away"))
        handover.logged("folder away folder=requests")
        away.rename(reception.requests)
        handover.logged("folder back folder=requests")
        away = reception.results.rename(reception.results.with_name("away"))
        reception.ask("visit-6")
        handover.logged("folder away folder=results")
        away.rename(reception.results)
        assert reception.result("visit-6")["outcome"] == "authenticated"


def test_an_appliance_that_is_away_is_told_of(folder: Path) -> None:
    """The clerk learns that it is not the card."""
    reception = Reception(folder)
    with serving(reception, ("answer_seconds = 120.0", "answer_seconds = 1.0")):
        reception.ask("visit-7")
        assert reception.result("visit-7")["code"] == "appliance_unreachable"


def test_two_do_not_work_in_one_folder(folder: Path) -> None:
    """The second one says so, and does not start."""
    reception = Reception(folder)
    with serving(reception), pytest.raises(AssertionError, match="config_invalid"), serving(reception):
        pass
