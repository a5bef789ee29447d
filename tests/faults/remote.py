"""An HSM across a wire, of Debian's parts: `p11-kit server` in front of a token, which can be stopped, killed and cut."""

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Self

from appliance.errors import PartMissing

CLIENT = Path("/usr/lib/x86_64-linux-gnu/pkcs11/p11-kit-client.so")
_READY = b"P11_KIT_SERVER_PID="


class P11KitServer:
    """
    A server for the one token of a *module*, which finds it by its *environment*. Use as a context manager.

    For each client the server has a child that loads the module: the child is the HSM, the server is its network.
    """

    def __init__(self, module: str, token: str, environment: Mapping[str, str]) -> None:
        program = shutil.which("p11-kit")
        if program is None:
            raise PartMissing("there is no p11-kit: install Debian's package p11-kit")
        if not CLIENT.exists():
            raise PartMissing(f"{CLIENT} is not there: install Debian's package p11-kit-modules")
        # Not in the test's own folder: the path of a socket has at most 107 bytes.
        self._folder = tempfile.TemporaryDirectory(prefix="p11-")
        self._socket = Path(self._folder.name) / "socket"
        self._command = (
            *(program, "server", "--foreground", "--provider", module),
            *("--name", str(self._socket), f"pkcs11:token={token}"),
        )
        self._environment = {"PATH": "/usr/bin:/bin", **environment}
        self._server: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.cut()
        self._folder.cleanup()

    @property
    def environment(self) -> dict[str, str]:
        """The variable with which the client module finds the server."""
        return {"P11_KIT_SERVER_ADDRESS": f"unix:path={self._socket}"}

    @property
    def children(self) -> list[int]:
        """The processes that have the module loaded, one for each client."""
        if self._server is None:
            return []
        pid = self._server.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]

    def start(self) -> None:
        """Start the server, on the same socket as before, and return when it listens."""
        self._server = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
        )
        output = self._server.stdout
        assert output is not None
        if not any(_READY in line for line in output):
            raise AssertionError(f"p11-kit server ended with status {self._server.wait()}")

    def stop(self) -> None:
        """Stop everything in its tracks: calls under way and new connections hang."""
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """Let what was stopped go on."""
        self._signal(signal.SIGCONT)

    def kill_children(self) -> None:
        """Kill what has the module loaded: every client has lost its HSM, new connections work."""
        for child in self.children:
            os.kill(child, signal.SIGKILL)

    def cut(self) -> None:
        """Kill the server and its children, and remove the socket: nothing can be reached."""
        if self._server is None:
            return
        # The server first, stopped, so that it makes no more children.
        self._server.send_signal(signal.SIGSTOP)
        self.kill_children()
        self._server.kill()
        self._server.wait()
        assert self._server.stdout is not None
        self._server.stdout.close()
        self._server = None
        self._socket.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        assert self._server is not None
        for pid in (self._server.pid, *self.children):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
