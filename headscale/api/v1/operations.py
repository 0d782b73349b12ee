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
from headscale.api.v1.users import NewRole, NewUser, RoleShown
from headscale.monitoring.overview import Overview
from headscale.monitoring.whyoffline import WhyOffline
from headscale.records import AttributeValue
from headscale.state.scopes import (
    API_KEYS,
    AUTH_KEYS,
    DEVICE_ATTRIBUTES,
    DEVICE_ROUTES,
    DEVICES,
    LOGS_CONFIGURATION,
    POLICY,
    SETTINGS,
    USERS,
    read,
)

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
        ("POST", "/user"): Operation(
            scopes=(USERS,), summary="Create a user", body=NewUser, answer=UserAnswer
        ),
        ("GET", "/user"): Operation(
            scopes=(read(USERS),),
            summary="List users, or those with the first given of these",
            query=("name", "email", "id"),
            answer=object_of("UsersAnswer", users=tuple[User, ...]),
        ),
        ("DELETE", "/user/{id}"): Operation(scopes=(USERS,), summary="Delete a user without nodes"),
        ("POST", "/user/{id}/rename/{name}"): Operation(
            scopes=(USERS,), summary="Rename a user", answer=UserAnswer
        ),
        ("POST", "/user/{id}/logout"): Operation(
            scopes=(USERS,),
            summary="End the keys of all devices of a user now",
            answer=object_of("LoggedOutAnswer", nodes=tuple[str, ...]),
        ),
        ("GET", "/user/roles"): Operation(
            scopes=(read(USERS),),
            summary="List everybody's role",
            answer=object_of("RolesAnswer", roles=tuple[RoleShown, ...]),
        ),
        ("POST", "/user/{id}/role"): Operation(
            scopes=(USERS,),
            summary="Give a user a role",
            body=NewRole,
            answer=object_of("RoleAnswer", role=RoleShown),
        ),
        ("GET", "/node"): Operation(
            scopes=(read(DEVICES),),
            is_own=True,
            summary="List nodes, or those of the user of this name",
            query=("user",),
            answer=object_of("NodesAnswer", nodes=tuple[Node, ...]),
        ),
        ("GET", "/node/{id}"): Operation(
            scopes=(read(DEVICES),), is_own=True, summary="Get a node", answer=NodeAnswer
        ),
        ("DELETE", "/node/{id}"): Operation(scopes=(DEVICES,), is_own=True, summary="Delete a node"),
        ("POST", "/node/{id}/expire"): Operation(
            scopes=(DEVICES,),
            is_own=True,
            summary="End a node's key now, at a time, or never",
            body=Expiry,
            query=("expiry", "disableExpiry"),
            answer=NodeAnswer,
        ),
        ("POST", "/node/{id}/rename/{name}"): Operation(
            scopes=(DEVICES,), summary="Rename a node", answer=NodeAnswer
        ),
        ("POST", "/node/{id}/tags"): Operation(
            scopes=(DEVICES,), summary="Set a node's tags", body=Tags, answer=NodeAnswer
        ),
        ("POST", "/node/{id}/approve_routes"): Operation(
            scopes=(DEVICE_ROUTES,),
            summary="Set which routes of a node are approved",
            body=Routes,
            answer=NodeAnswer,
        ),
        ("POST", "/node/{id}/authorize"): Operation(
            scopes=(DEVICES,),
            summary="Let a node in that waits, or make it wait",
            body=Authorization,
            answer=NodeAnswer,
        ),
        ("POST", "/node/backfillips"): Operation(
            scopes=(DEVICES,),
            summary="Give nodes the addresses that they lack",
            query=("confirmed",),
            answer=object_of("ChangesAnswer", changes=tuple[str, ...]),
        ),
        ("POST", "/node/{id}/ping"): Operation(
            scopes=(read(DEVICES),), summary="Ask a client whether it answers", answer=Pong
        ),
        ("GET", "/node/{id}/attributes"): Operation(
            scopes=(read(DEVICE_ATTRIBUTES),),
            summary="What a node says of its device",
            answer=object_of("AttributesAnswer", attributes=dict[str, AttributeValue]),
        ),
        ("GET", "/node/{id}/why-offline"): Operation(
            scopes=(read(DEVICES),), summary="Why a node is offline, and what to do", answer=WhyOffline
        ),
        ("POST", "/node/register"): Operation(
            scopes=(DEVICES,),
            summary="Let a device in that waits (as before 0.30)",
            query=("user", "key"),
            answer=NodeAnswer,
        ),
        ("POST", "/debug/node"): Operation(
            scopes=(DEVICES,), summary="Make up a login that waits", body=MadeUpNode, answer=NodeAnswer
        ),
        ("GET", "/debug/overview"): Operation(
            scopes=(read(DEVICES),),
            summary="The server on one screen, with so many nodes",
            query=("nodes",),
            answer=Overview,
        ),
        ("POST", "/auth/register"): Operation(
            scopes=(DEVICES,), summary="Let a device in that waits", body=Registration, answer=NodeAnswer
        ),
        ("POST", "/auth/approve"): Operation(
            scopes=(DEVICES,), summary="Say yes to a login that waits", body=LoginId
        ),
        ("POST", "/auth/reject"): Operation(
            scopes=(DEVICES,), summary="Turn a login away that waits", body=LoginId
        ),
        ("POST", "/preauthkey"): Operation(
            scopes=(AUTH_KEYS,),
            summary="Create a pre-auth key",
            body=NewKey,
            answer=object_of("PreAuthKeyAnswer", pre_auth_key=PreAuthKey),
        ),
        ("GET", "/preauthkey"): Operation(
            scopes=(read(AUTH_KEYS),),
            summary="List pre-auth keys",
            answer=object_of("PreAuthKeysAnswer", pre_auth_keys=tuple[PreAuthKey, ...]),
        ),
        ("POST", "/preauthkey/expire"): Operation(
            scopes=(AUTH_KEYS,), summary="End a pre-auth key now", body=KeyId
        ),
        ("DELETE", "/preauthkey"): Operation(
            scopes=(AUTH_KEYS,), summary="Delete a pre-auth key", query=("id",)
        ),
        ("POST", "/apikey"): Operation(
            scopes=(API_KEYS,),
            summary="Create an API key",
            body=NewApiKey,
            answer=object_of("ApiKeyAnswer", api_key=str),
        ),
        ("GET", "/apikey"): Operation(
            scopes=(read(API_KEYS),),
            summary="List API keys",
            answer=object_of("ApiKeysAnswer", api_keys=tuple[ApiKey, ...]),
        ),
        ("POST", "/apikey/expire"): Operation(
            scopes=(API_KEYS,), summary="End an API key now", body=ApiKeyName
        ),
        ("DELETE", "/apikey/{prefix}"): Operation(
            scopes=(API_KEYS,), summary="Delete an API key", query=("id",)
        ),
        ("GET", "/policy"): Operation(
            scopes=(read(POLICY),), summary="Get the policy in force", answer=PolicyAnswer
        ),
        ("GET", "/policy/{id}"): Operation(
            scopes=(read(POLICY),),
            summary="Get a policy that was set, in force or not (ours, not the Go headscale's)",
            answer=object_of("KeptPolicyAnswer", id=str, policy=str, updated_at=datetime),
        ),
        ("PUT", "/policy"): Operation(
            scopes=(POLICY,), summary="Set the policy", body=PolicyBody, answer=PolicyAnswer
        ),
        ("POST", "/policy/check"): Operation(
            scopes=(read(POLICY),), summary="Check a policy and its tests", body=PolicyBody
        ),
        ("POST", "/policy/explain"): Operation(
            scopes=(read(POLICY),),
            summary="Which rules let somebody reach something",
            body=Question,
            answer=Explained,
        ),
        ("POST", "/policy/diff"): Operation(
            scopes=(read(POLICY),),
            summary="Who gains and who loses access with another policy",
            body=Pair,
            answer=Compared,
        ),
        ("GET", "/settings"): Operation(
            scopes=(read(SETTINGS),), summary="Get the settings", answer=SettingsShown
        ),
        ("PATCH", "/settings"): Operation(
            scopes=(SETTINGS,), summary="Change settings", body=Settings, answer=SettingsShown
        ),
        ("GET", "/audit"): Operation(
            scopes=(LOGS_CONFIGURATION,),
            summary="Read the audit log, newest first",
            query=("before", "limit"),
            answer=object_of("EventsAnswer", events=tuple[Event, ...]),
        ),
    }
)
