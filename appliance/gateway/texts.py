"""
`/v1/texts`: what the pages say, in one of the catalogue's languages.

A page holds no text of its own. It gets all texts at once, so that changing the language needs no second look at
what is shown: a refusal on the screen is found again by its code.
"""

from functools import cache
from typing import Final

import msgspec
from aiohttp import web

from appliance.catalogue import Language, Text, catalogue, story
from appliance.errors import RequestMalformed
from appliance.gateway import http
from appliance.gateway.problems import INTERNAL

PATH: Final = "/v1/texts"
SHARED: Final = ("doctor-do-", "emergency-", "status-")
"""How keys of the story begin that the pages tell, too."""


class Said(msgspec.Struct, frozen=True):
    """What is read about a failure."""

    title: str
    clerk: str
    operator: str


class Texts(msgspec.Struct, frozen=True):
    """Everything in one *language*: *texts* of pages by their keys, *errors* by their codes."""

    language: Language
    texts: dict[str, str]
    errors: dict[str, Said]


def routes() -> list[web.RouteDef]:
    """Return what is served."""
    return [http.get(PATH, _texts)]


def texts(language: Language) -> Texts:
    """Return the texts in *language*."""

    def said(title: Text, clerk: Text, operator: Text) -> Said:
        return Said(*(one.in_language(language) for one in (title, clerk, operator)))

    known = catalogue()
    errors = {code: said(text.title, text.clerk, text.operator) for code, text in known.errors.items()}
    errors[INTERNAL] = said(*(story(f"internal-{name}") for name in ("title", "clerk", "operator")))
    shared = {key: text for key, text in known.story.items() if key.startswith(SHARED)}
    pages = {key: text.in_language(language) for key, text in (shared | known.page).items()}
    return Texts(language, pages, errors)


@cache
def _encoded(language: Language) -> bytes:
    return msgspec.json.encode(texts(language))


async def _texts(request: web.Request) -> web.Response:
    http.no_query(request, "language")
    asked = request.query.get("language")
    try:
        language = http.language_of(request) if asked is None else Language(asked)
    except ValueError as error:
        raise RequestMalformed("'language' is ja or en") from error
    headers = {"Content-Language": language, "Vary": "Accept-Language"}
    return web.Response(body=_encoded(language), content_type=http.JSON, headers=headers)
