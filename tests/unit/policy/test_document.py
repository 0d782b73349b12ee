"""A document, before it meets a tailnet."""

from headscale.policy.document import users_named
from tests.unit.policy.small import acl, grant, parsed


def test_every_user_that_a_policy_names() -> None:
    """Logins and domains wherever a rule, an owner or an approver may name one, but those in groups."""
    document = parsed(
        {
            "groups": {"group:g": ["hidden@"]},
            "tagOwners": {"tag:a": ["owner@", "group:g"]},
            "acls": [acl("a@ *", "b@:* tag:a:*")],
            "grants": [grant("c@ user:*@x.org", "d@")],
            "ssh": [{"action": "accept", "src": ["e@"], "dst": ["tag:a"], "users": ["localpart:*@y.org"]}],
            "nodeAttrs": [{"target": ["f@"], "attr": ["x"]}],
            "autoApprovers": {"routes": {"10.0.0.0/8": ["h@"]}, "exitNode": ["i@"]},
        }
    )
    named = {alias.text for alias in users_named(document)}
    assert named == {f"{name}@" for name in ("owner", *"abcdefhi")} | {"user:*@x.org"}
