"""All resources that need nothing but `Services`. Authentications and terminals bring theirs."""

from aiohttp import web

from appliance.gateway import log, pages, status, texts, verification


def routes() -> list[web.RouteDef]:
    """Return them all."""
    return [*status.routes(), *verification.routes(), *log.routes(), *texts.routes(), *pages.routes()]
