"""Host names that somebody means harm with: what others are told is always a name."""

import re

import pytest

from headscale.mapper.render import dns_name
from headscale.tailcfg.hostinfo import Hostinfo
from tests.bar import Row
from tests.builders import registered, request, tailnet, with_key
from tests.faults.stand import Stand

LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
PIECES = [
    *(
        '"',
        "'",
        "<script>alert(1)</script>",
        "\u202e",
        "\x00",
        "\n",
        "\r\nProxyCommand x",
        "а",
        "é",
        "ß",
        "\U0001f642",
    ),
    *(
        "a" * 64,
        "b" * 255,
        "c" * 10_000,
        "localhost",
        "base",
        "*",
        "...",
        "-",
        "--",
        "xn--",
        "..",
        "%s",
        "${x}",
        "`id`",
    ),
    *(
        "; rm -rf /",
        "' OR 1=1 --",
        "\\",
        "/",
        "@",
        " ",
        "\t",
        "1",
        "İ",
        "ﬁ",
        "\ufeff",
        "host1",
        "HOST1",
        "host1.",
    ),
]
WANTED = 2_000


@pytest.mark.bar("A9")
@pytest.mark.timeout(300)
def test_every_name_is_a_label_of_its_own(row: Row) -> None:
    """Two thousand hostile host names: what is given is a DNS label, unique, and a name in use does not move."""
    snapshot, _, key = with_key(tailnet("alice"), reusable=True)
    first = request(1, auth_key=key, hostinfo=Hostinfo(hostname="host1"))
    snapshot = registered(snapshot, first).snapshot
    hostnames = list(PIECES)
    while len(hostnames) < WANTED:
        hostnames.append("".join(row.chance.choice(PIECES)[:300] for _ in range(row.chance.randrange(1, 4))))
    for number, hostname in enumerate(hostnames, start=2):
        wanted = request(number, auth_key=key, hostinfo=Hostinfo(hostname=hostname))
        before = {node.id: node.given_name for node in snapshot.nodes.values()} if number % 100 == 0 else {}
        snapshot = registered(snapshot, wanted).snapshot
        assert all(snapshot.nodes[node_id].given_name == name for node_id, name in before.items())
    names = [node.given_name for node in snapshot.nodes.values()]
    full = [dns_name(snapshot.settings, node) for node in snapshot.nodes.values()]
    row.found(
        names=len(names),
        distinct=len(set(names)),
        longest=max(map(len, names)),
        longest_full=max(map(len, full)),
    )
    row.reached("names", len(names), at_least=WANTED)
    assert len(set(names)) == len(names)
    assert all(LABEL.fullmatch(name) for name in names), [
        name for name in names if not LABEL.fullmatch(name)
    ][:5]
    assert max(map(len, full)) <= 253
    assert snapshot.nodes[1].given_name == "host1"


@pytest.mark.bar("A9")
async def test_peers_hear_names_only(stand: Stand, row: Row) -> None:
    """Over the wire, at registration and in reports: nobody loses the map, and the old one stays."""
    key = await stand.key()
    witness, victim = await stand.join("witness", key), await stand.join("victim", key)
    stream = await witness.stream_map()
    changing = await stand.join("changing", key)
    for text in PIECES:
        await changing.lite_update(hostinfo={"Hostname": text, "OS": "linux"})
        await (await stand.join(text, key)).close()
    await changing.lite_update(hostinfo={"Hostname": "victim", "OS": "linux"})
    await stand.join("the-last", key)
    await stream.until(lambda netmap: netmap.peer_named("the-last") is not None, within=20)
    names = [peer["Name"] for peer in stream.netmap.peers.values()]
    row.found(tried=2 * len(PIECES) + 1, peers=len(names))
    assert len(set(names)) == len(names) == len(PIECES) + 3
    for name in names:
        assert len(name) <= 253
        assert all(LABEL.fullmatch(label) for label in name.rstrip(".").split(".")), name
    assert (await stand.node(victim)).given_name == "victim"
    assert (await stand.node(changing)).given_name == "victim-1"
