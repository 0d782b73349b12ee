"""A policy document: what was written, read and checked, before it meets a tailnet."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import timedelta

import msgspec

from headscale.policy.aliases import Addresses, Alias, UserDomain, UserName
from headscale.policy.ports import Traffic
from headscale.policy.subjects import Network


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands: line and column from 1, and the path, such as `acls[0].src[1]`."""

    line: int
    column: int
    path: str


@dataclass(frozen=True, slots=True)
class Target:
    """What an ACL's destination opens: the alias and its own ports."""

    alias: Alias
    traffic: Traffic


@dataclass(frozen=True, slots=True)
class Acl:
    """One of `acls`: the sources may reach each target at that target's ports."""

    place: Place
    sources: tuple[Alias, ...]
    targets: tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Grant:
    """One of `grants`: the sources may send each traffic to, and hold each capability at, all destinations.

    With `via` tags the destinations are reached through nodes with one of these tags only.
    """

    place: Place
    sources: tuple[Alias, ...]
    destinations: tuple[Alias, ...]
    traffics: tuple[Traffic, ...]
    capabilities: Mapping[str, list[msgspec.Raw]]
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SSHUsers:
    """Which local users a rule opens; `domains` are those of `localpart:*@domain`."""

    root: bool = False
    nonroot: bool = False
    names: tuple[str, ...] = ()
    domains: tuple[UserDomain, ...] = ()


@dataclass(frozen=True, slots=True)
class SSH:
    """One of `ssh`. `period` counts for `check`: how long one check lasts, zero for every time."""

    place: Place
    check: bool
    sources: tuple[Alias, ...]
    destinations: tuple[Alias, ...]
    users: SSHUsers
    period: timedelta
    accept_env: tuple[str, ...] = ()
    recorders: tuple[Alias, ...] = ()
    enforce_recorder: bool = False


@dataclass(frozen=True, slots=True)
class NodeAttributes:
    """One of `nodeAttrs`: nodes that are targets have these attributes, and addresses from these pools."""

    place: Place
    targets: tuple[Alias, ...]
    attributes: tuple[str, ...]
    pools: tuple[Network, ...] = ()
    app: Mapping[str, list[msgspec.Raw]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Approver:
    """An entry of `autoApprovers`: who has this route approved without being asked."""

    route: Network
    owners: tuple[Alias, ...]


@dataclass(frozen=True, slots=True)
class Test:
    """One of `tests`, as written: what it names is looked up when it runs."""

    place: Place
    source: str
    protocol: str
    accept: tuple[str, ...]
    deny: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SSHTest:
    """One of `sshTests`."""

    place: Place
    source: str
    destinations: tuple[str, ...]
    accept: tuple[str, ...]
    deny: tuple[str, ...]
    check: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """A well-formed policy. `text` is as it was given, comments included.

    `restricts` is whether it has `acls` or `grants` at all: without either key all traffic may flow, with an
    empty list none.
    """

    text: str = ""
    groups: Mapping[str, tuple[UserName | UserDomain, ...]] = field(default_factory=dict)
    hosts: Mapping[str, Addresses] = field(default_factory=dict)
    tag_owners: Mapping[str, tuple[Alias, ...]] = field(default_factory=dict)
    restricts: bool = False
    grants: tuple[Grant, ...] = ()
    acls: tuple[Acl, ...] = ()
    ssh: tuple[SSH, ...] = ()
    node_attributes: tuple[NodeAttributes, ...] = ()
    route_approvers: tuple[Approver, ...] = ()
    exit_approvers: tuple[Alias, ...] = ()
    tests: tuple[Test, ...] = ()
    ssh_tests: tuple[SSHTest, ...] = ()
    randomize_client_port: bool = False
    domains: frozenset[str] | None = None


def users_named(document: Document) -> Iterator[UserName | UserDomain]:
    """Every user that the document names outside of groups and tests; one may come twice."""
    for alias in _aliases(document):
        if isinstance(alias, UserName | UserDomain):
            yield alias


def _aliases(document: Document) -> Iterator[Alias]:
    for owners in document.tag_owners.values():
        yield from owners
    for grant in document.grants:
        yield from (*grant.sources, *grant.destinations)
    for acl in document.acls:
        yield from (*acl.sources, *(target.alias for target in acl.targets))
    for rule in document.ssh:
        yield from (*rule.sources, *rule.destinations)
    for entry in document.node_attributes:
        yield from entry.targets
    for approver in document.route_approvers:
        yield from approver.owners
    yield from document.exit_approvers
