"""Routes that the policy approves by itself (`autoApprovers`).

Looked at when a node registers, when it advertises other routes, and when a policy is set. Approvals are only ever
added: an administrator takes them back.
"""

from headscale.policy.compiled import Compiled
from headscale.records import Node
from headscale.state.routes import network_of, with_approvals
from headscale.state.subjects import subject_of


def approved(policy: Compiled, node: Node) -> Node:
    """The node with what it advertises and the policy approves."""
    waiting = [text for text in node.hostinfo.routable_ips if text not in node.approved_routes]
    if not waiting:
        return node
    subject = subject_of(node)
    granted = (
        text
        for text in waiting
        if (network := network_of(text)) is not None and policy.approves(subject, network)
    )
    return with_approvals(node, granted)
