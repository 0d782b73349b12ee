"""What clients are told of DNS over real sockets: records from a file, attributes of the policy, one family alone."""

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from harness.clients.fake import MapStream
from harness.clients.netmap import Json
from harness.servers.configuration import Configuration
from harness.servers.inprocess import InProcessServer
from harness.servers.local import local_settings
from tests.integration.fakes import EPHEMERAL_TIMEOUT, GRACE, PATIENCE_S, Tailnet, until

RECORDS = "records.json"
NEXTDNS = "https://dns.nextdns.io/common"


@asynccontextmanager
async def serving(keys: Mapping[str, Any], files: Mapping[str, str] | None = None) -> AsyncIterator[Tailnet]:
    """A server with this configuration, and users 1 (alice) and 2 (bob)."""
    settings = local_settings(
        "127.0.0.1", ephemeral_timeout=EPHEMERAL_TIMEOUT, configuration=Configuration(keys, files or {})
    )
    server = InProcessServer(settings, grace=GRACE)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(server.close)
        await server.start()
        for name in ("alice", "bob"):
            await server.create_user(name)
        yield Tailnet(server, stack)


async def next_change(stream: MapStream) -> Json:
    message = await stream.next_message(within=PATIENCE_S)
    assert message.pop("ControlTime")
    return message


def dns(stream: MapStream) -> Json:
    """The client's DNS set-up."""
    assert stream.netmap.dns is not None
    return stream.netmap.dns


def own(stream: MapStream) -> Json:
    """The client's own node."""
    assert stream.netmap.node is not None
    return stream.netmap.node


def records(*hosts: int) -> str:
    return json.dumps([{"name": f"h{n}.example", "type": "A", "value": f"192.0.2.{n}"} for n in hosts])


async def test_changed_records_reach_open_streams_and_nothing_else_does() -> None:
    """Everybody hears the same, and who comes later has it from the start."""
    async with serving({"dns.extra_records_path": RECORDS}, {RECORDS: records(1)}) as tailnet:
        one, two = await tailnet.join("one"), await tailnet.join("two", user="2")
        streams = [await one.stream(), await two.stream()]
        for stream in streams:
            await until(stream, lambda netmap: all(p.get("Online") for p in netmap.peers.values()))
            names = [record["Name"] for record in dns(stream)["ExtraRecords"]]
            assert names == ["h1.example"]
        (tailnet.server.folder / RECORDS).write_text(records(1, 2))
        changes = [await next_change(stream) for stream in streams]
        assert changes[0] == changes[1]
        assert changes[0].keys() == {"DNSConfig"}
        assert [r["Name"] for r in changes[0]["DNSConfig"]["ExtraRecords"]] == ["h1.example", "h2.example"]
        late = await (await tailnet.join("late")).stream()
        assert len(dns(late)["ExtraRecords"]) == 2
        for stream in (*streams, late):
            stream.close()


async def test_a_policy_changes_the_resolvers_of_its_targets_only() -> None:
    """`nextdns:` attributes: the target hears of node and DNS, others of neither."""
    keys = {"dns.nameservers.global": [NEXTDNS], "dns.override_local_dns": True}
    async with serving(keys) as tailnet:
        one, two = await tailnet.join("one"), await tailnet.join("two", user="2")
        first, second = await one.stream(), await two.stream()
        await until(first, lambda netmap: all(p.get("Online") for p in netmap.peers.values()))
        await until(second, lambda netmap: all(p.get("Online") for p in netmap.peers.values()))
        for stream, name in ((first, "one"), (second, "two")):
            [resolver] = dns(stream)["Resolvers"]
            assert resolver["Addr"].endswith(f"&device_name={name}")
        grant = {"src": ["*"], "dst": ["*"], "ip": ["*"]}
        attribute = {"target": ["alice@"], "attr": ["nextdns:abc", "nextdns:no-device-info"]}
        await tailnet.server.set_policy(json.dumps({"grants": [grant], "nodeAttrs": [attribute]}))
        change = await next_change(first)
        assert change["DNSConfig"]["Resolvers"] == [{"Addr": "https://dns.nextdns.io/abc"}]
        assert {"nextdns:abc", "nextdns:no-device-info"} <= change["Node"]["CapMap"].keys()
        await tailnet.server.rename_node(str(one.id), "renamed")  # the next that the other hears
        heard = await next_change(second)
        while "PeersChanged" not in heard:  # the policy's own packet filter
            assert not heard.keys() & {"DNSConfig", "Node"}
            heard = await next_change(second)
        assert not heard.keys() & {"DNSConfig", "Node"}
        first.close()
        second.close()


async def test_a_tailnet_of_ipv4_alone() -> None:
    """One address each, reverse zones of IPv4 only, whole maps."""
    async with serving({"prefixes.v4": "100.64.0.0/10"}) as tailnet:
        one, two = await tailnet.join("one"), await tailnet.join("two")
        stream = await one.stream()
        assert own(stream)["Addresses"] == ["100.64.0.1/32"]
        assert stream.netmap.peers[two.id]["AllowedIPs"] == ["100.64.0.2/32"]
        assert set(dns(stream)["Routes"]) == {f"{n}.100.in-addr.arpa" for n in range(64, 128)}
        stream.close()


async def test_a_tailnet_of_ipv6_alone() -> None:
    async with serving({"prefixes.v6": "fd7a:115c:a1e0::/48"}) as tailnet:
        one, two = await tailnet.join("one"), await tailnet.join("two")
        stream = await one.stream()
        assert own(stream)["Addresses"] == ["fd7a:115c:a1e0::1/128"]
        assert stream.netmap.peers[two.id]["AllowedIPs"] == ["fd7a:115c:a1e0::2/128"]
        assert list(dns(stream)["Routes"]) == ["0.e.1.a.c.5.1.1.a.7.d.f.ip6.arpa"]
        stream.close()
