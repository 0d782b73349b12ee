"""Policy text to a tree: HuJSON, which is JSON with comments and trailing commas, and nothing else of JSON5.

`//` and `/* */` comments stand wherever white space does, and one comma may follow the last item or member.
The rest is RFC 8259, with what it leaves open decided: a key stands once in an object, integers fit 64 bits,
other numbers a double, strings are whole characters. The reader keeps its own stack, so depth is a limit and
never a crash. Source for the format: github.com/tailscale/hujson ecc657c1, doc comment of types.go.
"""

import re
from typing import Final

from headscale.policy.hujson_reader import Limits, Reader
from headscale.policy.hujson_text import HuJSONError, error_at, join_path, line_starts
from headscale.policy.hujson_tree import (
    Array,
    Kind,
    Literal,
    Member,
    Number,
    Object,
    String,
    Tree,
    Value,
    pieces,
    print_text,
    to_python,
)

__all__ = [
    "LIMITS",
    "Array",
    "HuJSONError",
    "Limits",
    "Literal",
    "Member",
    "Number",
    "Object",
    "String",
    "Tree",
    "Value",
    "join_path",
    "parse",
    "print_text",
    "strip",
    "to_python",
]

LIMITS: Final = Limits()
_NOT_LINE_END: Final = re.compile(r"[^\t\r\n]")


def parse(text: str | bytes, *, limits: Limits = LIMITS) -> Tree:
    """The tree of a document; bytes are UTF-8. Raises HuJSONError."""
    source = _source(text, limits)
    root = Reader(source, limits).document()
    return Tree(text=source, root=root, line_starts=line_starts(source))


def strip(text: str | bytes, *, limits: Limits = LIMITS) -> str:
    """The document as plain JSON of the same length, for readers that know nothing else.

    Comments, trailing commas and the byte order mark become spaces; line ends stay, so every offset, line
    and column is that of the document. Raises HuJSONError.
    """
    tree = parse(text, limits=limits)
    return "".join(
        piece if kind is Kind.TOKEN else _NOT_LINE_END.sub(" ", piece) for kind, piece in pieces(tree)
    )


def _source(text: str | bytes, limits: Limits) -> str:
    """The text as characters, once its size and encoding are known to be right."""
    try:
        data = text.encode() if isinstance(text, str) else text
        if len(data) > limits.size_bytes:
            most = f"the limit of {limits.size_bytes:,} (size_bytes)"
            what = f"the document has {len(data):,} bytes, more than {most}"
            raise HuJSONError(what, offset=0, line=1, column=1)
        return text if isinstance(text, str) else text.decode()
    except UnicodeEncodeError as error:
        what = f"half of a surrogate pair is no character, found U+{ord(error.object[error.start]):04X}"
        raise error_at(error.object, error.start, what) from error
    except UnicodeDecodeError as error:
        before = error.object[: error.start].decode()
        what = f"the text is not UTF-8, found the byte 0x{error.object[error.start]:02X}"
        raise error_at(before, len(before), what) from error
