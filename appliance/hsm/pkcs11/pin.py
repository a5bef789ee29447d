"""
The PIN: read once, in one buffer, handed to one login, and wiped.

Python cannot promise that no copy is left. What it can do: the bytes are read straight into a buffer of the right
size (no growing, no str), that same buffer goes to C_Login, and it is overwritten as soon as the login is over.

The credential file is also where logins meet. Whoever logs in has to open one, so processes that are given the same
file for the same token wait for one another there: while one loads the module and logs in, others wait, because SoftHSM
rewrites its token file at a login and whoever looks at it meanwhile sees no token. A service whose file is a copy of
systemd's (`LoadCredential`) and a command that opens the original do not meet: with SoftHSM, hold no ceremony while the
service comes up.

Two tokens with one file do not wait for one another, because a login may take for ever where an HSM has gone, and must
not keep the standby from coming up. So it is not the file that is locked but one byte of it, by which the token is
known: a read lock, since the file is open for reading only, that is taken where nobody else has one.
"""

import fcntl
import hashlib
import os
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.errors import HsmPinUnavailable

_LONGEST_PIN = 255
_SYSTEMD_CREDENTIALS = Path("/run/credentials")
_FLOCK = struct.Struct("hhqqi0q")
"""`struct flock` of fcntl(2): kind, from where, first byte, length, process."""
_PAUSE = 0.05
"""Seconds between two looks at a lock that somebody else has: the kernel lets nobody wait for one of this kind."""


class Pin:
    """A PIN that shows itself only to a login."""

    __slots__ = ("_buffer",)

    def __init__(self, buffer: bytearray) -> None:
        self._buffer = buffer

    def __repr__(self) -> str:
        return "Pin(…)"

    def encode(self, _encoding: str = "utf-8") -> bytearray:
        """Return the buffer itself: python-pkcs11 asks a PIN for its bytes by this name, and takes a buffer."""
        return self._buffer

    def wipe(self) -> None:
        """Overwrite the PIN."""
        self._buffer[:] = bytes(len(self._buffer))


class Credential:
    """An open credential file, locked against other logins to the same token."""

    __slots__ = ("_descriptor", "_path")

    def __init__(self, path: Path, descriptor: int) -> None:
        self._path = path
        self._descriptor = descriptor

    @contextmanager
    def pin(self) -> Iterator[Pin]:
        """Give the PIN, without one trailing newline, and wipe it afterwards; raise HsmPinUnavailable."""
        try:
            length = os.fstat(self._descriptor).st_size
            if length and os.pread(self._descriptor, 1, length - 1) == b"\n":
                length -= 1
            if not 1 <= length <= _LONGEST_PIN:
                raise HsmPinUnavailable(f"{self._path} does not hold a PIN")
            pin = Pin(bytearray(length))
            complete = os.preadv(self._descriptor, [pin.encode()], 0) == length
        except OSError as error:
            raise HsmPinUnavailable(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            if not complete:
                raise HsmPinUnavailable(f"{self._path} changed while it was read")
            yield pin
        finally:
            pin.wipe()


@contextmanager
def locked_credential(path: Path, module: str, token: str) -> Iterator[Credential]:
    """
    Open the credential file at *path* and wait while others log in with it to the same token, or raise HsmPinUnavailable.

    The token is the one called *token* that *module* leads to with the environment of this process. What leads to the same
    one by another module or other variables counts as another, as with the marker of a rejected PIN.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise HsmPinUnavailable(f"{path} cannot be read: {error.strerror}") from error
    try:
        _refuse_readable_by_others(path, os.fstat(descriptor))
        byte = _byte_of(module, token)
        while not _taken(descriptor, byte):
            time.sleep(_PAUSE)
        yield Credential(path, descriptor)
    finally:
        os.close(descriptor)


def _byte_of(module: str, token: str) -> int:
    """Return the byte of a credential file that stands for a token; a lock may lie far behind the end of the file."""
    # One file by two names leads to one token.
    environment = {
        name: os.path.realpath(value) if value.startswith("/") else value
        for name, value in os.environ.items()
    }
    leading = repr((os.path.realpath(module), token, sorted(environment.items())))
    return int.from_bytes(hashlib.sha256(leading.encode()).digest()[:7])


def _taken(descriptor: int, byte: int) -> bool:
    """Take the lock of *byte*, which ends with the open file, unless somebody else has it; return whether it was taken."""
    fcntl.flock(descriptor, fcntl.LOCK_EX)  # for no longer than the look: whoever looks is alone
    try:
        wanted = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind = _FLOCK.unpack(fcntl.fcntl(descriptor, fcntl.F_OFD_GETLK, wanted))[0]
        if kind != fcntl.F_UNLCK:
            return False
        fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        return True
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)


def _refuse_readable_by_others(path: Path, status: os.stat_result) -> None:
    # systemd gives a service its credentials by an access control list, whose mask shows as group bits.
    by_systemd = path.is_relative_to(_SYSTEMD_CREDENTIALS) and status.st_uid == 0
    if not stat.S_ISREG(status.st_mode):
        raise HsmPinUnavailable(f"{path} is not a file")
    if status.st_mode & (0o007 if by_systemd else 0o077):
        raise HsmPinUnavailable(f"{path} can be read by others than its owner: chmod 600")
