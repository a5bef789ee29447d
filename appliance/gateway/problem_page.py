"""A problem as a person reads it who has opened a page in a browser: the same texts, and large what is asked on the phone."""

from html import escape
from typing import Final

from aiohttp import web

from appliance.catalogue import Language, catalogue
from appliance.gateway.page_policy import HEADERS
from appliance.gateway.problems import Problem

_STYLE: Final = '<link rel="stylesheet" href="/pages/frame.css">\n'
_PAGE: Final = """<!DOCTYPE html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
{style}</head>
<body>
<main>
<h1>{title}</h1>
<p>{clerk}</p>
<p>{operator}</p>
<dl class="phone">
<div><dt>{code_name}</dt><dd>{code}</dd></div>
<div><dt>{request_name}</dt><dd>{request}</dd></div>
</dl>
</main>
</body>
</html>
"""


def is_wanted(request: web.BaseRequest) -> bool:
    """Return whether *request* comes from a person's browser, which shows what it gets."""
    return request.method == "GET" and "text/html" in request.headers.get("Accept", "")


def response(problem: Problem, reader: Language, *, is_known: bool) -> web.Response:
    """Return *problem* as a page for a *reader* of that language; who is not *known* gets no style sheet, either."""
    page = catalogue().page
    text = _PAGE.format(
        language=reader.value,
        style=_STYLE if is_known else "",
        title=escape(problem.title),
        clerk=escape(problem.clerk),
        operator=escape(problem.operator),
        code_name=escape(page["page-code"].in_language(reader)),
        code=escape(problem.code),
        request_name=escape(page["page-request"].in_language(reader)),
        request=escape(problem.request_id),
    )
    return web.Response(status=problem.status, text=text, content_type="text/html", headers=dict(HEADERS))
