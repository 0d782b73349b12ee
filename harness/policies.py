"""A policy in a few readable lines, for scenarios.

    await tailnet.set_policy(policy(grant("group:eng", to=LAB, ip="tcp:80"), groups={"group:eng": ["erin@"]}))

Every function returns what the policy language has, nothing is interpreted: an engine under test must be free to
refuse. Where the language wants a list, a single text does.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

Rule = dict[str, Any]
Texts = str | Iterable[str]


def grant(
    src: Texts, *, to: Texts, ip: Texts = (), app: Mapping[str, Any] | None = None, via: Texts = ()
) -> Rule:
    """Who may send what to whom; everything, unless `ip` or `app` says less. `via` names the routers' tags."""
    rule: Rule = {"src": _texts(src), "dst": _texts(to)}
    entries = _texts(ip) or ([] if app else ["*"])
    parts = {"ip": entries, "app": dict(app or {}), "via": _texts(via)}
    return rule | {name: value for name, value in parts.items() if value}


def acl(src: Texts, *destinations: str, proto: str = "") -> Rule:
    """The older form of a rule: each destination carries its ports, `tag:web:80,443`."""
    rule: Rule = {"action": "accept", "src": _texts(src), "dst": list(destinations)}
    return rule | ({"proto": proto} if proto else {})


def ssh(src: Texts, *, to: Texts, users: Texts, action: str = "accept", **more: Any) -> Rule:
    """Who may log in where as whom. `more` is `checkPeriod`, `acceptEnv`, or `recorder`."""
    return {"action": action, "src": _texts(src), "dst": _texts(to), "users": _texts(users), **more}


def policy(
    *rules: Rule,
    groups: Mapping[str, Sequence[str]] | None = None,
    hosts: Mapping[str, str] | None = None,
    tag_owners: Mapping[str, Sequence[str]] | None = None,
    routes: Mapping[str, Texts] | None = None,
    exit_nodes: Texts = (),
    **more: Any,
) -> str:
    """The policy's text. Rules go where they belong, in the order given; without any, nobody reaches anybody.

    A tag that stands in a rule and not among `tag_owners` is nobody's: enough for tagged keys. `routes` and
    `exit_nodes` say whose routes are approved at once. `more` is any other section, by its own name.
    """
    document: dict[str, Any] = {"grants": []}
    for rule in rules:
        document.setdefault(_section(rule), []).append(rule)
    approvers = {
        "routes": {prefix: _texts(who) for prefix, who in (routes or {}).items()},
        "exitNode": _texts(exit_nodes),
    }
    tags = sorted({*_tags_in(approvers), *_tags_in(rules), *(tag_owners or {})})
    sections = {
        "groups": {name: list(members) for name, members in (groups or {}).items()},
        "hosts": dict(hosts or {}),
        "tagOwners": {tag: list((tag_owners or {}).get(tag, ())) for tag in tags},
        "autoApprovers": {name: value for name, value in approvers.items() if value},
    }
    return json.dumps({name: value for name, value in sections.items() if value} | document | more, indent=2)


def read(text: str) -> dict[str, Any]:
    """A policy's text as the oracle takes it: comments and commas before a closing bracket are left out.

    Raises ValueError for what is not such a text.
    """
    plain = _COMMENT.sub(lambda found: found["text"] or " ", text)
    document = json.loads(_LAST_COMMA.sub(lambda found: found["text"] or found["close"], plain))
    if not isinstance(document, dict):
        raise ValueError(f"a policy is an object, not {document!r}")
    return document


_TEXT: Final = r'(?P<text>"(?:[^"\\]|\\.)*")'
_COMMENT: Final = re.compile(rf"{_TEXT}|//[^\n]*|/\*.*?\*/", re.DOTALL)
_LAST_COMMA: Final = re.compile(rf"{_TEXT}|,\s*(?P<close>[\]}}])")


def _section(rule: Rule) -> str:
    if "users" in rule:
        return "ssh"
    return "acls" if "action" in rule else "grants"


def _tags_in(value: Any) -> Iterable[str]:
    """Every tag that stands somewhere in a value, also before a port."""
    if isinstance(value, str):
        if value.startswith("tag:"):
            yield ":".join(value.split(":")[:2])
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from _tags_in(each)
    elif isinstance(value, Iterable):
        for each in value:
            yield from _tags_in(each)


def _texts(value: Texts) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


ALLOW_ALL: Final = policy(grant("*", to="*"))
"""Every node of the tailnet, and what is behind its routers, reaches everything."""

NOBODY: Final = policy()
"""Nobody reaches anybody, and nobody sees anybody."""
