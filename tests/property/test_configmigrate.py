"""Whatever an older configuration looks like: rewritten it says the same with today's keys, and loses no comment."""

from io import StringIO
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from headscale.config.keys import REMOVED
from headscale.config.migrate import DROPPED, PREFIXES, RENAMED, migrate

OTHER = {  # keys that stay, in sections that get new neighbours
    "server_url": "https://hs.example",
    "log.format": "text",
    "noise.private_key_path": "noise.key",
    "database.sqlite.write_ahead_log": True,
    "policy.mode": "file",
    "dns.nameservers.split": {"corp": ["192.0.2.1"]},
    "oidc.issuer": "https://id.example",
    "derp.server.enabled": False,
}
RANGES = ["100.64.0.0/10", "fd7a:115c:a1e0::/48"]
VALUES = st.one_of(
    st.integers(0, 99),
    st.booleans(),
    st.sampled_from(["30m", '"quoted # text"', "'single'", "x # said of it"]),
    st.lists(st.sampled_from(["1.1.1.1", "a.b"]), min_size=1, max_size=3),
    st.dictionaries(
        st.sampled_from(["k1", "k2"]), st.lists(st.just("v"), min_size=1, max_size=2), min_size=1
    ),
)


def loaded(text: str) -> Any:
    return YAML(typ="safe", pure=True).load(StringIO(text)) or {}


def flat(document: Any, known: set[str], prefix: str = "") -> dict[str, Any]:
    """Values by the keys with dots that are known; what is below one of them is its value."""
    found: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if name not in known and isinstance(value, dict):
            found |= flat(value, known, f"{name}.")
        else:
            found[name] = value
    return found


KNOWN = {*RENAMED, *RENAMED.values(), *DROPPED, *OTHER, PREFIXES, "prefixes.v4", "prefixes.v6"}


@st.composite
def configurations(draw: st.DrawFn) -> tuple[str, dict[str, Any], set[str]]:
    """A text, its values by key, and the comments above keys that are kept."""
    keys = draw(
        st.lists(
            st.sampled_from([*RENAMED, *DROPPED, *OTHER, PREFIXES]), unique=True, min_size=1, max_size=14
        )
    )
    step = draw(st.sampled_from([2, 4]))
    tree: dict[str, Any] = {}
    for key in keys:
        *sections, last = key.split(".")
        place = tree
        for section in sections:
            place = place.setdefault(section, {})
        place[last] = ("leaf", key)
    comments: set[str] = set()
    lines = draw(st.sampled_from([[], ["---"], ["# of the whole", ""]]))

    def write(node: dict[str, Any], indent: int) -> None:
        for name, value in node.items():
            pad = " " * indent
            if isinstance(value, dict):
                lines.append(f"{pad}{name}:")
                write(value, indent + step)
                continue
            key = value[1]
            for number in range(draw(st.integers(0, 2))):
                comment = f"# comment {number} of {key}"
                lines.append(pad + comment)
                if key not in DROPPED:
                    comments.add(comment)
            write_value(name, key, pad)
            if draw(st.booleans()):
                lines.append("")

    def write_value(name: str, key: str, pad: str) -> None:
        wanted = draw(st.just(RANGES) if key == PREFIXES else VALUES) if key not in OTHER else OTHER[key]
        inner = pad + " " * step
        if isinstance(wanted, list):
            if draw(st.booleans()):
                lines.append(f"{pad}{name}: [{', '.join(wanted)}]")
            else:
                item_pad = draw(st.sampled_from([pad, inner]))
                lines.extend([f"{pad}{name}:", *(f"{item_pad}- {item}" for item in wanted)])
        elif isinstance(wanted, dict):
            lines.append(f"{pad}{name}:")
            for below, items in wanted.items():
                lines.extend([f"{inner}{below}:", *(f"{inner}  - {item}" for item in items)])
        else:
            lines.append(f"{pad}{name}: {str(wanted).lower() if isinstance(wanted, bool) else wanted}")

    write(tree, 0)
    text = "\n".join(lines) + "\n"
    return text, flat(loaded(text), KNOWN), comments


@given(configurations())
def test_it_says_the_same_with_todays_keys(made: tuple[str, dict[str, Any], set[str]]) -> None:
    text, before, comments = made
    written, steps = migrate(text)
    wanted = {key: value for key, value in before.items() if key not in {*RENAMED, *DROPPED, PREFIXES}}
    if PREFIXES in before:
        wanted |= {"prefixes.v4": RANGES[0], "prefixes.v6": RANGES[1]}
    lost = set()
    for old, new in RENAMED.items():
        if old in before:
            if new in wanted:
                lost.add(old)
            else:
                wanted[new] = before[old]
    assert flat(loaded(written), KNOWN) == wanted
    for comment in comments:
        assert comment in written or comment.rpartition(" ")[2] in lost
    assert {step.key for step in steps} == before.keys() & {*RENAMED, *DROPPED, PREFIXES}


@given(configurations())
def test_again_changes_nothing(made: tuple[str, dict[str, Any], set[str]]) -> None:
    written, _ = migrate(made[0])
    assert migrate(written) == (written, ())


def test_every_removed_key_is_rewritten() -> None:
    """What the server refuses with a hint, the command mends."""
    mended = {*RENAMED, *DROPPED, PREFIXES}
    for key in REMOVED:
        assert key in mended or any(known.startswith(f"{key}.") for known in mended), key
