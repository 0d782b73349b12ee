"""SSH between real devices by the policy's rules: who gets in as whom, and who does not.

What waits to be confirmed: test_ssh_checks.py. What is recorded: test_ssh_recording.py.
"""

import itertools
from dataclasses import dataclass

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.clients.base import Ability
from harness.clients.tailscaled import TailscaledClient
from harness.logins import logs_in_person
from harness.plugin import MakeTailnet
from harness.policies import acl, ssh
from harness.reach import assert_reach
from harness.servers.identity import IdentityProvider
from harness.shells import (
    PATIENCE,
    SERVE,
    add_account,
    assert_sessions,
    command,
    device,
    is_refused,
    logs_in_as,
    set_ssh_policy,
    ssh_server,
)
from harness.tailnet import Tailnet, gather
from harness.versions import Release

pytestmark = [pytest.mark.needs(Capability.TUN), pytest.mark.needs(Capability.ACCOUNTS)]

EVERYTHING = ["autogroup:member", "autogroup:tagged"]
STAFF = {"group:staff": ["alice@"]}
BOTH = {"group:staff": ["alice@", "bob@"]}


@dataclass(frozen=True, slots=True)
class Office:
    """Devices of Alice's and of Bob's, of the oldest and the newest release, and a tagged one; all serve SSH."""

    tailnet: Tailnet
    alices: list[TailscaledClient]
    bobs: list[TailscaledClient]
    server: TailscaledClient
    """Tagged `tag:server`, of the release between."""

    @property
    def devices(self) -> list[TailscaledClient]:
        """All of them."""
        return [*self.alices, *self.bobs, self.server]

    @property
    def pairs(self) -> list[tuple[TailscaledClient, TailscaledClient]]:
        """From each to each other."""
        return list(itertools.permutations(self.devices, 2))

    def is_own(self, source: TailscaledClient, target: TailscaledClient) -> bool:
        """Whether both are the same person's."""
        return any(source in owned and target in owned for owned in (self.alices, self.bobs))


@pytest_asyncio.fixture(loop_scope="session")
async def office(lasting_tailnet: Tailnet) -> Office:
    """The office, with all packets let through."""
    tailnet = lasting_tailnet
    if not tailnet.clients:
        releases = tailnet.able(Ability.PREFS)
        oldest, middle, newest = releases[0], releases[len(releases) // 2], releases[-1]
        for user in ("alice", "bob"):
            await tailnet.user(user)
        await set_ssh_policy(tailnet, tag_owners={"tag:server": []})
        await gather(
            *(
                ssh_server(tailnet, user, f"{user}-{age}", release=release)
                for user in ("alice", "bob")
                for age, release in (("old", oldest), ("new", newest))
            ),
            ssh_server(tailnet, "alice", "server", release=middle, tags=["tag:server"]),
        )
        await tailnet.meshed(tailnet.clients)
    found = {client.name: client for client in tailnet.clients if isinstance(client, TailscaledClient)}
    alices, bobs = ([found[f"{user}-{age}"] for age in ("old", "new")] for user in ("alice", "bob"))
    return Office(tailnet, alices, bobs, found["server"])


async def test_one_group_gets_into_every_device_and_nobody_else_into_any(office: Office) -> None:
    """Also into those of others and into tagged ones; as the accounts of the rule and as no other."""
    rule = ssh("group:staff", to=EVERYTHING, users=["ssh-user", "root"])
    await set_ssh_policy(office.tailnet, rule, groups=STAFF)
    await assert_sessions(
        {(source, target, "ssh-user"): source in office.alices for source, target in office.pairs}
        | {(source, target, "root"): True for source in office.alices for target in [office.server]}
        | {(source, target, "nobody"): False for source in office.alices for target in office.bobs}
    )


async def test_everybody_gets_into_everything_of_everybody(office: Office) -> None:
    """Both ways between two people; a tagged device is nobody, and gets in nowhere."""
    await set_ssh_policy(office.tailnet, ssh("group:staff", to=EVERYTHING, users="ssh-user"), groups=BOTH)
    await assert_sessions(
        {(source, target, "ssh-user"): source is not office.server for source, target in office.pairs}
    )


async def test_each_person_by_a_rule_of_their_own(office: Office) -> None:
    """Within a person's devices, and not across."""
    await set_ssh_policy(
        office.tailnet, *(ssh(who, to=who, users=["ssh-user", "root"]) for who in ("alice@", "bob@"))
    )
    await assert_sessions(
        {
            (source, target, user): office.is_own(source, target)
            for source, target in office.pairs
            for user in ("ssh-user", "root")
            if target is not office.server
        }
    )


async def test_ones_own_devices_and_no_others(office: Office) -> None:
    """`autogroup:self`, as anybody but root."""
    await set_ssh_policy(
        office.tailnet, ssh("autogroup:member", to="autogroup:self", users="autogroup:nonroot")
    )
    members = [pair for pair in office.pairs if office.server not in pair]
    await assert_sessions(
        {(source, target, "ssh-user"): office.is_own(source, target) for source, target in members}
        | {(source, target, "root"): False for source, target in members if office.is_own(source, target)}
    )


async def test_tagged_devices_and_no_others(office: Office) -> None:
    """A rule for a tag opens neither people's devices nor the way out of the tagged one."""
    rule = ssh("group:staff", to="tag:server", users=["ssh-user"])
    everywhere = ssh("group:staff", to=EVERYTHING, users=["root"])  # shows them alive
    await set_ssh_policy(office.tailnet, rule, everywhere, groups=STAFF)
    await assert_sessions(
        {
            (source, target, "ssh-user"): source in office.alices and target is office.server
            for source, target in office.pairs
        }
        | {(source, target, "root"): True for source, target in office.pairs if source in office.alices}
    )


async def test_a_rule_opens_nothing_that_the_packet_filter_shuts(office: Office) -> None:
    """Where it lets port 80 through alone, connections to SSH get no answer; opened, they do."""
    rule = ssh("group:staff", to=EVERYTHING, users="ssh-user")
    await set_ssh_policy(office.tailnet, rule, groups=STAFF, packets=[acl("*", "*:80")])
    shut = [(source, target) for source in office.alices for target in [*office.bobs, office.server]]
    await assert_reach({(source, target.tcp()): True for source, target in shut})  # which answers at 80
    for said in await gather(*(is_refused(source, target, "ssh-user") for source, target in shut)):
        assert "timed out" in said
    await set_ssh_policy(office.tailnet, rule, groups=STAFF)
    await assert_sessions({(source, target, "ssh-user"): True for source, target in shut})


async def test_the_variables_that_a_rule_names_come_along(office: Office) -> None:
    """`acceptEnv`, by name and by pattern; what it does not name stays behind; without the key all does."""
    variables = {"GREETING": "hello", "LC_TELEPHONE": "en", "SECRET": "none"}
    words = " ".join(f'"${name}"' for name in variables)
    old, new = office.alices
    ways = [(old, office.bobs[0]), (new, office.server), (old, office.bobs[1])]

    async def arrived(source: TailscaledClient, target: TailscaledClient) -> str:
        typed = ["env", *(f"{name}={value}" for name, value in variables.items())]
        typed += command(target, "ssh-user", f"printf '%s/' {words}", sends=" ".join(variables))
        return (await source.machine.exec(typed, timeout=PATIENCE)).stdout

    bare = ssh("group:staff", to=EVERYTHING, users="ssh-user")
    for rule, seen in (({**bare, "acceptEnv": ["GREETING", "LC_*"]}, "hello/en//"), (bare, "///")):
        await set_ssh_policy(office.tailnet, rule, groups=STAFF)
        assert [await arrived(*way) for way in ways] == [seen] * len(ways)


async def test_a_device_that_does_not_serve_lets_nobody_in(office: Office) -> None:
    """Whatever the rules say: it is there, and its port is shut. Told to serve, it lets in."""
    await set_ssh_policy(office.tailnet, ssh("group:staff", to=EVERYTHING, users="ssh-user"), groups=BOTH)
    releases = office.tailnet.able(Ability.PREFS)
    closed = [
        await device(office.tailnet, "bob", f"closed-{n}", release=release)
        for n, release in enumerate(releases)
    ]
    try:
        await office.tailnet.meshed([*office.devices, *closed])
        await assert_reach({(source, target.tcp()): True for source in office.alices for target in closed})
        for target in closed:
            await add_account(target, "ssh-user")
            for source in [*office.alices, *office.bobs]:
                assert "refused" in await is_refused(source, target, "ssh-user")
            assert (await target.set(SERVE)).ok
            await logs_in_as(office.alices[0], target, "ssh-user")
    finally:
        for target in closed:
            await office.tailnet.leave(target)


# ---- accounts named as addresses


NAMES = ("alice", "bob", "carol", "ssh-user")


async def person(
    tailnet: Tailnet, provider: IdentityProvider, who: str, release: Release
) -> TailscaledClient:
    """A device of somebody who logged in, which serves SSH, with accounts of several names."""
    client = await tailnet.client(release)
    assert isinstance(client, TailscaledClient)
    assert (await logs_in_person(tailnet, client, provider, f"sub-{who}", SERVE)).ok
    for account in NAMES:
        await add_account(client, account)
    return client


async def test_an_address_is_an_account(make_tailnet: MakeTailnet, provider: IdentityProvider) -> None:
    """`localpart:*@example.com` opens the account of the person's own address and no other, wherever the rule says:

    on everything, on one's own devices, and with root beside it. Carol's address is of another domain.
    """
    provider.knows("sub-carol", email="carol@elsewhere.example", email_verified=True)
    tailnet = await make_tailnet(config=provider.configuration)
    await set_ssh_policy(tailnet, tag_owners={"tag:server": []})
    releases = tailnet.able(Ability.LOGOUT)
    alices = [await person(tailnet, provider, "alice", each) for each in (releases[0], releases[-1])]
    bob = await person(tailnet, provider, "bob", releases[-1])
    carol = await person(tailnet, provider, "carol", releases[0])
    server = await ssh_server(tailnet, "admin", "server", tags=["tag:server"], accounts=NAMES)
    await tailnet.meshed(tailnet.clients)
    mine = "localpart:*@example.com"
    owners = {alices[0]: "alice", alices[1]: "alice", bob: "bob", carol: "nobody of that domain"}
    accounts = (*NAMES, "root")
    ways = [(s, t) for s, t in itertools.permutations([*owners, server], 2) if s is not server]

    await set_ssh_policy(tailnet, ssh("autogroup:member", to=EVERYTHING, users=mine))
    await assert_sessions({(s, t, name): name == owners[s] for s, t in ways for name in accounts})

    rules = [
        ssh("autogroup:member", to="autogroup:self", users=mine),
        ssh("autogroup:member", to=EVERYTHING, users="ssh-user"),  # shows all of them alive
    ]
    await set_ssh_policy(tailnet, *rules)
    await assert_sessions(
        {
            (s, t, name): name == "ssh-user" or (name == owners[s] == owners.get(t))
            for s, t in ways
            for name in accounts
        }
    )

    await set_ssh_policy(tailnet, ssh("autogroup:member", to=EVERYTHING, users=[mine, "root"]))
    await assert_sessions({(s, t, name): name in (owners[s], "root") for s, t in ways for name in accounts})
