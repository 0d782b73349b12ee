"""/tailnet/{tailnet}/dns: what clients resolve, and where. What the operator's configuration decides is a 409."""

from functools import partial
from typing import Any, Final

import msgspec

from headscale.api.v2.endpoints import Call, Endpoint
from headscale.errors import Malformed
from headscale.records import Choices, DNSSettings
from headscale.state.scopes import DNS, read
from headscale.state.settings import choose

# By domain, who is asked about names below it; null takes a domain out.
Split = dict[str, tuple[str, ...]]
SplitChanges = dict[str, tuple[str, ...] | None]


class Nameservers(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Who is asked about everything."""

    dns: tuple[str, ...]


class NameserversSet(msgspec.Struct, frozen=True, rename={"magic_dns": "magicDNS"}):
    """Who is asked now, and whether names of the tailnet resolve."""

    dns: tuple[str, ...]
    magic_dns: bool


class Preferences(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename={"magic_dns": "magicDNS"}):
    """Whether names of the tailnet resolve."""

    magic_dns: bool


class SearchPaths(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """The domains that are tried for short names."""

    search_paths: tuple[str, ...]


class Resolver(msgspec.Struct, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """A nameserver."""

    address: str
    use_with_exit_node: bool = False


class ConfigurationPreferences(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"override_local_dns": "overrideLocalDNS", "magic_dns": "magicDNS"},
):
    """How the tailnet's DNS stands to the device's own."""

    override_local_dns: bool = False
    magic_dns: bool = False


class Configuration(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    rename={"split_dns": "splitDNS", "search_paths": "searchPaths"},
):
    """All of it at once."""

    nameservers: tuple[Resolver, ...] = ()
    split_dns: dict[str, tuple[Resolver, ...]] = {}
    search_paths: tuple[str, ...] = ()
    preferences: ConfigurationPreferences = ConfigurationPreferences()


async def get_nameservers(call: Call[None]) -> Nameservers:
    """Those for everything."""
    return Nameservers(_dns(call).nameservers)


async def set_nameservers(call: Call[Nameservers]) -> NameserversSet:
    """These and no others."""
    dns = await _choose(call, Choices(nameservers=call.body.dns))
    return NameserversSet(dns.nameservers, dns.magic_dns)


async def get_preferences(call: Call[None]) -> Preferences:
    """Whether MagicDNS is on."""
    return Preferences(_dns(call).magic_dns)


async def set_preferences(call: Call[Preferences]) -> Preferences:
    """Turn MagicDNS on or off."""
    dns = await _choose(call, Choices(magic_dns=call.body.magic_dns))
    return Preferences(dns.magic_dns)


async def get_search_paths(call: Call[None]) -> SearchPaths:
    """Those that follow the tailnet's own domain."""
    return SearchPaths(_dns(call).search_domains)


async def set_search_paths(call: Call[SearchPaths]) -> SearchPaths:
    """These and no others."""
    dns = await _choose(call, Choices(search_domains=call.body.search_paths))
    return SearchPaths(dns.search_domains)


async def get_split(call: Call[None]) -> Split:
    """Every domain with nameservers of its own."""
    return dict(_dns(call).split)


async def set_split(call: Call[SplitChanges]) -> Split:
    """These domains and no others."""
    wanted = {domain: servers or () for domain, servers in call.body.items()}
    return (await _choose(call, Choices(split=wanted))).split


async def update_split(call: Call[SplitChanges]) -> Split:
    """These domains too, or otherwise; one whose servers are null goes."""
    after = {**_dns(call).split}
    for domain, servers in call.body.items():
        name = domain.rstrip(".").lower()
        if servers:
            after[name] = servers
        else:
            after.pop(name, None)
    return (await _choose(call, Choices(split=after))).split


async def get_configuration(call: Call[None]) -> Configuration:
    """All of it."""
    return _configuration(_dns(call))


async def set_configuration(call: Call[Configuration]) -> Configuration:
    """All of it anew; what is left out is empty or off."""
    asked = call.body
    choices = Choices(
        nameservers=_addresses(asked.nameservers),
        split={domain: _addresses(servers) for domain, servers in asked.split_dns.items()},
        search_domains=asked.search_paths,
        magic_dns=asked.preferences.magic_dns,
        override_local_dns=asked.preferences.override_local_dns,
    )
    return _configuration(await _choose(call, choices))


def _dns(call: Call[Any]) -> DNSSettings:
    return call.snapshot.settings.dns


async def _choose(call: Call[Any], choices: Choices) -> DNSSettings:
    return (await call.apply("settings.change", partial(choose, choices=choices))).dns


def _configuration(dns: DNSSettings) -> Configuration:
    return Configuration(
        nameservers=tuple(map(Resolver, dns.nameservers)),
        split_dns={domain: tuple(map(Resolver, servers)) for domain, servers in dns.split.items()},
        search_paths=dns.search_domains,
        preferences=ConfigurationPreferences(dns.override_local_dns, dns.magic_dns),
    )


def _addresses(resolvers: tuple[Resolver, ...]) -> tuple[str, ...]:
    for resolver in resolvers:
        if resolver.use_with_exit_node:
            raise Malformed(f"{resolver.address[:80]}: useWithExitNode is not offered by this server")
    return tuple(resolver.address for resolver in resolvers)


def _route(method: str, name: str, handler: Any, summary: str, told: Any, body: Any = None) -> Endpoint[Any]:
    return Endpoint(
        method=method,
        path=f"/tailnet/{{tailnet}}/dns/{name}",
        summary=summary,
        handler=handler,
        scopes=(read(DNS) if method == "GET" else DNS,),
        body=body,
        answer=told,
    )


ENDPOINTS: Final[tuple[Endpoint[Any], ...]] = (
    _route("GET", "nameservers", get_nameservers, "Get the nameservers for everything", Nameservers),
    _route(
        "POST",
        "nameservers",
        set_nameservers,
        "Set the nameservers for everything",
        NameserversSet,
        Nameservers,
    ),
    _route("GET", "preferences", get_preferences, "Get whether MagicDNS is on", Preferences),
    _route("POST", "preferences", set_preferences, "Turn MagicDNS on or off", Preferences, Preferences),
    _route("GET", "searchpaths", get_search_paths, "Get the search domains", SearchPaths),
    _route("POST", "searchpaths", set_search_paths, "Set the search domains", SearchPaths, SearchPaths),
    _route("GET", "split-dns", get_split, "Get the domains with nameservers of their own", Split),
    _route(
        "PUT", "split-dns", set_split, "Set the domains with nameservers of their own", Split, SplitChanges
    ),
    _route("PATCH", "split-dns", update_split, "Change some domains with nameservers", Split, SplitChanges),
    _route("GET", "configuration", get_configuration, "Get all of the DNS configuration", Configuration),
    _route(
        "POST",
        "configuration",
        set_configuration,
        "Set all of the DNS configuration",
        Configuration,
        Configuration,
    ),
)
