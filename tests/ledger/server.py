"""A PostgreSQL server of the tests' own: in a new folder, on a socket there, gone at the end."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import psycopg


@dataclass(frozen=True, slots=True)
class Server:
    """A running server, or one that was stopped."""

    folder: Path
    programs: Path

    @property
    def conninfo(self) -> str:
        """How the server itself is reached."""
        return f"host={self.folder} user=ledger dbname=postgres"

    def database(self) -> str:
        """Make a database and return how it is reached."""
        name = f"t{uuid4().hex}"
        with psycopg.connect(self.conninfo, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} STRATEGY file_copy".encode())
        return f"host={self.folder} user=ledger dbname={name}"

    def start(self) -> None:
        """Start, and wait until it answers."""
        # What a stopped server has written is in the kernel's hands; only a machine that fails would need it on the disk.
        options = f"-k {self.folder} -c listen_addresses= -c max_connections=50 -c fsync=off"
        self.run(
            "pg_ctl",
            "-w",
            "-D",
            str(self.folder / "data"),
            "-o",
            options,
            "-l",
            str(self.folder / "log"),
            "start",
        )

    def stop(self, mode: str = "fast") -> None:
        """Stop; *immediate* is as if the machine had lost its power."""
        self.run("pg_ctl", "-w", "-D", str(self.folder / "data"), "-m", mode, "stop")

    def run(self, program: str, *arguments: str) -> None:
        """Run one of PostgreSQL's programs as its user: none of them runs as root."""
        as_user = (
            ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if os.geteuid() == 0 else ()
        )
        subprocess.run(
            (*as_user, str(self.programs / program), *arguments),
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=60,
            cwd="/",
        )


@contextmanager
def running() -> Iterator[Server]:
    """Give a server; fail where PostgreSQL is not installed."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError("PostgreSQL is not there: install Debian's package postgresql")
    folder = Path(tempfile.mkdtemp(prefix="ledger-pg-"))
    if os.geteuid() == 0:
        user = pwd.getpwnam("postgres")
        os.chown(folder, user.pw_uid, user.pw_gid)
    server = Server(folder, found[-1].parent)
    try:
        server.run(
            "initdb",
            "-D",
            str(folder / "data"),
            "-U",
            "ledger",
            "-A",
            "trust",
            "--no-instructions",
            "--no-sync",
        )
        server.start()
        yield server
    finally:
        with suppress(subprocess.CalledProcessError):
            server.stop("immediate")
        shutil.rmtree(folder)
