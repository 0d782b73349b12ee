"""POST /machine/register: what a client asks and how it is answered."""

import msgspec

from headscale.keys import ZERO_NODE_KEY
from headscale.tailcfg.hostinfo import Hostinfo
from headscale.tailcfg.limits import Moment, NodeKeyText, Version
from headscale.tailcfg.names import wire_names


class RegisterAuth(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """Credentials; before 1.66 the object is always there, so the key's text decides, not the object."""

    auth_key: str = ""


class RegisterRequest(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """A client's wish to be a node. `expiry` in the past means logout (Go sends Unix second 123)."""

    node_key: NodeKeyText
    version: Version = 0
    old_node_key: NodeKeyText = ZERO_NODE_KEY
    auth: RegisterAuth | None = None
    expiry: Moment | None = None
    followup: str = ""
    hostinfo: Hostinfo | None = None
    ephemeral: bool = False
    tailnet: str = ""


class User(msgspec.Struct, frozen=True, rename=wire_names({"id": "ID", "profile_pic_url": "ProfilePicURL"})):
    """The account that a node was registered under."""

    id: int
    display_name: str = ""
    profile_pic_url: str = ""


class Login(msgspec.Struct, frozen=True, rename=wire_names({"id": "ID", "profile_pic_url": "ProfilePicURL"})):
    """The identity behind a User."""

    id: int
    provider: str = ""
    login_name: str = ""
    display_name: str = ""
    profile_pic_url: str = ""


class RegisterResponse(msgspec.Struct, frozen=True, rename=wire_names({"auth_url": "AuthURL"})):
    """The answer; every field is always emitted because tailscale-rs needs them to exist."""

    user: User
    login: Login
    node_key_expired: bool = False
    machine_authorized: bool = False
    auth_url: str = ""
    node_key_signature: None = None
    error: str = ""
