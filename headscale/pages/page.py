"""How a page looks that people see: plain HTML, without scripts, and nothing from elsewhere."""

import html
from http import HTTPStatus
from typing import Final

from aiohttp import web

_STYLE: Final = (
    ":root{color-scheme:light dark}"
    "body{font:1rem/1.5 system-ui,sans-serif;max-width:42rem;margin:3rem auto;padding:0 1rem}"
    "code,pre{font-family:ui-monospace,monospace}code{overflow-wrap:anywhere}pre code{overflow-wrap:normal}"
    "pre{padding:1rem;border:1px solid;overflow-x:auto}"
    "dt{font-weight:600}dd{margin:0 0 .5rem}"
    "button{font:inherit;padding:.5rem 1.25rem;margin:0 .5rem .5rem 0;cursor:pointer}"
    "header{font-weight:600;opacity:.75}"
)
# No script, no frame, nothing from elsewhere; forms only where a page has one. The icon is a picture, and ours.
POLICY: Final = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; frame-ancestors 'none'; base-uri 'none'"
)


def page(title: str, body: str, status: HTTPStatus, *, has_form: bool = False) -> web.Response:
    """A whole page; `body` is HTML, `title` is text."""
    heading = html.escape(title)
    shown = f"<header>headscale</header><main><h1>{heading}</h1>{body}</main>"
    return _response(f"{heading} - headscale", shown, status, has_form=has_form)


def blank() -> web.Response:
    """A page with nothing on it."""
    return _response("headscale", "", HTTPStatus.OK, has_form=False)


def _response(title: str, body: str, status: HTTPStatus, *, has_form: bool) -> web.Response:
    text = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>'
        f"<body>{body}</body></html>\n"
    )
    forms = "'self'" if has_form else "'none'"
    headers = {
        "Content-Security-Policy": f"{POLICY}; form-action {forms}",
        "Cache-Control": "no-store",
    }
    return web.Response(status=status, text=text, content_type="text/html", headers=headers)


def listed(rows: list[tuple[str, str]]) -> str:
    """Names and values as a list of terms; both are text."""
    shown = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value[:200])}</dd>" for name, value in rows
    )
    return f"<dl>{shown}</dl>"
