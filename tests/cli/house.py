"""A site, and a daemon there that tells this account how it is; for the commands that ask it."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from appliance.simulator.pcscd import PrivatePcscd
from tests.cli.conftest import Finished, run
from tests.daemon.process import ACCOUNT, ORDER, Daemon, Site, session, started

RECEPTION = f'role = "reception"\nuser = "{ACCOUNT}"'
OPERATOR = f'role = "operator"\nuser = "{ACCOUNT}"'


@contextmanager
def furnished() -> Iterator[Site]:
    """Give a site, whose path is short, because sockets are in it."""
    with tempfile.TemporaryDirectory(prefix="site-") as folder, PrivatePcscd(["Virtual PCD"]) as pcscd:
        yield Site.made(Path(folder) / "site", pcscd)


@contextmanager
def serving(site: Site) -> Iterator[Daemon]:
    """Give a daemon at *site* that is ready."""
    with tempfile.TemporaryDirectory(prefix="daemon-") as folder, started(site, Path(folder)) as daemon:
        yield daemon


async def authenticated(daemon: Daemon) -> str:
    """Return the result token of an authentication at the desk."""
    with daemon.site.card():
        async with session(daemon.site) as client:
            order = {**ORDER, "evidence": True}
            async with client.post("/v1/authentications?wait=20", json=order) as answer:
                job = await answer.json()
    assert job["state"] == "authenticated", job
    token: str = job["token"]
    return token


def asked(site: Site, *arguments: str) -> Finished:
    """Run `jpki-appliance` with *arguments* beside the daemon at *site*."""
    return run(*arguments, **site.environment())
