"""
The pages that people open in a browser, which come over TLS with a client certificate.

    /        the console, for an operator; a reception is sent to its own page
    /desk    leads a clerk through one authentication
    /pages/  what both are made of

They are files of ours, served as they are: without a framework, without anything from another place, and without any
text, which they get from `texts`. What a page may do in the browser is said by the headers here: run these very scripts,
speak with this appliance, and nothing else.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from html import escape
from importlib import resources
from importlib.resources.abc import Traversable
from types import MappingProxyType
from typing import Final, Self

from aiohttp import web

from appliance.catalogue import Language, catalogue
from appliance.errors import ResourceAbsent
from appliance.gateway import http
from appliance.gateway.page_policy import HEADERS
from appliance.gateway.peers import Role
from appliance.gateway.services import PEER

CONSOLE: Final = "/"
DESK: Final = "/desk"
PARTS: Final = "/pages/{file}"

_WITHOUT_SCRIPT: Final = b'<noscript data-text="page-script-needed"></noscript>'
_TYPES: Final = MappingProxyType({".html": "text/html", ".css": "text/css", ".js": "text/javascript"})


@dataclass(frozen=True, slots=True)
class File:
    """A packaged file, and what it is."""

    content: bytes
    media_type: str

    @classmethod
    def read(cls, packaged: Traversable) -> Self:
        """Return the file *packaged*; one that is of no known kind is a KeyError."""
        content = packaged.read_bytes().replace(_WITHOUT_SCRIPT, _without_script())
        return cls(content, _TYPES["." + packaged.name.rpartition(".")[2]])

    def response(self) -> web.Response:
        """Return the answer with it."""
        return web.Response(
            body=self.content, content_type=self.media_type, charset="utf-8", headers=dict(HEADERS)
        )


def _without_script() -> bytes:
    """Return what is read where no script can put texts in: in all languages."""
    text = catalogue().page["page-script-needed"]
    lines = (f'<p lang="{one}">{escape(text.in_language(one))}</p>' for one in Language)
    return f"<noscript>{''.join(lines)}</noscript>".encode()


@cache
def files() -> Mapping[str, File]:
    """Return all that is packaged, by name."""
    folder = resources.files("appliance.gateway") / "pages"
    return MappingProxyType({one.name: File.read(one) for one in folder.iterdir() if one.is_file()})


def routes() -> list[web.RouteDef]:
    """Return what is served."""
    # Read now, so that what is wrong with a file shows at the start.
    files()
    return [http.get(CONSOLE, _console), http.get(DESK, _desk), http.get(PARTS, _part)]


async def _console(request: web.Request) -> web.Response:
    http.no_query(request, "language")
    if request[PEER].role is Role.OPERATOR:
        return _page("console.html")
    return web.Response(status=303, headers={**HEADERS, "Location": DESK})


async def _desk(request: web.Request) -> web.Response:
    http.no_query(request, "language")
    return _page("desk.html")


async def _part(request: web.Request) -> web.Response:
    http.no_query(request)
    name = request.match_info["file"]
    if name.endswith(".html"):
        raise ResourceAbsent("pages have addresses of their own")
    return _page(name)


def _page(name: str) -> web.Response:
    found = files().get(name)
    if found is None:
        raise ResourceAbsent("there is no such file among the pages")
    return found.response()
