"""
Where the guide's commands run in CI: its machine in a folder, without root, accounts and systemd.

Of the commands that need those, the ones on which others depend are carried out here in another way: the daemon is
started, reloaded and ended as systemd would, secrets lie in a folder as credentials do, cards are put on readers of a
private pcscd. All other commands are typed into one shell, as they stand but for folders, ports and accounts.
"""

import base64
import contextlib
import re
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Self

from appliance.simulator.network_pki import NetworkAuthority
from appliance.simulator.pcscd import PrivatePcscd
from appliance.simulator.reader import inserted, load_card
from tests.daemon.process import ACCOUNT, SECONDS, UNPRIVILEGED, Daemon, Site, free_port, started
from tests.guide.blocks import Block, Change, Command, Console
from tests.guide.shell import Shell

ROOT: Final = Path(__file__).parents[2]
_ASKED_AGAIN: Final = ("jpki-appliance status", "jpki-appliance doctor", "http://127.0.0.1:")
"""What only tells how things are is asked until they are so."""
_FILED_BY: Final = dict.fromkeys(
    ("status", "doctor", "support-bundle", "ledger", "emergency", "hsm unlock-marker"), "--config "
) | {
    "config check": "",
    "revocation import": "",
}
"""Commands that go by the installed configuration, and how they are told of another."""
_FILED: Final = re.compile(rf"(?m)^jpki-appliance ({'|'.join(_FILED_BY)})\b(?! (?:--config|--url|reader))")


@dataclass(slots=True)
class Place:
    """The machine in *folder*. *moved* are further folders, by where they are on a real one; *environment* is around commands."""

    folder: Path
    moved: Mapping[str, str]
    environment: Mapping[str, str]
    pcscd: PrivatePcscd
    closing: ExitStack
    known: dict[str, str] = field(default_factory=dict)
    """What names in the guide stand for."""
    daemon: Daemon | None = None
    _shell: Shell = field(init=False)
    _port: int = field(default_factory=free_port)
    _metrics: int = field(default_factory=free_port)
    _ending: ExitStack = field(default_factory=ExitStack)

    @classmethod
    @contextmanager
    def made(cls, folder: Path, moved: Mapping[str, str], environment: Mapping[str, str]) -> Iterator[Self]:
        """Give a machine in *folder* on which the package was just installed."""
        with ExitStack() as closing:
            pcscd = closing.enter_context(PrivatePcscd(["Virtual PCD"]))
            place = cls(folder, moved, environment, pcscd, closing)
            closing.callback(place.stop)
            for name in ("etc", "lib", "run", "srv", "credentials", "haproxy"):
                (folder / name).mkdir(mode=0o700)
            place._shell = closing.enter_context(Shell((*UNPRIVILEGED, "bash"), folder, place._environment()))
            for name in ("appliance.toml", "terminal.toml", "handover.toml"):
                (folder / "etc" / name).write_text(place.here(_patient(_installed(name))), "utf-8")
            yield place

    # --- what is done ---------------------------------------------------------------------------------------------

    def do(self, block: Block) -> None:
        """Do what *block* says; raise AssertionError where it does not lead to what the guide prints."""
        match block:
            case Change(where, how, file, text):
                path = Path(self.here(file))
                path.write_text(
                    Change(where, how, file, self.here(text)).applied(path.read_text("utf-8")), "utf-8"
                )
            case Console(booted=True, commands=commands):
                for command in commands:
                    self._in_place_of(self.here(command.filled(self.known)))
            case Console(where=where, commands=commands):
                for command in commands:
                    self._type(where, command)

    def _type(self, where: str, command: Command) -> None:
        command = Command(self.here(command.line), tuple(map(self.here, command.prints)))
        typed = command.filled(self.known)
        deadline = time.monotonic() + SECONDS
        while True:
            said = self._shell.typed(typed, 4 * SECONDS)
            missing = command.missing(said.out, self.known) if said.status == 0 else f"status {said.status}"
            if missing is None:
                self._settle(typed)
                return
            again = any(part in typed for part in _ASKED_AGAIN) and time.monotonic() < deadline
            assert again, f"{where}: {typed}\nhas not: {missing}\nbut:\n{said.out}\n{self._log()}"
            time.sleep(0.2)

    def _settle(self, typed: str) -> None:
        """Have what was copied from the package's examples name this folder, too."""
        if found := re.search(rf"^cp {ROOT}/hsm-config/\S+ (\S+)$", typed):
            path = Path(found[1])
            path.write_text(self.here(path.read_text("utf-8")), "utf-8")

    def _log(self) -> str:
        return "" if self.daemon is None else self.daemon.log.read_text()[-3000:]

    def _environment(self) -> dict[str, str]:
        return {
            "PATH": f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": str(self.folder),
            "PCSCLITE_CSOCK_NAME": str(self.pcscd.socket_path),
            "CREDENTIALS_DIRECTORY": str(self.folder / "credentials"),
            **self.environment,
        }

    def here(self, text: str) -> str:
        """Return *text* with this machine's folders, ports and account in the place of a real one's."""
        for there, here in {
            "/etc/jpki-appliance": self.folder / "etc",
            "/var/lib/jpki-appliance": self.folder / "lib",
            "/run/jpki-appliance": self.folder / "run",
            "/srv/": f"{self.folder}/srv/",
            **self.moved,
            "/etc/haproxy": self.folder / "haproxy",
            "/usr/share/jpki-appliance/hsm-config": ROOT / "hsm-config",
            "/usr/share/jpki-appliance/monitoring": ROOT / "monitoring",
            "appliance.clinic.example.jp:8443": f"localhost:{self._port}",
            "port = 8443": f"port = {self._port}",
            "127.0.0.1:9464": f"127.0.0.1:{self._metrics}",
            "port = 9464": f"port = {self._metrics}",
            'user = "root"': f'user = "{ACCOUNT}"',
            # An account that only the package brings.
            'user = "jpki-handover"': 'certificate_name = "handover.clinic.example.jp"',
        }.items():
            whole = r"(?<![\w/])" if there.startswith("/") else ""
            text = re.sub(whole + re.escape(there), str(here).replace("\\", r"\\"), text)
        text = re.sub(r"\brunuser -u \S+ -- ", "", text)
        return _FILED.sub(
            lambda found: f"{found[0]} {_FILED_BY[found[1]]}{self.folder}/etc/appliance.toml", text
        )

    # --- in the place of systemd ----------------------------------------------------------------------------------

    def _in_place_of(self, typed: str) -> None:
        """Do what a command that needs a machine of its own is there for, as far as others depend on it."""
        for pattern, act in self._acts().items():
            if found := re.search(pattern, typed):
                act(*found.groups())

    def _acts(self) -> dict[str, Callable[..., None]]:
        return {
            r"systemctl (?:enable --now|start|restart) [^\n]*jpki-appliance": self._start,
            r"systemctl reload jpki-appliance": self._reload,
            r"systemctl stop [^\n]*jpki-appliance": self.stop,
            r"systemctl enable --now jpki-terminal": self._start_terminal,
            r"systemd-creds encrypt --name=(terminal-key) (\S+)": self._hand_over,
            r"systemd-creds encrypt --name=(pseudonym-key) /run": self._hand_over,
            r"base64 /run/pseudonym.key \| tee ([^\s)]+)": self._keep_in_safe,
            r"(base64 --decode \S+) \| systemd-creds encrypt --name=(pseudonym-key)": self._bring_back,
            r"user\.pin \| systemd-creds encrypt --name=(hsm-pin)": self._hand_over,
            r"simulator card (\S+) --port=(\d+)": self._put_card,
            r"^install -d .*?((?: /\S+)+)$": self._make_folders,
        }

    def _hand_over(self, name: str, file: str | None = None) -> None:
        content = {
            "pseudonym-key": lambda: secrets.token_bytes(32),
            "hsm-pin": lambda: (self.folder / "lib" / "softhsm" / "user.pin").read_bytes().strip(),
            "terminal-key": lambda: Path(file or "").read_bytes(),
        }[name]()
        path = self.folder / "credentials" / name
        path.touch(mode=0o600)
        path.write_bytes(content)

    def _keep_in_safe(self, file: str) -> None:
        Path(file).write_bytes(
            base64.encodebytes((self.folder / "credentials" / "pseudonym-key").read_bytes())
        )

    def _bring_back(self, decoding: str, name: str) -> None:
        """Give the service what *decoding* makes of the text in the safe: the key that it had."""
        path = self.folder / "credentials" / name
        former = path.read_bytes()
        path.write_bytes(subprocess.run(decoding.split(), stdout=subprocess.PIPE, check=True).stdout)
        assert path.read_bytes() == former

    def _put_card(self, card: str, port: str) -> None:
        (reader,) = self.pcscd.readers
        slot = int(port) - 35963
        self.closing.enter_context(inserted(load_card(Path(card), []), reader.host, reader.port + slot))

    @staticmethod
    def _make_folders(folders: str) -> None:
        for name in folders.split():
            Path(name).mkdir(parents=True, exist_ok=True)

    def _start(self) -> None:
        self.stop()
        logs = self.folder / f"run-{secrets.token_hex(4)}"
        logs.mkdir()
        site = Site(self.folder / "etc", self._port, self.pcscd, NetworkAuthority.create(datetime.now(UTC)))
        environment = {**self.environment, "CREDENTIALS_DIRECTORY": str(self.folder / "credentials")}
        self.daemon = self._ending.enter_context(started(site, logs, environment))

    def _reload(self) -> None:
        assert self.daemon is not None
        self.daemon.reload()
        told = [one["event"] for one in self.daemon.logged() if "configuration" in one["event"]]
        assert told[-1].startswith("configuration read again"), told

    def stop(self) -> None:
        """End the daemon, if it runs."""
        self._ending.close()
        self.daemon = None

    def _start_terminal(self) -> None:
        log = self.closing.enter_context((self.folder / "terminal.log").open("wb"))
        process = subprocess.Popen(
            (
                *UNPRIVILEGED,
                *(sys.executable, "-m", "appliance", "terminal"),
                *("--config", str(self.folder / "etc" / "terminal.toml")),
            ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=self._environment(),
        )

        def end() -> None:
            process.send_signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(SECONDS)
            process.kill()
            process.wait()

        self.closing.callback(end)


def _installed(name: str) -> str:
    """Return the configuration called *name* as the package brings it."""
    program = str(ROOT / "packaging" / "configuration.py")
    return subprocess.run(
        (sys.executable, program, name), capture_output=True, text=True, encoding="utf-8", check=True
    ).stdout


def _patient(text: str) -> str:
    """Return the configuration *text* with more time: the machine of these tests does much else. Reloads wait for signatures."""
    return re.sub(
        r"(?m)^((?:start|append|exchange|card)_seconds) = [0-9.]+$", lambda one: f"{one[1]} = 60.0", text
    )
