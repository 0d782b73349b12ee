"""What a node asks besides registering and polling. Source: tailscale v1.102.4, tailcfg/tailcfg.go."""

import msgspec

from headscale.tailcfg.limits import Moment, NodeKeyText, Version
from headscale.tailcfg.names import wire_names

AttributeValue = str | int | float | bool


class AuditLogRequest(msgspec.Struct, frozen=True, rename=wire_names({})):
    """POST /machine/audit-log: something that a client's user did, such as `DISCONNECT_NODE`, and why."""

    node_key: NodeKeyText
    version: Version = 0
    action: str = ""
    details: str = ""
    timestamp: Moment | None = None


class SetDeviceAttributesRequest(msgspec.Struct, frozen=True, rename=wire_names({})):
    """PATCH /machine/set-device-attr: what is named changes, `null` takes it away, the rest stays."""

    node_key: NodeKeyText
    version: Version = 0
    update: dict[str, AttributeValue | None] = {}


class SetDNSRequest(msgspec.Struct, frozen=True, rename=wire_names({})):
    """POST /machine/set-dns: publish a record, by which a certificate authority sees whose a name is."""

    node_key: NodeKeyText
    version: Version = 0
    name: str = ""
    type: str = ""
    value: str = ""


class QueryFeatureRequest(msgspec.Struct, frozen=True, rename=wire_names({})):
    """POST /machine/feature/query: may this node use `serve` or `funnel`?"""

    node_key: NodeKeyText
    feature: str = ""


class QueryFeatureResponse(
    msgspec.Struct, frozen=True, omit_defaults=True, rename=wire_names({"url": "URL"})
):
    """Not `complete`: the command shows `text`, and stops unless it `should_wait`."""

    complete: bool = False
    text: str = ""
    url: str = ""
    should_wait: bool = False


class HealthChangeRequest(msgspec.Struct, frozen=True, rename=wire_names({})):
    """POST /machine/update-health: a subsystem of a client before 1.90 is in trouble, or (no `error`) well again.

    The node key is zero up to 1.62.
    """

    node_key: NodeKeyText | None = None
    subsys: str = ""
    error: str = ""


class PingRequest(
    msgspec.Struct, frozen=True, rename=wire_names({"url": "URL", "url_is_noise": "URLIsNoise"})
):
    """A question to a client, in any message of its stream. `payload` is base64 of a whole HTTP request for `c2n`.

    All four are always there, because tailscale-rs demands them.
    """

    url: str
    url_is_noise: bool = True
    types: str = ""
    payload: str = ""
