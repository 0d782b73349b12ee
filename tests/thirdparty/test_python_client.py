"""The `tailscale` package of PyPI, which is what Home Assistant asks the hosted service with.

It has the hosted service's address built in, so the name is resolved to our server, whose certificate names it.
"""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from socket import AF_INET, AddressFamily
from typing import Any

import aiohttp
import pytest
import trustme
from aiohttp.abc import AbstractResolver, ResolveResult

from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from harness.strict import unavailable
from tests.integration.doors import Door, doors_of

try:
    import tailscale as package
except ImportError:  # an extra of its own: nox -s thirdparty
    package = None

HOST = "api.tailscale.com"
POLICY = '{"tagOwners": {"tag:ci": []}}'
LOGIN = "hskey-authreq-" + "0" * 24

Connect = Callable[..., Awaitable[Any]]


class OneServer(AbstractResolver):
    """Every name is this port on loopback."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def resolve(self, host: str, port: int = 0, family: AddressFamily = AF_INET) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host="127.0.0.1", port=self._port, family=AF_INET, proto=0, flags=0)
        ]

    async def close(self) -> None:
        pass


@pytest.fixture
async def server() -> AsyncIterator[InProcessServer]:
    """With a certificate for the hosted service's name."""
    settings = local_settings("127.0.0.1", ephemeral_timeout=timedelta(minutes=5), with_tls=True)
    authority = trustme.CA()
    issued = authority.issue_cert(HOST)
    settings.certificate.write_bytes(b"".join(part.bytes() for part in issued.cert_chain_pems))
    settings.certificate_key.write_bytes(issued.private_key_pem.bytes())
    made = InProcessServer(settings)
    made.authority = authority.cert_pem.bytes()
    await made.start()
    yield made
    await made.close()


@pytest.fixture
async def admin(server: InProcessServer) -> AsyncIterator[Door]:
    """A tailnet with user alice and her laptop (1)."""
    async with doors_of(server) as (socket, _):
        await socket("PUT", "policy", {"policy": POLICY})
        await socket("POST", "user", {"name": "alice"})
        login = {"user": "alice", "key": LOGIN, "name": "laptop", "routes": ["10.1.0.0/16"]}
        await socket("POST", "debug/node", login)
        assert (await socket("POST", "auth/register", {"user": "alice", "authId": LOGIN}))[0] == 200
        yield socket


@pytest.fixture
async def connect(server: InProcessServer, admin: Door) -> AsyncIterator[Connect]:
    """A client of the package's with this login."""
    if package is None:
        unavailable("the package tailscale is not installed: pip install -e .[dev,thirdparty]")
    async with AsyncExitStack() as stack:

        async def made(**login: str) -> Any:
            assert server.authority is not None
            context = ssl.create_default_context(cadata=server.authority.decode())
            connector = aiohttp.TCPConnector(resolver=OneServer(server.settings.port), ssl=context)
            session = await stack.enter_async_context(aiohttp.ClientSession(connector=connector))
            return await stack.enter_async_context(package.Tailscale(session=session, **login))

        yield made


@pytest.fixture
async def client(connect: Connect, api_key: str) -> Any:
    """With an API key."""
    return await connect(api_key=api_key)


async def test_devices_are_read_and_changed(client: Any) -> None:
    """Typed as the package has them."""
    [device] = (await client.devices()).values()
    assert device == await client.device("1")
    assert (device.name, device.user, device.authorized, device.key_expiry_disabled) == (
        "laptop",
        "alice",
        True,
        True,
    )
    assert (device.advertised_routes, device.enabled_routes) == (["10.1.0.0/16"], [])
    await client.rename_device("1", name="desk")
    await client.set_device_routes("1", routes=["10.1.0.0/16"])
    await client.set_device_ipv4_address("1", ipv4_address="100.64.9.9")
    await client.authorize_device("1", authorized=False)
    await client.set_device_posture_attribute("1", "custom:tier", value="gold", comment="paid")
    told = await client.device_posture_attributes("1")
    assert told.attributes["custom:tier"] == "gold"
    await client.delete_device_posture_attribute("1", "custom:tier")
    update = package.DevicePostureAttributeUpdate(value=3)
    await client.update_device_posture_attributes(
        {"1": {"custom:a": update, "custom:tier": None}}, comment="x"
    )
    assert (await client.device_posture_attributes("1")).attributes["custom:a"] == 3
    routes = await client.device_routes("1")
    assert (routes.advertised_routes, routes.enabled_routes) == (["10.1.0.0/16"], ["10.1.0.0/16"])
    device = await client.device("1")
    assert (device.name, device.authorized, device.addresses[0]) == ("desk", False, "100.64.9.9")
    await client.set_device_tags("1", tags=["tag:ci"])
    await client.expire_device_key("1")
    device = await client.device("1")
    assert (device.tags, device.key_expiry_disabled, device.expires is not None) == (["tag:ci"], False, True)
    await client.set_device_key_expiry("1", key_expiry_disabled=True)
    assert (await client.device("1")).expires is None
    await client.delete_device("1")
    assert await client.devices() == {}


async def test_users_are_read_and_deleted(client: Any) -> None:
    [user] = await client.users()
    assert user == await client.user("1")
    assert (user.login_name, user.device_count, user.role, user.status) == ("alice", 1, "owner", "active")
    for refused in (
        client.delete_user("1"),
        client.suspend_user("1"),
        client.set_user_role("1", role="admin"),
    ):
        with pytest.raises(package.TailscaleResponseError):
            await refused
    await client.delete_device("1")
    await client.delete_user("1")
    assert await client.users() == []


async def test_keys_are_made_read_and_deleted(client: Any, admin: Door) -> None:
    """Pre-auth keys and OAuth clients; and a user's key, without tags, is read as well."""
    assert (await admin("POST", "preauthkey", {"user": "1"}))[0] == 200
    key = await client.create_key(reusable=True, tags=["tag:ci"], description="CI", expiry_seconds=3600)
    assert key.key.startswith("hskey-auth-")
    trusted = await client.create_key(key_type="client", scopes=["users:read"], description="reader")
    assert trusted.key.startswith(f"tskey-client-{trusted.key_id}-")
    users, first, second = await client.keys()
    assert (users.user_id, users.capabilities.devices.create.tags) == ("1", [])
    assert (first.description, first.expiry_seconds, first.capabilities.devices.create.tags) == (
        "CI",
        3600,
        ["tag:ci"],
    )
    assert (second.key_type, second.scopes, second.key) == ("client", ["users:read"], "")
    changed = await client.set_key(trusted.key_id, key_type="client", scopes=["dns"])
    assert (changed.scopes, changed.description) == (["dns"], "")
    for each in (key, trusted):
        await client.delete_key(each.key_id)
    assert (await client.key(key.key_id)).invalid
    with pytest.raises(package.TailscaleNotFoundError):
        await client.key(trusted.key_id)


async def test_an_oauth_client_logs_in_by_itself(admin: Door, connect: Connect) -> None:
    """And may do what its scopes say."""
    asked = {"keyType": "client", "scopes": ["devices:core:read"]}
    made = (await admin.v2("POST", "tailnet/-/keys", asked))[1]
    client = await connect(oauth_client_id=made["id"], oauth_client_secret=made["key"])
    assert [device.name for device in (await client.devices()).values()] == ["laptop"]
    with pytest.raises(package.TailscalePermissionError):
        await client.delete_device("1")
    with pytest.raises(package.TailscalePermissionError):
        await client.users()


async def test_a_wrong_key_is_nobody(connect: Connect) -> None:
    client = await connect(api_key="hskey-api-000000000000-" + "0" * 64)
    with pytest.raises(package.TailscaleUnauthorizedError):
        await client.devices()
