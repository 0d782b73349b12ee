"""A document as a plain HTML page: tables, no scripts, nothing from elsewhere."""

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any, Final

_STYLE: Final = (
    "body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:110em}"
    "table{border-collapse:collapse;margin:.5em 0}"
    "th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}"
    "th{background:#f3f3f3}pre{background:#f7f7f7;padding:1em;overflow:auto}"
)


def page(title: str, document: Mapping[str, Any], *, form: str = "") -> str:
    """The whole page; `form` is HTML of ours that stands above the document."""
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)} - headscale</title>'
        f"<style>{_STYLE}</style></head><body><p><a href='/debug/'>debug</a></p><h1>{escape(title)}</h1>"
        f"{form}{_value(document)}</body></html>\n"
    )


def node_form(value: str, *, method: str = "get") -> str:
    """A field for a node."""
    return (
        f'<form method="{method}"><label>Node <input name="node" value="{escape(value)}" '
        'placeholder="id, address or name"></label> <button>Show</button></form>'
    )


def button(label: str) -> str:
    """A form that posts nothing to the page itself."""
    return f'<form method="post"><button>{escape(label)}</button></form>'


def _value(value: Any) -> str:
    match value:
        case Mapping() if value:
            rows = "".join(
                f"<tr><th>{escape(str(key))}</th><td>{_value(of)}</td></tr>" for key, of in value.items()
            )
            return f"<table>{rows}</table>"
        case str():
            return f"<pre>{escape(value)}</pre>" if "\n" in value else escape(value)
        case Sequence() if value and all(isinstance(one, Mapping) for one in value):
            return _rows(value)
        case Sequence() if value and all(isinstance(one, str | int | float) for one in value):
            return "<br>".join(escape(str(one)) for one in value)
        case Sequence() if value:
            return f"<pre>{escape(json.dumps(value, indent=1, default=str))}</pre>"
        case None | Mapping() | Sequence():
            return "-"
        case _:
            return escape(str(value))


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_value(row.get(column))}</td>" for column in columns) + "</tr>"
        for row in rows
    )
    return f"<table><tr>{head}</tr>{body}</table>"
