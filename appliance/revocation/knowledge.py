"""The sources that a configuration names, joined in its order, with the folder of lists being watched."""

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import timedelta
from functools import partial

from appliance.config import Configuration, OcspSettings
from appliance.errors import ConfigInvalid, RevocationUnavailable
from appliance.revocation.importer import import_lists
from appliance.revocation.importing import INDEX
from appliance.revocation.index import Index
from appliance.revocation.lists import ListSource
from appliance.revocation.policy import Observe, Source, Sources, ignore
from appliance.revocation.watch import watch
from appliance.trust.certificates import Anchors
from appliance.trust.ocsp import Identifier


@asynccontextmanager
async def knowledge(
    configuration: Configuration, anchors: Anchors, observe: Observe = ignore
) -> AsyncIterator[Sources]:
    """
    Give what answers for revocation.

    Where there is no index yet, the lists that are in the folder are imported first; otherwise what was known before
    answers at once, and the import goes on beside it.
    """
    settings = configuration.settings.revocation
    age = timedelta(hours=settings.longest_age_hours)
    async with AsyncExitStack() as parts:
        sources: list[Source] = []
        for named in settings.sources:
            if named == "ocsp" and settings.ocsp is not None:
                # What speaks HTTP takes a third of a second to import.
                from appliance.revocation.responder import Responder  # noqa: PLC0415 - for this source alone

                responder = Responder(
                    settings.ocsp.url,
                    settings.ocsp.seconds,
                    age,
                    secrets.token_bytes,
                    responder_tls(configuration, settings.ocsp),
                    Identifier(settings.ocsp.identifier),
                )
                sources.append(await parts.enter_async_context(responder))
            elif named == "crl" and settings.crl is not None:
                folder, state = (
                    configuration.path(settings.crl.folder),
                    configuration.path(settings.crl.state),
                )
                import_now = partial(import_lists, folder, state, anchors)
                if not (state / INDEX).exists():
                    with suppress(RevocationUnavailable):
                        # What it could not do is told by the watch, and by every check.
                        await import_now()
                watching = asyncio.create_task(watch(folder, import_now, settings.crl.watch_seconds))
                parts.push_async_callback(_end, watching)
                sources.append(ListSource(Index(state / INDEX), age))
        yield Sources(sources, settings.when_unavailable == "accept-unchecked", observe)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def responder_tls(configuration: Configuration, settings: OcspSettings) -> ssl.SSLContext | None:
    """Return how the responder is spoken to over TLS, None where it is not; raise ConfigInvalid where a file is of no use."""
    if not settings.url.startswith("https://"):
        return None
    try:
        authorities = None if settings.authorities is None else configuration.path(settings.authorities)
        context = ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=authorities)
        if settings.client_certificate is not None and settings.client_key_file is not None:
            configuration.read_secret(settings.client_key_file)
            context.load_cert_chain(
                configuration.path(settings.client_certificate),
                configuration.path(settings.client_key_file),
                password=_no_passphrase,
            )
    except (OSError, ValueError) as error:
        raise ConfigInvalid(f"revocation.ocsp: a TLS file cannot be used: {error}") from error
    return context


def _no_passphrase() -> str:
    """Refuse: a key with a passphrase would have OpenSSL ask for it, and wait."""
    raise ValueError("a key with a passphrase cannot be used")
