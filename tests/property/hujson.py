"""The many ways to write one JSON value as HuJSON: comments and white space anywhere, commas at the end."""

import json
from collections.abc import Iterable, Iterator
from itertools import cycle
from typing import Any, Final

from hypothesis import strategies as st

BLANKS: Final = ("", "", " ", "\n", "\t", "\r\n")
COMMENTS: Final = (
    "// plain\n",
    '// "quoted", {[: and // more\n',
    "//\n",
    "/**/",
    "/* one line */",
    "/* two\n\tlines, with a // and a * / in them */",
    '/* "text": [1, 2, */',
    "/* ümläut ☃ */",
)


@st.composite
def hujson_texts(draw: st.DrawFn, value: Any) -> str:
    """A text that means this value. It shrinks to plain JSON."""
    noise = draw(st.lists(st.sampled_from((*BLANKS, *COMMENTS)), min_size=1, max_size=12))
    trailing = draw(st.lists(st.booleans(), min_size=1, max_size=5))
    ascii_only = draw(st.booleans())
    return "".join(_pieces(value, cycle(noise), cycle(trailing), ascii_only=ascii_only))


def _pieces(value: Any, noise: Iterator[str], trailing: Iterator[bool], *, ascii_only: bool) -> Iterator[str]:
    """The text in pieces, with noise before and after each token."""

    def written(part: Any) -> list[str]:
        return list(_pieces(part, noise, trailing, ascii_only=ascii_only))

    yield next(noise)
    if isinstance(value, dict):
        members = (
            [next(noise), json.dumps(name, ensure_ascii=ascii_only), next(noise), ":", *written(each)]
            for name, each in value.items()
        )
        yield from _list("{", members, "}", noise, trailing)
    elif isinstance(value, list):
        yield from _list("[", map(written, value), "]", noise, trailing)
    else:
        yield json.dumps(value, ensure_ascii=ascii_only)
    yield next(noise)


def _list(
    opened: str, items: Iterable[list[str]], closed: str, noise: Iterator[str], trailing: Iterator[bool]
) -> Iterator[str]:
    yield opened
    count = 0
    for count, item in enumerate(items, start=1):
        yield from ["," if count > 1 else "", *item]
    if count and next(trailing):
        yield ","
    yield next(noise)
    yield closed
