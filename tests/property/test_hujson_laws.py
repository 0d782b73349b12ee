"""Laws of the HuJSON reader: nothing of a text is lost, plain JSON means what it meant, any input is answered."""

import json
import math
import re
from typing import Final

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headscale.policy.hujson import (
    Array,
    HuJSONError,
    Limits,
    Object,
    Tree,
    Value,
    parse,
    print_text,
    strip,
    to_python,
)

SPACES: Final = st.text(" \t\r\n", max_size=3)
LINE_COMMENTS: Final = st.text("ab/*\"'\\,:[]{}é\u2028\x00😀", max_size=6).map(lambda text: f"//{text}\n")
BLOCK_COMMENTS: Final = (
    st.text('ab/*"\\,:[]{}\né😀', max_size=6)
    .filter(lambda text: "*/" not in text)
    .map(lambda text: f"/*{text}*/")
)
EXTRAS: Final = st.lists(st.one_of(SPACES, LINE_COMMENTS, BLOCK_COMMENTS), max_size=2).map("".join)

CHARACTERS: Final = st.characters(exclude_categories=["Cs"])
PLAIN: Final = st.text(st.one_of(st.sampled_from('ab:"\\/\n\x7f\u2028é😀'), CHARACTERS), max_size=8)
NUMBERS: Final = st.one_of(
    st.integers(-(2**63), 2**63 - 1), st.floats(allow_nan=False, allow_infinity=False), st.just(-0.0)
)
LEAVES: Final = st.one_of(st.none(), st.booleans(), NUMBERS, PLAIN)
VALUES: Final = st.recursive(
    LEAVES,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(PLAIN, inner, max_size=4)),
    max_leaves=12,
)


@st.composite
def strings(draw: st.DrawFn, text: str) -> str:
    """One of the ways to write a string."""
    written = json.dumps(text, ensure_ascii=draw(st.booleans()))
    return written.replace("/", "\\/") if draw(st.booleans()) else written


@st.composite
def written(draw: st.DrawFn, value: object) -> str:
    """One of the ways to write a value, with odd white space, comments and trailing commas."""
    if isinstance(value, list):
        items = [draw(written(item)) for item in value]
        return f"[{draw(joined(items))}]"
    if isinstance(value, dict):
        members = [
            f"{draw(strings(key))}{draw(EXTRAS)}:{draw(EXTRAS)}{draw(written(inner))}"
            for key, inner in value.items()
        ]
        return f"{{{draw(joined(members))}}}"
    return draw(strings(value)) if isinstance(value, str) else json.dumps(value)


@st.composite
def joined(draw: st.DrawFn, parts: list[str]) -> str:
    """Items or members with what stands between them."""
    text = ",".join(f"{draw(EXTRAS)}{part}{draw(EXTRAS)}" for part in parts)
    return text + draw(EXTRAS) + ("," + draw(EXTRAS) if parts and draw(st.booleans()) else "")


@st.composite
def documents(draw: st.DrawFn) -> tuple[object, str]:
    """A value and a HuJSON text for it."""
    value = draw(VALUES)
    bom = draw(st.sampled_from(["", "", "", "\ufeff"]))
    ending = draw(st.sampled_from(["", "", "// the end", "//"]))
    return value, f"{bom}{draw(EXTRAS)}{draw(written(value))}{draw(EXTRAS)}{ending}"


# Near misses: what HuJSON is made of, and what people put into it.
PIECES: Final = st.one_of(
    st.sampled_from("{}[]:,\"'#\n\\.-+\ufeff\x00é😀\ud800"),
    st.sampled_from(["//", "/*", "*/", "\\u", "\\ud83d", "\\ude00", "\\n", '"a"', '"b"', '"a":', "a"]),
    st.sampled_from(
        ["1", "-1", "0", "01", "1.5", "1e9", "1e999", "9223372036854775808", "true", "nul", "NaN"]
    ),
)
NEAR: Final = st.lists(PIECES, max_size=12).map("".join)
# Commas where they belong and where they do not, and keys that come again.
COMMAS: Final = st.one_of(
    st.lists(st.sampled_from(["", "/**/", "1"]), max_size=3).map(",".join).map("[{}]".format),
    st.lists(st.sampled_from(["", '"a":1', '"\\u0061":1', '"b":2']), max_size=3)
    .map(",".join)
    .map("{{{}}}".format),
)


# Of those that are refused where they begin when they are cut: numbers, literals and escapes, not strings.
LONGEST_TOKEN: Final = len("-2.2250738585072014e-308")


def same(found: object, wanted: object) -> bool:
    """Equal in value and in kind, which `==` is not: 1 is not True, 1.0 is not 1, 0.0 is not -0.0."""
    return repr(found) == repr(wanted)


def check(text: str | bytes) -> Tree | None:
    """The tree, or None when the text was refused in a way that its writer can use."""
    try:
        return parse(text)
    except HuJSONError as raised:
        error = raised
    whole = text if isinstance(text, str) else text.decode(errors="replace")
    assert 0 <= error.offset <= len(whole)
    assert (error.line, error.column) == place(whole, error.offset)
    assert str(error).isprintable()
    return None


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column by the plainest reading; a byte order mark is no column."""
    before = text[:offset].split("\n")
    bom = text.startswith("\ufeff") and len(before) == 1
    return len(before), max(1, len(before[-1]) + 1 - bom)


def values(value: Value) -> list[Value]:
    """A value and all in it."""
    inside: tuple[Value, ...] = ()
    if isinstance(value, Array):
        inside = value.items
    elif isinstance(value, Object):
        inside = tuple(part for member in value.members for part in (member.key, member.value))
    return [value, *(found for part in inside for found in values(part))]


@given(document=documents())
def test_printing_gives_the_text_back(document: tuple[object, str]) -> None:
    """Printing what was parsed is the identity, character for character and byte for byte."""
    _, text = document
    assert print_text(parse(text)) == text
    assert print_text(parse(text.encode())).encode() == text.encode()


@given(document=documents())
def test_a_text_means_what_was_written(document: tuple[object, str]) -> None:
    """Comments, white space, trailing commas and escapes do not change the value."""
    value, text = document
    assert same(to_python(parse(text).root), value)


@given(document=documents())
def test_stripped_text_is_plain_json_of_the_same_shape(document: tuple[object, str]) -> None:
    """A reader of plain JSON finds the same value in the stripped text, and every line end where it was."""
    _, text = document
    plain = strip(text)
    assert same(json.loads(plain), to_python(parse(text).root))
    assert len(plain) == len(text)
    lines = [found.start() for found in re.finditer(r"[\r\n]", text)]
    assert [found.start() for found in re.finditer(r"[\r\n]", plain)] == lines


@given(document=documents())
def test_every_value_knows_its_place(document: tuple[object, str]) -> None:
    """The text between a value's offsets, read alone, is that value; its line and column are right."""
    _, text = document
    tree, plain = parse(text), strip(text)
    for value in values(tree.root):
        piece = plain[value.start : value.end]
        assert piece == piece.strip()
        assert same(json.loads(piece), to_python(value))
        assert tree.line_column(value.start) == place(text, value.start)
        assert tree.line_column(value.end) == place(text, value.end)


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 0, 2, "\t"]))
def test_plain_json_keeps_its_value(value: object, ascii_only: bool, indent: int | str | None) -> None:
    """Whatever json.dumps prints is HuJSON for the same value."""
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    assert same(to_python(parse(text).root), value)


@given(
    text=st.one_of(
        NEAR, st.text(max_size=30), st.binary(max_size=30), NEAR.map(lambda t: t.encode(errors="replace"))
    )
)
def test_any_input_is_a_tree_or_an_error(text: str | bytes) -> None:
    """Nothing but HuJSONError is ever raised, its place is in the text, and what is accepted prints back."""
    tree = check(text)
    if tree is not None:
        assert print_text(tree) == (text if isinstance(text, str) else text.decode())


@given(text=st.one_of(COMMAS, NEAR, documents().map(lambda document: document[1])))
def test_what_python_reads_strictly_is_read_the_same(text: str) -> None:
    """What Python's strict reader takes, we take; whatever we take, it takes once stripped; the value is one."""
    try:
        wanted = strictly(text)
    except ValueError:
        tree = check(text)
        if tree is None:
            return
        assert print_text(tree) == text
        wanted = strictly(strip(text))
    assert same(to_python(parse(text).root), wanted)


@given(document=documents(), data=st.data())
def test_a_cut_document_is_a_tree_or_an_error(document: tuple[object, str], data: st.DataObject) -> None:
    """Wherever a text ends too early, between characters or within one."""
    text = document[1].encode()
    cut = text[: data.draw(st.integers(0, len(text)))]
    check(cut)
    check(cut.decode(errors="replace"))


@given(document=documents(), data=st.data())
def test_a_flipped_byte_is_a_tree_or_an_error(document: tuple[object, str], data: st.DataObject) -> None:
    """Whatever one byte turns into."""
    text = bytearray(document[1].encode())
    assume(text)
    text[data.draw(st.integers(0, len(text) - 1))] ^= data.draw(st.integers(1, 255))
    tree = check(bytes(text))
    assert tree is None or print_text(tree).encode() == bytes(text)


@given(document=documents(), data=st.data())
def test_a_closed_document_cannot_lose_its_end(document: tuple[object, str], data: st.DataObject) -> None:
    """What is cut before its last bracket is refused at the end of the text, or where its last token begins."""
    text = document[1]
    root = parse(text).root
    assume(isinstance(root, Array | Object))
    cut = text[: data.draw(st.integers(root.start + 1, root.end - 1))]
    with pytest.raises(HuJSONError) as caught:
        parse(cut)
    assert caught.value.offset >= len(cut) - LONGEST_TOKEN


@given(document=documents())
def test_limits_count_what_is_there(document: tuple[object, str]) -> None:
    """A document passes limits that are exactly its own size, and none that are one less."""
    _, text = document
    root = parse(text).root
    inside = values(root)
    keys = sum(len(value.members) for value in inside if isinstance(value, Object))
    exact = {"size_bytes": len(text.encode()), "values": len(inside) - keys, "depth": depth(root)}
    parse(text, limits=Limits(**exact))
    for name, most in exact.items():
        if most > 0:
            with pytest.raises(HuJSONError, match=rf"limit of .* \({name}\)"):
                parse(text, limits=Limits(**{**exact, name: most - 1}))


def depth(value: Value) -> int:
    """How many arrays and objects are open at most."""
    if isinstance(value, Array):
        return 1 + max(map(depth, value.items), default=0)
    if isinstance(value, Object):
        return 1 + max((depth(member.value) for member in value.members), default=0)
    return 0


def strictly(text: str) -> object:
    """Plain JSON as Python reads it, or ValueError, also for what we refuse beyond its grammar."""
    value = json.loads(text, object_pairs_hook=no_key_twice, parse_constant=refuse)
    in_range(value)
    return value


def no_key_twice(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice")
    return found


def refuse(constant: str) -> object:
    raise ValueError(constant)


def in_range(value: object) -> None:
    """Raise ValueError for what Python's reader accepts and we do not."""
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("an integer beyond 64 bits")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("beyond a double")
    if isinstance(value, str):
        value.encode()
    for inside in value if isinstance(value, list) else ():
        in_range(inside)
    for key, inside in value.items() if isinstance(value, dict) else ():
        in_range(key)
        in_range(inside)
