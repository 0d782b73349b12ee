"""What REST v1 takes and answers, route by route: the source of its description (openapi.json)."""

from collections.abc import Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Final

import msgspec

from headscale.api.description import Operation, object_of
from headscale.api.v1.apikeys import ApiKeyName, NewApiKey
from headscale.api.v1.audit import Event
from headscale.api.v1.auth import LoginId, Registration
from headscale.api.v1.comparison import Compared, Pair
from headscale.api.v1.debug import MadeUpNode
from headscale.api.v1.explanation import Explained, Question
from headscale.api.v1.nodes import Authorization, Expiry, Routes, Tags
from headscale.api.v1.objects import ApiKey, Node, PreAuthKey, User
from headscale.api.v1.pings import Pong
from headscale.api.v1.policy import PolicyBody
from headscale.api.v1.preauthkeys import KeyId, NewKey
from headscale.api.v1.preferences import Settings, SettingsShown
from headscale.api.v1.users import NewUser
from headscale.monitoring.overview import Overview
from headscale.monitoring.whyoffline import WhyOffline
from headscale.records import AttributeValue

Health: Final = msgspec.defstruct(
    "Health", [("database_connectivity", bool), ("policy_problem", str, "")], frozen=True, rename="camel"
)
# What the door says, and only that.
Unauthorized: Final = msgspec.defstruct(
    "Unauthorized", [("title", str), ("status", int), ("detail", str)], frozen=True
)
UserAnswer: Final = object_of("UserAnswer", user=User)
NodeAnswer: Final = object_of("NodeAnswer", node=Node)
PolicyAnswer: Final = object_of("PolicyAnswer", policy=str, updated_at=datetime)


OPERATIONS: Final[Mapping[tuple[str, str], Operation]] = MappingProxyType(
    {
        ("GET", "/health"): Operation(summary="Whether the server can work", answer=Health),
        ("POST", "/user"): Operation(summary="Create a user", body=NewUser, answer=UserAnswer),
        ("GET", "/user"): Operation(
            summary="List users, or those with the first given of these",
            query=("name", "email", "id"),
            answer=object_of("UsersAnswer", users=tuple[User, ...]),
        ),
        ("DELETE", "/user/{id}"): Operation(summary="Delete a user without nodes"),
        ("POST", "/user/{id}/rename/{name}"): Operation(summary="Rename a user", answer=UserAnswer),
        ("POST", "/user/{id}/logout"): Operation(
            summary="End the keys of all devices of a user now",
            answer=object_of("LoggedOutAnswer", nodes=tuple[str, ...]),
        ),
        ("GET", "/node"): Operation(
            summary="List nodes, or those of the user of this name",
            query=("user",),
            answer=object_of("NodesAnswer", nodes=tuple[Node, ...]),
        ),
        ("GET", "/node/{id}"): Operation(summary="Get a node", answer=NodeAnswer),
        ("DELETE", "/node/{id}"): Operation(summary="Delete a node"),
        ("POST", "/node/{id}/expire"): Operation(
            summary="End a node's key now, at a time, or never",
            body=Expiry,
            query=("expiry", "disableExpiry"),
            answer=NodeAnswer,
        ),
        ("POST", "/node/{id}/rename/{name}"): Operation(summary="Rename a node", answer=NodeAnswer),
        ("POST", "/node/{id}/tags"): Operation(summary="Set a node's tags", body=Tags, answer=NodeAnswer),
        ("POST", "/node/{id}/approve_routes"): Operation(
            summary="Set which routes of a node are approved", body=Routes, answer=NodeAnswer
        ),
        ("POST", "/node/{id}/authorize"): Operation(
            summary="Let a node in that waits, or make it wait", body=Authorization, answer=NodeAnswer
        ),
        ("POST", "/node/backfillips"): Operation(
            summary="Give nodes the addresses that they lack",
            query=("confirmed",),
            answer=object_of("ChangesAnswer", changes=tuple[str, ...]),
        ),
        ("POST", "/node/{id}/ping"): Operation(summary="Ask a client whether it answers", answer=Pong),
        ("GET", "/node/{id}/attributes"): Operation(
            summary="What a node says of its device",
            answer=object_of("AttributesAnswer", attributes=dict[str, AttributeValue]),
        ),
        ("GET", "/node/{id}/why-offline"): Operation(
            summary="Why a node is offline, and what to do", answer=WhyOffline
        ),
        ("POST", "/node/register"): Operation(
            summary="Let a device in that waits (as before 0.30)", query=("user", "key"), answer=NodeAnswer
        ),
        ("POST", "/debug/node"): Operation(
            summary="Make up a login that waits", body=MadeUpNode, answer=NodeAnswer
        ),
        ("GET", "/debug/overview"): Operation(
            summary="The server on one screen, with so many nodes", query=("nodes",), answer=Overview
        ),
        ("POST", "/auth/register"): Operation(
            summary="Let a device in that waits", body=Registration, answer=NodeAnswer
        ),
        ("POST", "/auth/approve"): Operation(summary="Say yes to a login that waits", body=LoginId),
        ("POST", "/auth/reject"): Operation(summary="Turn a login away that waits", body=LoginId),
        ("POST", "/preauthkey"): Operation(
            summary="Create a pre-auth key",
            body=NewKey,
            answer=object_of("PreAuthKeyAnswer", pre_auth_key=PreAuthKey),
        ),
        ("GET", "/preauthkey"): Operation(
            summary="List pre-auth keys",
            answer=object_of("PreAuthKeysAnswer", pre_auth_keys=tuple[PreAuthKey, ...]),
        ),
        ("POST", "/preauthkey/expire"): Operation(summary="End a pre-auth key now", body=KeyId),
        ("DELETE", "/preauthkey"): Operation(summary="Delete a pre-auth key", query=("id",)),
        ("POST", "/apikey"): Operation(
            summary="Create an API key", body=NewApiKey, answer=object_of("ApiKeyAnswer", api_key=str)
        ),
        ("GET", "/apikey"): Operation(
            summary="List API keys", answer=object_of("ApiKeysAnswer", api_keys=tuple[ApiKey, ...])
        ),
        ("POST", "/apikey/expire"): Operation(summary="End an API key now", body=ApiKeyName),
        ("DELETE", "/apikey/{prefix}"): Operation(summary="Delete an API key", query=("id",)),
        ("GET", "/policy"): Operation(summary="Get the policy in force", answer=PolicyAnswer),
        ("PUT", "/policy"): Operation(summary="Set the policy", body=PolicyBody, answer=PolicyAnswer),
        ("POST", "/policy/check"): Operation(summary="Check a policy and its tests", body=PolicyBody),
        ("POST", "/policy/explain"): Operation(
            summary="Which rules let somebody reach something", body=Question, answer=Explained
        ),
        ("POST", "/policy/diff"): Operation(
            summary="Who gains and who loses access with another policy", body=Pair, answer=Compared
        ),
        ("GET", "/settings"): Operation(summary="Get the settings", answer=SettingsShown),
        ("PATCH", "/settings"): Operation(summary="Change settings", body=Settings, answer=SettingsShown),
        ("GET", "/audit"): Operation(
            summary="Read the audit log, newest first",
            query=("before", "limit"),
            answer=object_of("EventsAnswer", events=tuple[Event, ...]),
        ),
    }
)
