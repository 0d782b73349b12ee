"""SSH rules, as the node that is connected to is given them."""

import msgspec

from headscale.tailcfg.names import wire_names


class SSHPrincipal(msgspec.Struct, frozen=True, rename={"node_ip": "nodeIP"}):
    """Who connects: the node with this address."""

    node_ip: str


class OnRecordingFailure(msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({})):
    """What becomes of a session that cannot be recorded; absent texts let it go on."""

    reject_session_with_message: str = ""
    terminate_session_with_message: str = ""


class SSHAction(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """What the client does with a session: accept it, or ask us first (`hold_and_delegate`, a URL)."""

    message: str = ""
    reject: bool = False
    accept: bool = False
    session_duration: int = 0
    allow_agent_forwarding: bool = False
    hold_and_delegate: str = ""
    allow_local_port_forwarding: bool = False
    allow_remote_port_forwarding: bool = False
    recorders: tuple[str, ...] = ()
    on_recording_failure: OnRecordingFailure | None = None


class SSHRule(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """The first rule with a matching principal and user decides.

    `ssh_users` maps the user that was asked for to the local one: `=` is the same name, the empty string
    forbids it, and the key `*` is any other.
    """

    principals: tuple[SSHPrincipal, ...]
    ssh_users: dict[str, str]
    action: SSHAction
    accept_env: tuple[str, ...] = ()


class SSHPolicy(msgspec.Struct, frozen=True):
    """All rules of a node. `{"rules":[]}` takes earlier ones back; absence changes nothing."""

    rules: tuple[SSHRule, ...] = ()
