"""POST /verify: a relay's question whether a client may use it."""

import msgspec

from headscale.tailcfg.names import wire_names


class VerifyRequest(msgspec.Struct, frozen=True, rename=wire_names({})):
    """The client's node key and the address that it came from."""

    node_public: str
    source: str = ""
