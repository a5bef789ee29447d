"""Who is asked, and how: as the configuration describes it."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import entry_points
from typing import Final
from uuid import uuid4

from appliance.config import Configuration, EligibilitySettings
from appliance.eligibility.asking import Eligibility
from appliance.eligibility.service import Connect, Setup
from appliance.errors import ConfigInvalid, EligibilityPartMissing

GROUP: Final = "jpki_appliance.eligibility"
"""Of the entry points that name connectors."""


@asynccontextmanager
async def eligibility(configuration: Configuration) -> AsyncIterator[Eligibility | None]:
    """Give whom to ask, or None where nobody is configured; raise ConfigInvalid, EligibilityPartMissing."""
    settings = configuration.settings.eligibility
    if settings is None:
        yield None
        return
    made = setup(configuration, settings)
    async with connector(settings.service)(made) as service:
        yield Eligibility(service, settings.seconds, settings.largest_bytes)


def setup(configuration: Configuration, settings: EligibilitySettings) -> Setup:
    """Return what a connector gets to know of *settings*; raise ConfigInvalid."""
    return Setup(
        settings.url,
        _tls(configuration, settings),
        settings.seconds,
        settings.largest_bytes,
        settings.options,
        lambda: datetime.now(UTC),
        uuid4,
    )


def connector(name: str) -> Connect:
    """Return what the entry point *name* names; raise EligibilityPartMissing, ConfigInvalid."""
    # One that is installed twice, as an editable install beside another one is, has one value.
    found = {one.value: one for one in entry_points(group=GROUP, name=name)}
    if not found:
        raise EligibilityPartMissing(f"no package is installed with the connector '{name}' ({GROUP})")
    if len(found) > 1:
        raise ConfigInvalid(f"several packages have a connector '{name}' ({GROUP})")
    (entry,) = found.values()
    try:
        connect = entry.load()
    except (ImportError, AttributeError) as error:
        raise EligibilityPartMissing(f"the connector '{name}' cannot be loaded: {entry.value}") from error
    if not callable(connect):
        raise ConfigInvalid(f"the connector '{name}' is nothing that can connect: {entry.value}")
    checked: Connect = connect
    return checked


def _tls(configuration: Configuration, settings: EligibilitySettings) -> ssl.SSLContext:
    try:
        authorities = None if settings.authorities is None else configuration.path(settings.authorities)
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authorities)
        configuration.read_secret(settings.client_key_file)
        context.load_cert_chain(
            configuration.path(settings.client_certificate),
            configuration.path(settings.client_key_file),
            # A key with a passphrase must not wait for somebody at a terminal.
            password=_no_passphrase,
        )
    except (OSError, ssl.SSLError) as error:
        raise ConfigInvalid(
            f"eligibility: a TLS file cannot be used: {error.strerror or 'its key is closed'}"
        ) from error
    return context


def _no_passphrase() -> str:
    return ""
