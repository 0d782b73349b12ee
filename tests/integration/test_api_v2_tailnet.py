"""REST v2 about the tailnet as a whole: policy file, DNS, settings, and what is refused by name."""

import asyncio
import base64
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from harness.servers.inprocess import InProcessServer
from headscale.api.v2 import refused
from headscale.api.v2.policyfile import DEFAULT, DEFAULT_TAG
from tests.integration.fakes import Join, Tailnet, until
from tests.integration.test_dns import dns, own, serving

HUJSON = {"Content-Type": "application/hujson", "Accept": "application/hujson"}
POLICY = """\
// Ours.
{
	"tagOwners": {"tag:a": ["alice@"],},
	"acls": [
		{"action": "accept", "src": ["alice@"], "dst": ["tag:a:22,80"]},
		{"action": "accept", "src": ["bob@"], "dst": ["*:443"]},
	],
}
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def document(self) -> Any:
        return json.loads(self.text)

    @property
    def tag(self) -> str:
        return self.headers["ETag"]


class Api:
    """REST v2 of a server, on its socket."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session

    async def __call__(self, method: str, path: str, body: object = None, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        raw: dict[str, Any] = {"data": body} if isinstance(body, str | bytes) else {"json": body}
        url = f"/api/v2/{path}"
        async with self._session.request(method, url, headers=named, **raw) as answer:
            return Answer(answer.status, await answer.text(), answer.headers)


@asynccontextmanager
async def api_of(server: InProcessServer) -> AsyncIterator[Api]:
    connector = aiohttp.UnixConnector(str(server.settings.socket))
    async with aiohttp.ClientSession("http://headscale", connector=connector) as session:
        yield Api(session)


@pytest.fixture
async def api(tailnet: Tailnet) -> AsyncIterator[Api]:
    async with api_of(tailnet.server) as made:
        yield made


ACL = "tailnet/-/acl"


def quoted(text: str) -> str:
    return f'"{hashlib.sha256(text.encode()).hexdigest()}"'


async def test_a_policy_comes_back_byte_for_byte(api: Api, tailnet: Tailnet) -> None:
    answer = await api("POST", ACL, POLICY, **HUJSON)
    assert (answer.status, answer.text, answer.tag) == (200, POLICY, quoted(POLICY))
    assert answer.headers["Content-Type"].startswith("application/hujson")
    got = await api("GET", ACL, Accept="application/hujson")
    assert (got.text, got.tag) == (POLICY, quoted(POLICY))
    plain = await api("GET", ACL, Accept="application/json")
    assert plain.document["tagOwners"] == {"tag:a": ["alice@"]}
    assert plain.tag == quoted(POLICY)
    details = (await api("GET", f"{ACL}?details=1")).document
    assert base64.b64decode(details["acl"]).decode() == POLICY
    assert (await tailnet.server.call("GET", "policy"))["policy"] == POLICY


async def test_a_policy_in_json_is_answered_in_json(api: Api) -> None:
    answer = await api("POST", ACL, {"acls": []}, Accept="application/json")
    assert answer.document == {"acls": []}


async def test_without_a_policy_one_that_says_so_is_shown(api: Api) -> None:
    got = await api("GET", ACL, Accept="application/hujson")
    assert (got.text, got.tag) == (DEFAULT, quoted(DEFAULT))
    assert (await api("POST", ACL, DEFAULT, **HUJSON)).status == 200


@pytest.mark.parametrize(
    "tag", [quoted(DEFAULT), DEFAULT_TAG, f'"{DEFAULT_TAG}"', "*", f"W/{quoted(DEFAULT)}", ""]
)
async def test_who_knows_the_policy_may_change_it(api: Api, tag: str) -> None:
    assert (await api("POST", ACL, POLICY, If_Match=tag, **HUJSON)).status == 200


@pytest.mark.parametrize("tag", ['"0"', quoted(DEFAULT), DEFAULT_TAG, f'"{DEFAULT_TAG}"'])
async def test_who_knows_an_older_policy_may_not(api: Api, tag: str) -> None:
    await api("POST", ACL, POLICY, **HUJSON)
    answer = await api("POST", ACL, "{}", If_Match=tag, **HUJSON)
    assert (answer.status, answer.document["status"]) == (412, 412)
    assert "changed meanwhile" in answer.document["message"]
    assert (await api("GET", ACL, Accept="application/hujson")).text == POLICY


async def test_of_two_that_know_the_same_one_wins(api: Api) -> None:
    """Also when both were read before either was put in force."""
    tag = (await api("GET", ACL)).tag
    texts = [f'{{"acls": [], "hosts": {{"h{n}": "192.0.2.{n}"}}}}' for n in range(8)]
    answers = await asyncio.gather(*(api("POST", ACL, text, If_Match=tag, **HUJSON) for text in texts))
    assert sorted(answer.status for answer in answers) == [200] + [412] * 7
    winner = next(answer for answer in answers if answer.status == 200)
    assert (await api("GET", ACL, Accept="application/hujson")).text == winner.text


async def test_a_broken_policy_is_refused_with_its_place(api: Api) -> None:
    for path in (ACL, f"{ACL}/validate"):
        answer = await api("POST", path, '{\n"acls": [{"action": "drop"}]}', **HUJSON)
        assert answer.status == (400 if path == ACL else 200)
        assert "line 2, column" in answer.document["message"]
    assert (await api("GET", ACL)).tag == quoted(DEFAULT)
    assert (await api("POST", ACL, b"\xff", **HUJSON)).status == 400


async def test_tests_that_fail_are_named_by_their_source(api: Api) -> None:
    tests = [
        {"src": "alice@", "accept": ["tag:a:22"], "deny": ["tag:a:80"]},
        {"src": "bob@", "accept": ["tag:a:22"]},
        {"src": "bob@", "accept": ["tag:a:443"]},
    ]
    policy = POLICY.replace('"acls"', f'"tests": {json.dumps(tests)},\n"acls"')
    answer = await api("POST", f"{ACL}/validate", policy, **HUJSON)
    assert answer.status == 200
    assert answer.document["message"] == "test(s) failed"
    assert [(each["user"], len(each["errors"])) for each in answer.document["data"]] == [
        ("alice@", 1),
        ("bob@", 1),
    ]
    refused_one = await api("POST", ACL, policy, **HUJSON)
    assert (refused_one.status, (await api("GET", ACL)).tag) == (400, quoted(DEFAULT))


async def test_tests_alone_are_run_with_the_policy_in_force(api: Api) -> None:
    await api("POST", ACL, POLICY, **HUJSON)
    good, bad = [{"src": "alice@", "accept": ["tag:a:22"]}], [{"src": "alice@", "accept": ["tag:a:23"]}]
    assert (await api("POST", f"{ACL}/validate", good)).document == {}
    failed = (await api("POST", f"{ACL}/validate", bad)).document
    assert (failed["message"], failed["data"][0]["user"]) == ("test(s) failed", "alice@")
    nothing = await api("POST", f"{ACL}/validate", [None, *bad])
    assert [each.get("user") for each in nothing.document["data"]] == [None, "alice@"]


async def test_a_preview_names_the_rules_and_their_lines(api: Api) -> None:
    def rules(answer: Answer) -> list[tuple[Any, ...]]:
        return [(m["users"], m["ports"], m["lineNumber"]) for m in answer.document["matches"]]

    path = f"{ACL}/preview"
    alice = await api("POST", f"{path}?type=user&previewFor=alice@", POLICY, **HUJSON)
    assert rules(alice) == [(["alice@"], ["tag:a:22,80"], 5)]
    assert (alice.document["type"], alice.document["previewFor"]) == ("user", "alice@")
    open_port = await api("POST", f"{path}?type=ipport&previewFor=100.64.0.9:443", POLICY, **HUJSON)
    assert rules(open_port) == [(["bob@"], ["*:443"], 6)]
    closed = await api("POST", f"{path}?type=ipport&previewFor=100.64.0.9:22", POLICY, **HUJSON)
    assert rules(closed) == []
    for wrong in ("", "?type=user", "?type=x&previewFor=alice@", "?type=ipport&previewFor="):
        assert (await api("POST", path + wrong, POLICY, **HUJSON)).status == 400
    assert (await api("POST", f"{path}?type=user&previewFor=nobody@", POLICY, **HUJSON)).status == 404


async def test_the_operators_file_is_not_changed() -> None:
    async with serving({"policy.path": "policy.hujson"}, {"policy.hujson": POLICY}) as tailnet:
        async with api_of(tailnet.server) as api:
            answer = await api("POST", ACL, "{}", **HUJSON)
            assert (answer.status, (await api("GET", ACL)).tag) == (400, quoted(POLICY))
            assert (await api("GET", "tailnet/-/settings")).document["aclsExternallyManagedOn"] is True


# ---- DNS and settings

SPLIT = "tailnet/-/dns/split-dns"
C = "192.0.2.3"
DNS_ACTS: list[tuple[str, str, Any, Any]] = [
    ("POST", "nameservers", {"dns": ["192.0.2.1"]}, {"dns": ["192.0.2.1"], "magicDNS": True}),
    ("GET", "nameservers", None, {"dns": ["192.0.2.1"]}),
    ("POST", "searchpaths", {"searchPaths": ["corp.example"]}, {"searchPaths": ["corp.example"]}),
    ("GET", "searchpaths", None, {"searchPaths": ["corp.example"]}),
    ("PUT", "split-dns", {"a.example": ["192.0.2.2"], "b.example": []}, {"a.example": ["192.0.2.2"], "b.example": []}),
    ("PATCH", "split-dns", {"a.example": None, "c.example": [C]}, {"b.example": [], "c.example": [C]}),
    ("GET", "split-dns", None, {"b.example": [], "c.example": [C]}),
    ("POST", "preferences", {"magicDNS": False}, {"magicDNS": False}),
    ("GET", "preferences", None, {"magicDNS": False}),
    (
        "GET",
        "configuration",
        None,
        {
            "nameservers": [{"address": "192.0.2.1", "useWithExitNode": False}],
            "splitDNS": {"b.example": [], "c.example": [{"address": C, "useWithExitNode": False}]},
            "searchPaths": ["corp.example"],
            "preferences": {"overrideLocalDNS": True, "magicDNS": False},
        },
    ),
    (
        "POST",
        "configuration",
        {"nameservers": [{"address": "192.0.2.9"}], "preferences": {"magicDNS": True}},
        {
            "nameservers": [{"address": "192.0.2.9", "useWithExitNode": False}],
            "splitDNS": {},
            "searchPaths": [],
            "preferences": {"overrideLocalDNS": False, "magicDNS": True},
        },
    ),
]  # fmt: skip


async def test_what_is_set_is_answered_told_to_clients_and_kept(
    api: Api, tailnet: Tailnet, join: Join
) -> None:
    stream = await (await join("laptop")).stream()
    for method, name, body, told in DNS_ACTS:
        answer = await api(method, f"tailnet/-/dns/{name}", body)
        assert (answer.status, answer.document) == (200, told), (method, name)
    wanted = [{"Addr": "192.0.2.9"}]
    await until(stream, lambda netmap: (netmap.dns or {}).get("FallbackResolvers") == wanted)
    stream.close()
    await tailnet.server.stop()
    await tailnet.server.start()
    async with api_of(tailnet.server) as again:
        assert (await again("GET", "tailnet/-/dns/configuration")).document == DNS_ACTS[-1][3]


async def test_settings_are_changed_one_by_one(api: Api, tailnet: Tailnet, join: Join) -> None:
    before = (await api("GET", "tailnet/-/settings")).document
    assert (before["devicesApprovalOn"], before["devicesKeyDurationDays"]) == (False, 0)
    changes = {"devicesKeyDurationDays": 30, "devicesAutoUpdatesOn": True}
    assert (await api("PATCH", "tailnet/-/settings", changes)).document == before | changes
    one = await join("laptop")
    node = tailnet.node(one.id)
    assert node is not None
    assert node.expiry is not None
    assert (node.expiry - node.created_at).days == 30
    stream = await one.stream()
    assert own(stream)["CapMap"]["default-auto-update"] == [True]
    stream.close()
    approval = await api("PATCH", "tailnet/-/settings", {"devicesApprovalOn": True})
    assert approval.document == before | changes | {"devicesApprovalOn": True}
    assert (await tailnet.server.call("GET", "settings")) == {"deviceApproval": True}
    same = await api("PATCH", "tailnet/-/settings", {"usersApprovalOn": False, "devicesApprovalOn": None})
    assert same.document == approval.document


async def test_what_cannot_be_changed_changes_nothing(api: Api) -> None:
    before = (await api("GET", "tailnet/-/settings")).document
    asked = {"devicesKeyDurationDays": 5, "networkFlowLoggingOn": True, "regionalRoutingOn": True}
    answer = await api("PATCH", "tailnet/-/settings", asked)
    assert answer.status == 501
    assert "networkFlowLoggingOn, regionalRoutingOn cannot be changed here" in answer.document["message"]
    assert (await api("PATCH", "tailnet/-/settings", {"nonsense": 1})).status == 422
    assert (await api("GET", "tailnet/-/settings")).document == before


async def test_what_the_configuration_decides_is_named() -> None:
    keys = {"dns.nameservers.global": ["192.0.2.53"], "dns.search_domains": [], "node.expiry": "90d"}
    async with serving(keys) as tailnet, api_of(tailnet.server) as api:
        for method, path, body, key in [
            ("POST", "dns/nameservers", {"dns": []}, "dns.nameservers.global"),
            ("POST", "dns/searchpaths", {"searchPaths": ["a.b"]}, "dns.search_domains"),
            ("POST", "dns/configuration", {}, "dns.nameservers.global, dns.search_domains"),
            ("PATCH", "settings", {"devicesKeyDurationDays": 1}, "node.expiry"),
        ]:
            answer = await api(method, f"tailnet/-/{path}", body)
            assert answer.status == 409
            assert f"{key} is set in the server's configuration" in answer.document["message"]
        assert (await api("PATCH", SPLIT, {"corp": ["192.0.2.7"]})).status == 200
        stream = await (await tailnet.join("laptop")).stream()
        assert dns(stream)["Routes"]["corp"] == [{"Addr": "192.0.2.7"}]
        assert [resolver["Addr"] for resolver in dns(stream)["Resolvers"]] == ["192.0.2.53"]
        stream.close()


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("dns/nameservers", {"dns": ["nonsense"]}, 400),
        ("dns/nameservers", {"dns": "192.0.2.1"}, 422),
        ("dns/nameservers", {}, 422),
        ("dns/searchpaths", {"searchPaths": ["a b"]}, 400),
        ("dns/configuration", {"nameservers": [{"address": "192.0.2.1", "useWithExitNode": True}]}, 400),
        ("dns/configuration", {"nameserver": []}, 422),
    ],
)
async def test_bad_values_are_refused(api: Api, path: str, body: Any, status: int) -> None:
    before = (await api("GET", "tailnet/-/dns/configuration")).text
    assert (await api("POST", f"tailnet/-/{path}", body)).status == status
    assert (await api("GET", "tailnet/-/dns/configuration")).text == before


async def test_what_is_not_offered_says_why(api: Api) -> None:
    assert refused.ENDPOINTS
    for endpoint in refused.ENDPOINTS:
        path = endpoint.path.format(tailnet="-", kind="account", id="1", name="svc:x", organization="-")
        answer = await api(endpoint.method, path.lstrip("/"), {} if endpoint.method != "GET" else None)
        assert (answer.status, answer.document["status"]) == (501, 501), path
        assert len(answer.document["message"]) > 20
