"""A configuration of an older Go headscale, rewritten with today's keys.

Lines are moved, not written anew: comments, order and the operator's way of writing stay. Each comment goes with the
key that it stands above.
"""

import ipaddress
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from headscale.errors import Malformed

STEP: Final = "  "

# From the older key to today's, each release's renames in one table.
RENAMED: Final = {
    "acl_policy_path": "policy.path",
    "log_level": "log.level",
    "ephemeral_node_inactivity_timeout": "node.ephemeral.inactivity_timeout",
    "oidc.expiry": "node.expiry",
    "db_type": "database.type",
    "db_path": "database.sqlite.path",
    "db_host": "database.postgres.host",
    "db_port": "database.postgres.port",
    "db_name": "database.postgres.name",
    "db_user": "database.postgres.user",
    "db_pass": "database.postgres.pass",
    "db_ssl": "database.postgres.ssl",
    "dns_config.override_local_dns": "dns.override_local_dns",
    "dns_config.nameservers": "dns.nameservers.global",
    "dns_config.restricted_nameservers": "dns.nameservers.split",
    "dns_config.domains": "dns.search_domains",
    "dns_config.extra_records": "dns.extra_records",
    "dns_config.magic_dns": "dns.magic_dns",
    "dns_config.base_domain": "dns.base_domain",
}
_IDENTITY: Final = "identities are the provider's issuer and subject, not the e-mail address"
DROPPED: Final = {
    "dns_config.use_username_in_magic_dns": "user names are no longer part of node names",
    "dns.use_username_in_magic_dns": "user names are no longer part of node names",
    "oidc.strip_email_domain": _IDENTITY,
    "oidc.map_legacy_users": _IDENTITY,
    "randomize_client_port": 'put "randomizeClientPort": true into the policy instead, if it was true',
    "private_key_path": "clients without Noise are no longer served",
    "grpc_listen_addr": "there is no gRPC any more",
    "grpc_allow_insecure": "there is no gRPC any more",
    "node_update_check_interval": "changes reach clients at once",
    "tls_client_auth_mode": "clients do not show certificates",
}
PREFIXES: Final = "ip_prefixes"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was changed: the key as it was, and what became of it."""

    key: str
    what: str

    def __str__(self) -> str:
        return f"{self.key}: {self.what}"


@dataclass(slots=True)
class _Block:
    """A key with the comments above it; either `body`, the lines of its value, or keys under it."""

    key: str
    indent: int
    above: list[str]
    head: str
    body: list[str] = field(default_factory=list)
    children: "list[_Block] | None" = None

    def lines(self) -> list[str]:
        """As they stand in the file."""
        below = (
            self.body
            if self.children is None
            else [line for child in self.children for line in child.lines()]
        )
        return [*self.above, self.head, *below]


def migrate(text: str) -> tuple[str, tuple[Step, ...]]:
    """The text with today's keys, and what was changed; without an older key it is the same text. Raises Malformed."""
    document = _parsed(text)
    lines = text.splitlines()
    first = min((at[0] for at in document.lc.data.values()), default=len(lines)) if document else len(lines)
    start = _comments_begin(lines, first, 0)
    top = _Block("", -len(STEP), [], "", children=_blocks(document, lines, start, len(lines)))
    steps: list[Step] = []
    for old, new in RENAMED.items():
        _rename(top, old, new, steps)
    for old, why in DROPPED.items():
        if _take(top, old) is not None:
            steps.append(Step(old, f"dropped: {why}"))
    _split_prefixes(top, document, steps)
    if not steps:
        return text, ()
    written = (
        "\n".join([*lines[:start], *(line for child in top.children or () for line in child.lines())]) + "\n"
    )
    _parsed(written)
    return written, tuple(steps)


def _parsed(text: str) -> CommentedMap:
    try:
        document = YAML(typ="rt").load(StringIO(text))
    except YAMLError as problem:
        mark = getattr(problem, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark is not None else ""
        raise Malformed(f"{where}not YAML: {getattr(problem, 'problem', problem)}") from None
    if document is None:
        return CommentedMap()
    if not isinstance(document, CommentedMap) or document.fa.flow_style():
        raise Malformed("expected keys and values at the top, each on a line of its own")
    return document


# ---- from text to blocks


def _blocks(mapping: CommentedMap, lines: Sequence[str], start: int, end: int) -> list[_Block]:
    """The keys of a mapping whose lines are start to end (exclusive)."""
    if not mapping:
        return []
    indent = min(at[1] for at in mapping.lc.data.values())
    at = [
        (str(key), mapping.lc.data[key][0], value) for key, value in mapping.items() if key in mapping.lc.data
    ]
    begins = [start, *(_comments_begin(lines, line, indent) for _, line, _ in at[1:]), end]
    found = []
    for number, (key, line, value) in enumerate(at):
        block = _Block(key, indent, list(lines[begins[number] : line]), lines[line])
        until = begins[number + 1]
        if isinstance(value, CommentedMap) and value and not value.fa.flow_style():
            block.children = _blocks(value, lines, line + 1, until)
        else:
            block.body = list(lines[line + 1 : until])
        found.append(block)
    return found


def _comments_begin(lines: Sequence[str], line: int, indent: int) -> int:
    """Where the comments above a key begin: those of its own depth, without a blank line between them and it."""
    begin = line
    while begin > 0:
        above = lines[begin - 1]
        if not above.lstrip().startswith("#") or len(above) - len(above.lstrip()) < indent:
            break
        begin -= 1
    return begin


# ---- changes


def _rename(top: _Block, old: str, new: str, steps: list[Step]) -> None:
    place = _index(top, old.split(".")[0])
    block = _take(top, old)
    if block is None:
        return
    if _find(top, new) is not None:
        steps.append(Step(old, f"dropped: {new} is set as well and counts"))
        return
    _put(top, new, block, place)
    steps.append(Step(old, f"is now {new}"))


def _split_prefixes(top: _Block, document: CommentedMap, steps: list[Step]) -> None:
    """One list of both families became a key for each."""
    place = _index(top, PREFIXES)
    block = _take(top, PREFIXES)
    if block is None:
        return
    by_family: dict[int, list[str]] = {4: [], 6: []}
    given = document[PREFIXES]
    for text in given if isinstance(given, list) else [given]:
        try:
            by_family[ipaddress.ip_network(str(text), strict=False).version].append(str(text))
        except ValueError:
            steps.append(Step(PREFIXES, f"dropped: {text!r} is no address range"))
    above = block.above
    for family, ranges in by_family.items():
        new = f"prefixes.v{family}"
        if not ranges or _find(top, new) is not None:
            continue
        _put(top, new, _Block(PREFIXES, 0, above, f"{PREFIXES}: {ranges[0]}"), place)
        above = []
        rest = f" (only one range is possible: {', '.join(ranges[1:])} left out)" if ranges[1:] else ""
        steps.append(Step(PREFIXES, f"{ranges[0]} is now {new}{rest}"))


def _index(top: _Block, key: str) -> int:
    children = top.children or []
    return next((number for number, child in enumerate(children) if child.key == key), len(children))


def _find(top: _Block, path: str) -> _Block | None:
    block: _Block | None = top
    for part in path.split("."):
        block = (
            next((child for child in (block.children or ()) if child.key == part), None) if block else None
        )
    return block


def _take(top: _Block, path: str) -> _Block | None:
    """Take a key out; a section that is empty then goes too, and its comments with the key."""
    section, _, key = path.rpartition(".")
    parent = _find(top, section) if section else top
    if parent is None or parent.children is None:
        return None
    block = next((child for child in parent.children if child.key == key), None)
    if block is None:
        return None
    parent.children.remove(block)
    if parent is not top and not parent.children:
        _take(top, section)
        block.above = [*parent.above, *block.above]
    return block


def _put(top: _Block, path: str, block: _Block, place: int) -> None:
    """Put a block under this path; a section that is not there yet stands where the block stood."""
    *sections, key = path.split(".")
    parent = top
    for depth, name in enumerate(sections):
        children = parent.children
        assert children is not None
        section = next((child for child in children if child.key == name), None)
        if section is None:
            indent = _depth_in(parent)
            section = _Block(name, indent, [], f"{' ' * indent}{name}:", children=[])
            children.insert(place if depth == 0 else len(children), section)
        elif section.children is None:
            section.children = _unfolded(section)
        parent = section
    assert parent.children is not None
    parent.children.append(_moved(block, key, _depth_in(parent)))


def _depth_in(parent: _Block) -> int:
    return parent.children[0].indent if parent.children else parent.indent + len(STEP)


def _unfolded(section: _Block) -> list[_Block]:
    """The keys of a section that was written in one line, or not at all; its head loses its value."""
    value = _parsed("\n".join([section.head.lstrip(), *section.body]))[section.key]
    section.head = section.head[: section.indent] + f"{section.key}:"
    left, section.body = section.body, []
    if not isinstance(value, CommentedMap):  # empty, perhaps with comments below
        section.above += [line for line in left if line.strip()]
        return []
    out = StringIO()
    plain: Callable[[Any], Any] = lambda v: {k: plain(i) for k, i in v.items()} if isinstance(v, dict) else v  # noqa: E731
    writer = YAML()
    writer.default_flow_style = False
    writer.dump(plain(value), out)
    text = out.getvalue()
    blocks = _blocks(_parsed(text), text.splitlines(), 0, len(text.splitlines()))
    return [_moved(block, block.key, section.indent + len(STEP)) for block in blocks]


def _moved(block: _Block, key: str, indent: int) -> _Block:
    """The block under another name and at another depth."""
    shift = indent - block.indent
    head = block.head[block.indent :]
    name_end = head.index(":")
    return _Block(
        key,
        indent,
        [_shifted(line, shift) for line in block.above],
        " " * indent + key + head[name_end:],
        [_shifted(line, shift) for line in block.body],
        None if block.children is None else [_moved(c, c.key, c.indent + shift) for c in block.children],
    )


def _shifted(line: str, by: int) -> str:
    if not line.strip():
        return line
    return " " * by + line if by >= 0 else line[min(-by, len(line) - len(line.lstrip())) :]
