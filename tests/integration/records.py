"""A record of every kind, with all that it can hold: what a database has to give back as it was."""

from datetime import timedelta

from headscale.keys import DiscoKey
from headscale.records import (
    AccessToken,
    ApiKey,
    Choices,
    OAuthClient,
    PreAuthKey,
    RegisterMethod,
    Role,
    User,
    Webhook,
)
from headscale.tailcfg.hostinfo import Hostinfo, NetInfo, Service
from tests.builders import NOW, node

ALICE = User(id=1, name="alice", created_at=NOW)
BOB = User(
    id=2,
    name="bob",
    groups=("all", "eng"),
    role=Role.OWNER,
    sealed_refresh=b"\x00\xff sealed",
    display_name='B"ob ä\x00',
    email="bob@example.com",
    provider="oidc",
    provider_identifier="https://idp/1",
    profile_pic_url="https://pic",
    created_at=NOW + timedelta(microseconds=1),
)
KEY = PreAuthKey(
    id=7,
    prefix="0123456789ab",
    secret_hash=bytes(range(32)),
    user_id=1,
    tags=("tag:a", "tag:b"),
    reusable=True,
    ephemeral=True,
    used=True,
    preauthorized=True,
    expiration=NOW,
    description="for the build machines",
    revoked=NOW,
    created_at=NOW,
)
CLIENT = OAuthClient(
    id=5,
    prefix="k0123456789a",
    secret_hash=bytes(range(32)),
    scopes=("auth_keys", "devices:core"),
    tags=("tag:a",),
    description="CI",
    created_at=NOW,
    updated_at=NOW,
)
TOKEN = AccessToken(
    id=6,
    prefix="abcdefabcdef",
    secret_hash=bytes(32),
    client_id=5,
    scopes=("auth_keys",),
    tags=("tag:a",),
    any_tag=True,
    expiration=NOW,
    created_at=NOW,
)
API_KEY = ApiKey(
    id=4,
    prefix="ba9876543210",
    secret_hash=bytes(32),
    user_id=1,
    expiration=NOW,
    created_at=NOW,
    last_seen=NOW,
)
HOOK = Webhook(
    id=2,
    url="https://receiver.example/hook",
    provider="slack",
    subscriptions=("nodeCreated", "policyUpdate"),
    sealed_secret=b"\x00\xff sealed",
    creator="API key ba9876543210",
    created_at=NOW,
    modified_at=NOW,
)
CHOICES = Choices(
    nameservers=("192.0.2.1",), split={"corp": ("192.0.2.2",), "x": ()}, magic_dns=False, node_expiry_days=0
)
FULL = node(
    3,
    disco_key=DiscoKey("discokey:" + "ab" * 32),
    user_id=None,
    tags=("tag:a",),
    hostname='Jo"e\\\n🙂',
    hostinfo=Hostinfo(
        hostname="h",
        os="linux",
        userspace=True,
        net_info=NetInfo(preferred_derp=9, working_udp=False, derp_latency={"9-v4": 0.25}),
        services=(Service("tcp", 22, "ssh"),),
        location={"City": "Köln", "Deep": [{"x": None, "big": 10**30}]},
    ),
    endpoints=("192.0.2.1:1", "[2001:db8::1]:2"),
    ephemeral=True,
    register_method=RegisterMethod.OIDC,
    auth_key_id=7,
    approved_routes=("10.0.0.0/8",),
    expiry=NOW,
    last_seen=NOW,
    cap_version=0,
    expired=True,
)
PLAIN = node(4, cap_version=0)
