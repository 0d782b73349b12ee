"""Policy text to document, or every complaint with its place.

The definitions are read first (`groups`, `hosts`, `tagOwners`), then everything that uses them. Names of fields are
matched without regard to case, as the Go server does. Users need not exist: a policy may speak of people who have
not joined yet.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from headscale.ipset import IPSet
from headscale.policy.aliases import (
    Addresses,
    Alias,
    Autogroup,
    GroupName,
    Names,
    TagName,
    UserDomain,
    UserName,
    check_tag_name,
    read_addresses,
    read_alias,
    read_domain,
    read_user,
)
from headscale.policy.complaints import Complaint, PolicyRefused
from headscale.policy.cursor import Cursor, Notes
from headscale.policy.document import Document
from headscale.policy.hujson import parse as parse_hujson
from headscale.policy.hujson_text import HuJSONError
from headscale.policy.parse_access import read_acls, read_grants, read_tests
from headscale.policy.parse_nodes import read_approvers, read_node_attributes
from headscale.policy.parse_ssh import read_ssh, read_ssh_tests

FIELDS: Final = (
    "groups",
    "hosts",
    "tagOwners",
    "acls",
    "grants",
    "ssh",
    "tests",
    "sshTests",
    "autoApprovers",
    "nodeAttrs",
    "randomizeClientPort",
)
# What the hosted service knows and we do not: said by name, with the way that there is.
ELSEWHERE: Final = {
    "derpMap": "derpMap is not read from the policy: set derp.paths or derp.urls in the server's configuration",
    "DERPMap": "derpMap is not read from the policy: set derp.paths or derp.urls in the server's configuration",
    "ipsets": "ipsets are not supported: name the addresses in hosts",
    "postures": "postures are not supported: a rule cannot depend on the state of a device",
    "defaultSrcPosture": "postures are not supported: a rule cannot depend on the state of a device",
    "attrConfig": "custom attributes are not supported",
    "services": "services are not supported",
    "disableIPv4": 'use nodeAttrs: {"target": ["*"], "attr": ["disable-ipv4"]}',
    "OneCGNATRoute": 'use nodeAttrs: {"target": ["*"], "attr": ["one-cgnat?v=true"]}',
    "extraDNSRecords": "DNS records are set in the server's configuration: dns.extra_records",
}


def parse_policy(text: str | bytes, *, domains: frozenset[str] | None = None) -> Document:
    """The document in this text; raises PolicyRefused with everything that is wrong with it.

    `domains` are the login domains of the tailnet, for `user:*@domain`; None when there is no such list, and then
    any domain will do.
    """
    try:
        tree = parse_hujson(text)
    except HuJSONError as problem:
        raise PolicyRefused((Complaint(problem.what, problem.line, problem.column, problem.path),)) from None
    notes = Notes(tree)
    document = _read(Cursor(notes, tree.root), domains)
    if notes.complaints:
        raise PolicyRefused(notes.all())
    return replace(document, text=tree.text)


def _read(root: Cursor, domains: frozenset[str] | None) -> Document:
    parts = root.fields(FIELDS, ELSEWHERE)
    if root.is_null:
        root.complain("expected an object, found null")
    names = Names(domains=domains)
    groups = _groups(parts["groups"], names) if "groups" in parts else {}
    hosts = _hosts(parts["hosts"]) if "hosts" in parts else {}
    tags = (
        frozenset(key.text for key, _ in parts["tagOwners"].members())
        if "tagOwners" in parts
        else frozenset()
    )
    names = Names(groups=frozenset(groups), tags=tags, hosts=hosts, domains=domains)
    routes, exits = read_approvers(parts["autoApprovers"], names) if "autoApprovers" in parts else ((), ())
    return Document(
        groups=groups,
        hosts=hosts,
        tag_owners=_tag_owners(parts["tagOwners"], names) if "tagOwners" in parts else {},
        restricts="acls" in parts or "grants" in parts,
        acls=read_acls(parts["acls"], names) if "acls" in parts else (),
        grants=read_grants(parts["grants"], names) if "grants" in parts else (),
        ssh=read_ssh(parts["ssh"], names) if "ssh" in parts else (),
        node_attributes=read_node_attributes(parts["nodeAttrs"], names) if "nodeAttrs" in parts else (),
        route_approvers=routes,
        exit_approvers=exits,
        tests=read_tests(parts["tests"]) if "tests" in parts else (),
        ssh_tests=read_ssh_tests(parts["sshTests"], names) if "sshTests" in parts else (),
        randomize_client_port=parts["randomizeClientPort"].boolean()
        if "randomizeClientPort" in parts
        else False,
        domains=domains,
    )


def _groups(cursor: Cursor, names: Names) -> dict[str, tuple[UserName | UserDomain, ...]]:
    groups = {}
    for key, members in cursor.members():
        if not key.text.startswith("group:") or not key.text.removeprefix("group:").strip():
            key.complain(f'groups["{key.text}"]: the name of a group must start with "group:"')
        groups[key.text] = tuple(members.read_all(_member_of(key.path, names)))
    return groups


def _member_of(group: str, names: Names) -> Callable[[str], UserName | UserDomain]:
    def read(text: str) -> UserName | UserDomain:
        text = text.strip()
        if text.startswith("group:"):
            raise ValueError(f'{group}: "{text}": group members cannot be recursive')
        if text.startswith("user:*@"):
            return read_domain(text, "user:*@", names)
        if text.startswith(("tag:", "autogroup:")):
            raise ValueError(f'{group}: "{text}": only users can be in a group')
        return read_user(text)

    return read


def _hosts(cursor: Cursor) -> dict[str, Addresses]:
    hosts = {}
    for key, value in cursor.members():
        if not key.text.strip() or any(mark in key.text for mark in ("*", "@", ":", "/")):
            key.complain(f'hosts["{key.text}"]: a host name has none of * @ : / in it')
        ips = value.read(_host_addresses)
        if ips is not None:
            hosts[key.text] = Addresses(key.text, ips)
    return hosts


def _host_addresses(text: str) -> IPSet:
    try:
        return read_addresses(text.strip())
    except ValueError:
        raise ValueError(f'"{text}" is neither an address nor a prefix nor a range of addresses') from None


def _tag_owners(cursor: Cursor, names: Names) -> dict[str, tuple[Alias, ...]]:
    owners = {}
    for key, value in cursor.members():
        try:
            check_tag_name(key.text)
        except ValueError as problem:
            key.complain(f'tagOwners["{key.text}"]: {problem}')
        owners[key.text] = tuple(value.read_all(lambda text: _owner(text, names)))
    return owners


def _owner(text: str, names: Names) -> Alias:
    alias = read_alias(text, names)
    if isinstance(alias, UserName | UserDomain | GroupName | TagName):
        return alias
    if isinstance(alias, Autogroup) and alias.name not in (
        "self",
        "internet",
        "danger-all",
        "nonroot",
        "tagged",
    ):
        return alias
    raise ValueError(f'"{alias.text}" cannot own anything: owners are users, groups, tags and roles')


__all__ = ["Complaint", "PolicyRefused", "parse_policy"]
