"""A clinic for the bench: `cli.demonstration.site`, with many terminals and without anything that would slow the load down."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from appliance.cli.demonstration import site
from appliance.simulator import ports
from appliance.simulator.network_pki import CA, NetworkAuthority

PORTS: Final = range(11_000, 12_000)
"""Where its daemon listens, on one of them."""
READER: Final = "r"
"""What each terminal calls its only reader."""
_MOST: Final = 100_000
"""The largest of all rates that a configuration can name."""


@dataclass(frozen=True, slots=True)
class Clinic:
    """
    A site in *folder*, whose daemon listens on *port*, with *terminals* called `t0`, `t1`, ….

    *module* is a PKCS#11 module to be used in SoftHSM's place, on the same token, with *environment* besides SoftHSM's.
    """

    folder: Path
    port: int
    terminals: int
    module: Path | None = None
    environment: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @classmethod
    def build(cls, folder: Path, terminals: int) -> Self:
        """Make one in *folder*, which is absent or empty."""
        port = ports.free(PORTS)
        site.build(folder, port=port, metrics_port=0)
        authority = NetworkAuthority.create(datetime.now(UTC))
        authority.save(folder / "tls")
        authority.issue_server(folder / "tls" / "server.pem", ("localhost",))
        for number in range(terminals):
            authority.issue_client(folder / "tls" / f"t{number}.pem", f"t{number}.bench.example")
        return cls(folder, port, terminals)

    @property
    def socket(self) -> Path:
        """Where reception asks."""
        return self.folder / "run" / "appliance.sock"

    @property
    def authority(self) -> Path:
        """The CA of the server's certificate."""
        return self.folder / "tls" / CA

    def certificate(self, number: int) -> tuple[Path, Path]:
        """Return the certificate of a terminal, and its key."""
        tls = self.folder / "tls"
        return tls / f"t{number}.pem", tls / f"t{number}-key.pem"

    def configured(self, name: str, *, workers: int, at_once: int) -> Path:
        """Write a configuration called *name*: so many *workers*, and so many authentications *at_once*."""
        text = (self.folder / "appliance.toml").read_text("utf-8")
        # No reader of its own, so no PC/SC either.
        text = re.sub(r"(?ms)^\[\[reader\]\]$.*?(?=^\[result\]$)", "", text)
        budget = f"budget = {{ per_minute = {_MOST}, at_once = 4096, per_day = 10000000 }}"
        for old, new in (
            ("workers = 2", f"workers = {workers}"),
            ("challenges_per_minute = 600", f"challenges_per_minute = {_MOST}"),
            ("authentications = 256", f"authentications = {at_once}"),
            ('role = "reception"', f'role = "reception"\n{budget}'),
        ):
            text = _with(text, re.escape(old), new)
        if self.module is not None:
            text = _with(text, 'module = ".*"', f'module = "{self.module}"')
            lines = (f'{name} = "{value}"' for name, value in self.environment.items())
            text = _with(text, re.escape("[hsm.environment]"), "\n".join(("[hsm.environment]", *lines)))
        peers = (
            f'[[peer]]\nalias = "t{number}"\nrole = "terminal"\ncertificate_name = "t{number}.bench.example"\n'
            'face_device = "kiosk-1"\n'
            for number in range(self.terminals)
        )
        file = self.folder / f"{name}.toml"
        file.write_text("\n".join((text, *peers)), "utf-8")
        return file


def _with(text: str, old: str, new: str) -> str:
    """Return *text* with *new* in place of each line that matches *old*; there is one at least."""
    text, found = re.subn(rf"(?m)^{old}$", lambda _: new, text)
    if not found:
        raise ValueError(f"the annotated configuration no longer has {old!r}")
    return text


def desks(numbers: Sequence[int]) -> list[str]:
    """Return the desks of the terminals of these *numbers*."""
    return [f"t{number}.{READER}" for number in numbers]
