"""The machine around a process, as far as no test may change it: the other end of the file that `machine.c` maps."""

import mmap
import subprocess
from pathlib import Path
from typing import Final, Self

from appliance.errors import PartMissing

_NUMBER: Final = 8


class Machine:
    """How the machine is for processes that are started with `environment`; at first its clock is right and its disk quick."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "machine"
        self._library = _compiled(folder)
        self._file.write_bytes(bytes(2 * _NUMBER))
        with self._file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), 0)
        self.clock(synchronised=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._map.close()

    @property
    def environment(self) -> dict[str, str]:
        """What a process has to be started with."""
        return {"LD_PRELOAD": str(self._library), "MACHINE": str(self._file)}

    def clock(self, *, synchronised: bool) -> None:
        """Have the clock follow another one, or none."""
        self._write(0, int(synchronised))

    def disk(self, milliseconds: int) -> None:
        """Have it take so much longer until data is durable."""
        self._write(1, milliseconds)

    def _write(self, place: int, number: int) -> None:
        self._map[place * _NUMBER : (place + 1) * _NUMBER] = number.to_bytes(_NUMBER, "little")


def _compiled(folder: Path) -> Path:
    library = folder / "machine.so"
    source = Path(__file__).with_name("machine.c")
    command = ("gcc", "-shared", "-fPIC", "-Wall", "-Wextra", "-Werror", "-o", library, source, "-ldl")
    try:
        subprocess.run(command, check=True)
    except FileNotFoundError as error:
        raise PartMissing("there is no C compiler: install Debian's package gcc") from error
    return library
