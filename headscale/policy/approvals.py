"""What needs no administrator: routes that `autoApprovers` approve, and tags that `tagOwners` let people give."""

from collections.abc import Collection
from dataclasses import dataclass

from headscale.policy.document import Document
from headscale.policy.subjects import EXIT_ROUTES, Network
from headscale.policy.who import Who, who_of


@dataclass(frozen=True, slots=True)
class Approvals:
    """`autoApprovers` and `tagOwners`, resolved to labels."""

    routes: dict[Network, list[Who]]
    exits: Who
    owners: dict[str, Who]


def approvals_of(document: Document) -> Approvals:
    """Who approves what, as labels."""
    routes: dict[Network, list[Who]] = {}
    for approver in document.route_approvers:
        routes.setdefault(approver.route, []).append(who_of(approver.owners))
    return Approvals(
        routes,
        who_of(document.exit_approvers),
        {tag: who_of(owners) for tag, owners in document.tag_owners.items()},
    )


def approves(approvals: Approvals, labels: Collection[str], route: Network) -> bool:
    """Whether a node with these labels has this route approved without being asked.

    An approver of a prefix approves all that lies in it, but exit routes only `exitNode` approves, even where
    0.0.0.0/0 stands under `routes` (recordings routes-ea*).
    """
    if route in EXIT_ROUTES:
        return not approvals.exits.labels.isdisjoint(labels)
    around = (route.supernet(new_prefix=bits) for bits in range(route.prefixlen + 1))
    return any(
        not who.labels.isdisjoint(labels) for network in around for who in approvals.routes.get(network, ())
    )


def owns_tag(approvals: Approvals, labels: Collection[str], tag: str) -> bool:
    """Whether someone with these labels may give a node the tag."""
    return not owners_of(approvals, tag).isdisjoint(labels)


def owners_of(approvals: Approvals, tag: str) -> frozenset[str]:
    """The labels by which one may give a node the tag: those of its owners, and of the owners of tags that are some."""
    found: set[str] = set()
    todo = [tag]
    while todo:
        who = approvals.owners.get(todo.pop())
        if who is not None:
            todo += (label for label in who.labels - found if label.startswith("tag:"))
            found |= who.labels
    return frozenset(found)
