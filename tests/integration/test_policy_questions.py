"""`policy explain`, `diff` and `check` against a running server: their words and exit codes."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.servers.inprocess import InProcessServer
from harness.servers.process import ProcessServer
from headscale.sources.policyfile import TEXT_MAX_BYTES
from tests.integration.commands import Headscale, Ran, run
from tests.integration.fakes import Tailnet

OFFICE = """{
  "groups": {"group:eng": ["alice@"]},
  "tagOwners": {"tag:web": ["group:eng"], "tag:router": []},
  "hosts": {"printer": "10.1.0.9"},
  "acls": [
    {"action": "accept", "src": ["group:eng"], "dst": ["tag:web:443", "printer:631"]},
    {"action": "accept", "src": ["bob@"], "proto": "udp", "dst": ["tag:web:53"]},
  ],
  "tests": [{"src": "alice@", "accept": ["tag:web:443"]}],
}
"""
WIDER = OFFICE.replace('["alice@"]', '["alice@", "bob@"]')
BROKEN = '{\n  "acls": [\n    {"action": "accept", "src": ["group:x"], "dst": ["*:*"]}\n  ],\n  "bogus": 1\n}'


Call = Callable[..., Awaitable[tuple[int, Any]]]


@pytest.fixture
def cli(server: InProcessServer, tmp_path: Path) -> Headscale:
    """`headscale policy …` against the server, in a folder of the test's."""
    for name, text in (("office", OFFICE), ("wider", WIDER), ("broken", BROKEN)):
        (tmp_path / name).write_text(text)
    return partial(run, "policy", given=ProcessServer(server.settings).variables, folder=tmp_path)


@pytest.fixture
def call(server: InProcessServer) -> Call:
    """Post to the API of the server."""

    async def called(path: str, body: object, method: str = "POST") -> tuple[int, Any]:
        connector = aiohttp.UnixConnector(str(server.settings.socket))
        async with aiohttp.ClientSession("http://headscale", connector=connector) as session:
            async with session.request(method, f"/api/v1/{path}", json=body) as answer:
                return answer.status, await answer.json(content_type=None)

    return called


@pytest.fixture
async def office(tailnet: Tailnet) -> Tailnet:
    """alice's laptop and phone, bob's desk, web1, and a router to 10.1.0.0/16, under the policy OFFICE."""
    for name, owner in (("laptop", "1"), ("phone", "1"), ("desk", "2")):
        await tailnet.join(name, user=owner)
    await tailnet.join("web1", tags=("tag:web",))
    router = await tailnet.join("router", tags=("tag:router",))
    await tailnet.server.set_policy(
        OFFICE.replace("{", '{ "autoApprovers": {"routes": {"10.1.0.0/16": ["tag:router"]}},', 1)
    )
    await router.client.lite_update(hostinfo={**router.client.hostinfo, "RoutableIPs": ["10.1.0.0/16"]})
    await tailnet.server.set_policy(OFFICE)
    return tailnet


async def test_what_is_allowed_names_the_rule(cli: Headscale, office: Tailnet) -> None:
    assert await cli("explain", "laptop", "web1:443", "--proto", "tcp") == Ran(
        0,
        "allowed: laptop → web1, tcp port 443\n  acls[0] (line 6): group:eng → tag:web: 443\n",
        "",
    )


async def test_what_is_denied_names_what_is_near(cli: Headscale, office: Tailnet) -> None:
    """Rules about other traffic, and who may send this."""
    assert await cli("explain", "bob@", "tag:web:443") == Ran(
        1,
        "denied: desk → web1, tcp or udp port 443\n"
        "  the rules between the two are about other traffic:\n"
        "    acls[1] (line 7): bob@ → tag:web: udp:53\n"
        "  who may send this there:\n"
        "    acls[0] (line 6): group:eng → tag:web: 443\n",
        "",
    )


async def test_several_nodes_with_the_same_answer_are_one(cli: Headscale, office: Tailnet) -> None:
    """And all must be allowed for a yes."""
    ran = await cli("explain", "autogroup:member", "tag:web:443")
    assert ran.code == 1
    assert "allowed: laptop, phone → web1, tcp or udp port 443\n" in ran.out
    assert "denied: desk → web1, tcp or udp port 443\n" in ran.out
    assert (await cli("explain", "group:eng", "tag:web:443")).code == 0


async def test_another_policy_can_be_asked(cli: Headscale, office: Tailnet) -> None:
    """From a file or the standard input; the one in force stays."""
    assert (await cli("explain", "bob@", "tag:web:443", "--file", "wider")).code == 0
    assert (await cli("explain", "bob@", "tag:web:443", "-f", "-", typed=WIDER)).code == 0
    assert (await cli("explain", "bob@", "tag:web:443")).code == 1


async def test_a_target_behind_a_router_says_the_way(cli: Headscale, office: Tailnet) -> None:
    async with asyncio.timeout(10):
        async with (await office.join("watch", user="2")).client:
            ran = await cli("explain", "alice@", "printer:631", "--proto", "tcp")
    assert ran.code == 0
    assert "note: the way to printer (10.1.0.9) is the route 10.1.0.0/16" in ran.out
    lost = await cli("explain", "alice@", "192.0.2.1")
    assert "note: no node leads to 192.0.2.1, so nobody gets there" in lost.out


async def test_an_answer_for_machines(cli: Headscale, office: Tailnet) -> None:
    """With --json as with -o json."""
    ran = await cli("explain", "phone", "[fd7a:115c:a1e0::4]:443", "--json")
    assert (ran.code, ran) == (0, await cli("explain", "phone", "[fd7a:115c:a1e0::4]:443", "-o", "json"))
    document = ran.document
    assert (document["allowed"], document["protocol"], document["port"]) == (True, "tcp or udp", 443)
    [answer] = document["answers"]
    assert answer["sources"] == ["phone"]
    assert answer["targets"] == ["fd7a:115c:a1e0::4 of web1"]
    assert answer["by"] == [{"path": "acls[0]", "line": 6, "says": "group:eng → tag:web: 443"}]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("laptpo", "web1:443"), "Error: no node, host or address is called laptpo; did you mean laptop?\n"),
        (("alice@", "web1:0"), "port '0': a question is about one port from 1 to 65535, or none"),
        (("alice@",), "Missing argument 'DST[:PORT]'"),
        (("alice@", "web1", "-f", "broken"), "broken:3:34: acls[0].src[0]: "),
        (("alice@", "web1", "-f", "none"), "the policy file none cannot be read: No such file"),
    ],
)
async def test_a_question_that_has_no_answer_is_code_2(
    cli: Headscale, office: Tailnet, words: tuple[str, ...], message: str
) -> None:
    """And nothing on stdout."""
    ran = await cli("explain", *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


async def test_without_a_server_there_is_no_answer(cli: Headscale, tmp_path: Path) -> None:
    variables = {"HEADSCALE_UNIX_SOCKET": str(tmp_path / "none"), "HEADSCALE_CLI_TIMEOUT": "100ms"}
    for words in (("explain", "alice@", "bob@"), ("diff", "office", "wider")):
        ran = await cli(*words, **variables)
        assert (ran.code, ran.out) == (2, "")
        assert "no server answers at" in ran.err


async def test_without_a_policy_everybody_reaches_everything(cli: Headscale, tailnet: Tailnet) -> None:
    """A user without a device is answered for one that they may get."""
    await tailnet.join("laptop", user="1")
    assert await cli("explain", "laptop", "bob@:22") == Ran(
        0,
        "allowed: laptop → bob@, tcp or udp port 22\n"
        "  there is no policy that restricts traffic: everybody reaches everything\n\n"
        "note: bob@ has no node: answered for one that it may get\n",
        "",
    )


async def test_a_diff_says_who_gains_and_who_loses(cli: Headscale, office: Tailnet) -> None:
    """With two files as with the policy in force, either way round; code 1."""
    forth = await cli("diff", "office", "wider")
    assert (forth.code, forth.err) == (1, "")
    assert "bob@ → tag:web\n  + icmp, ipv6-icmp, tcp:443, udp:443\n" in forth.out
    assert "bob@ → printer\n  + icmp, ipv6-icmp, tcp:631, udp:631\n" in forth.out
    assert "alice@" not in forth.out
    assert await cli("diff", "wider") == forth
    assert await cli("diff", "-", typed=WIDER) == forth
    back = await cli("diff", "wider", "office")
    assert "bob@ → tag:web\n  - icmp, ipv6-icmp, tcp:443, udp:443\n" in back.out


async def test_no_difference_is_code_0(cli: Headscale, office: Tailnet) -> None:
    """Comments, order and other words for the same do not count."""
    assert await cli("diff", "office") == Ran(0, "no difference in access\n", "")
    assert (await cli("diff", "office", "-", typed=OFFICE.replace('"group:eng"]', '"alice@"]'))).code == 0
    same = await cli("diff", "office", "--json")
    assert '"changed": false' in same.out


async def test_a_diff_tells_of_ssh_attributes_and_routes(cli: Headscale, office: Tailnet) -> None:
    more = """
      "ssh": [{"action": "check", "src": ["alice@"], "dst": ["tag:web"], "users": ["root"]}],
      "nodeAttrs": [{"target": ["tag:web"], "attr": ["drive:share"]}],
      "autoApprovers": {"routes": {"10.0.0.0/8": ["tag:router"]}},
    """
    ran = await cli("diff", "-", typed=OFFICE.replace("{", "{" + more, 1))
    assert ran == Ran(
        1,
        "alice@ → tag:web\n  + ssh as root after a check\n"
        "attributes of web1\n  + drive:share\n"
        "routes of router, approved automatically\n  + 10.1.0.0/16\n",
        "",
    )


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "say which files: headscale policy diff [OLD] NEW"),
        (("-", "-"), "say which files"),
        (("office", "none"), "the policy file none cannot be read"),
        (("broken", "office"), "broken:3:34: acls[0].src[0]: "),
    ],
)
async def test_a_diff_that_cannot_be_made_is_code_2(
    cli: Headscale, words: tuple[str, ...], message: str
) -> None:
    ran = await cli("diff", *words)
    assert (ran.code, ran.out) == (2, "")
    assert message in ran.err


async def test_the_api_says_which_of_two_policies_is_broken(call: Call) -> None:
    status, document = await call("policy/diff", {"old": OFFICE, "new": BROKEN})
    assert status == 400
    assert [error["message"].split(":")[0] for error in document["errors"]] == ["policy 2 of 2"] * 2
    assert (await call("policy/diff", {"old": "{}", "new": ""}))[0] == 400
    assert (await call("policy/explain", {"source": "alice@", "destination": "bob@", "policy": "["}))[
        0
    ] == 400
    assert (await call("policy/explain", {}))[0] == 400


async def test_questions_have_the_size_limit_of_policies(call: Call) -> None:
    """Each text of two may have all of it."""
    base = '{"acls": []}'
    largest = base + "\n" * (TEXT_MAX_BYTES - len(base))
    asked = {"source": "alice@", "destination": "bob@"}
    assert (await call("policy/explain", {**asked, "policy": largest + "\n"}))[0] == 413
    status, document = await call("policy/diff", {"old": largest, "new": largest + "\n"})
    assert (status, document["detail"]) == (
        413,
        "a policy has at most 10 MiB (10485760 bytes), this one has 10485761",
    )
    assert (await call("policy/diff", {"old": largest, "new": largest}))[0] == 200


async def test_a_check_counts_rules_and_tests(cli: Headscale, office: Tailnet) -> None:
    assert await cli("check", "office") == Ran(0, "Policy is valid: 2 rules, 1 test passed.\n", "")
    assert (await cli("check", "-", "--json", typed="{}")).out == (
        '{\n\t"rules": 0,\n\t"tested": true,\n\t"tests": 0,\n\t"valid": true\n}\n'
    )


async def test_a_check_puts_every_complaint_on_a_line(cli: Headscale, office: Tailnet) -> None:
    """As compilers do, so that editors find them; the same for a test that fails."""
    broken = await cli("check", "broken")
    assert (broken.code, broken.out) == (1, "")
    assert [line.split(" ")[0] for line in broken.err.splitlines()] == ["broken:3:34:", "broken:5:3:"]
    failing = await cli("check", "-", typed=OFFICE.replace('tag:web:443"]}]', 'tag:web:80"]}]'))
    assert (failing.code, failing.out) == (1, "")
    assert failing.err == "-:9:13: tests[0]: test(s) failed: node 1 cannot reach tag:web:80 (node 4)\n"


async def test_complaints_for_machines(cli: Headscale) -> None:
    ran = await cli("check", "broken", "--json")
    assert (ran.code, ran.err) == (1, "")
    first = ran.document["complaints"][1]
    assert {key: first[key] for key in ("file", "line", "column", "path")} == {
        "file": "broken",
        "line": 5,
        "column": 3,
        "path": "bogus",
    }


async def test_a_file_that_is_too_large_is_not_sent(cli: Headscale, tmp_path: Path) -> None:
    (tmp_path / "large").write_text("{}" + " " * (TEXT_MAX_BYTES - 1))
    ran = await cli("check", "large")
    assert ran == Ran(
        1, "", "Error: the policy file large is too large: a policy has at most 10 MiB (10485760 bytes)\n"
    )
