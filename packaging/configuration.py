"""
Print a configuration that the Debian package brings for /etc/jpki-appliance: appliance.toml, terminal.toml, handover.toml.

Each is the annotated example with the places of an installed system. Every change has to find its line: an example that
has moved on fails the build.
"""

import sys
from pathlib import Path

_EXAMPLES = Path(__file__).resolve().parents[1] / "hsm-config"
_STATE = "/var/lib/jpki-appliance"
_HANDOVER = "/var/lib/jpki-handover"
_SOCKET = '"/run/jpki-appliance/appliance.sock"'
_PLACES = {
    "appliance.toml": {
        "`make demo` runs with this very file.": "Its like runs in the project's own demonstration.",
        '"softhsm/user.pin"': '"credential:hsm-pin"',
        '"pseudonym.key"': '"credential:pseudonym-key"',
        'state = "state"': f'state = "{_STATE}/hsm"',
        '"./softhsm/softhsm2.conf"': f'"{_STATE}/softhsm/softhsm2.conf"',
        '"softhsm/token.pub.pem"': '"keys/token.pub.pem"',
        '"softhsm/ledger.pub.pem"': '"keys/ledger.pub.pem"',
        '"revocation/lists"': f'"{_STATE}/revocation/lists"',
        'state = "revocation/state"': f'state = "{_STATE}/revocation/index"',
        '"ledger/ledger.sqlite3"': f'"{_STATE}/ledger/ledger.sqlite3"',
        '"ledger/checkpoints"': f'"{_STATE}/ledger/checkpoints"',
        'socket = "run/appliance.sock"': f"socket = {_SOCKET}",
    },
    "terminal.toml": {
        'socket = "run/appliance.sock"': f"socket = {_SOCKET}",
        '"tls/ward-3-key.pem"': '"credential:terminal-key"',
    },
    "handover.toml": {
        'socket = "run/appliance.sock"': f"socket = {_SOCKET}",
        '"tls/reception-key.pem"': '"credential:handover-key"',
        '"handover/requests"': f'"{_HANDOVER}/requests"',
        '"handover/results"': f'"{_HANDOVER}/results"',
        '"handover/work"': f'"{_HANDOVER}/work"',
    },
}


def installed(name: str) -> str:
    """Return the example called *name* for an installed system; raise ValueError where it is not as expected."""
    example = (_EXAMPLES / name).read_text("utf-8")
    for here, there in _PLACES[name].items():
        if example.count(here) != 1:
            raise ValueError(f"{name} has {here} {example.count(here)} times")
        example = example.replace(here, there)
    return example


if __name__ == "__main__":
    sys.stdout.write(installed(sys.argv[1]))
