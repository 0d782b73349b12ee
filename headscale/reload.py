"""The configuration read again while the server runs (SIGHUP): what can change does, and the rest is named."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Final

from headscale import logs
from headscale.config.settings import Config
from headscale.errors import HeadscaleError
from headscale.login.oidc.signin import SignIn
from headscale.sources.policy import PolicySource
from headscale.sources.records import RecordSource
from headscale.sources.relays import DerpSource
from headscale.state.acts import audited
from headscale.state.roles import HAND_OVER, lacks_owner, map_roles_again
from headscale.state.settings import configure
from headscale.state.wireguard import provide
from headscale.state.writer import Writer

log = logging.getLogger(__name__)

# What is looked at once, at the start: the attribute of the configuration, and the keys that it comes from.
AT_START: Final = {
    "data_dir": "data_dir",
    "listen": "listen_addr",
    "trusted_proxies": "trusted_proxies",
    "tls": "tls_cert_path, tls_key_path",
    "acme": "acme_*, tls_letsencrypt_*",
    "noise_key_path": "noise.private_key_path",
    "sqlite_path": "database.sqlite.path",
    "sqlite": "database.sqlite.write_ahead_log, database.sqlite.wal_autocheckpoint",
    "postgres": "database.type, database.postgres",
    "logs_statements": "database.debug",
    "unix_socket": "unix_socket",
    "unix_socket_mode": "unix_socket_permission",
    "derp": "derp.server",
    "certificates": "dns.certificates",
    "login_lifetime": "tuning.register_cache_expiration",
    "logins_max": "tuning.register_cache_max_entries",
    "log_json": "log.format",
    "metrics_listen": "metrics_listen_addr",
    "metrics_per_node": "metrics.per_node",
}
OF_TAILNET_AT_START: Final = {
    "server_url": "server_url",
    "prefix_v4": "prefixes.v4",
    "prefix_v6": "prefixes.v6",
    "allocation": "prefixes.allocation",
}


class Reloader:
    """Puts a configuration that was read again in force; one that is wrong changes nothing."""

    def __init__(
        self,
        config: Config,
        load: Callable[[], Config],
        *,
        writer: Writer,
        policy: PolicySource,
        relays: DerpSource,
        records: RecordSource,
        sign_in: SignIn,
    ) -> None:
        self._config = config
        self._load = load
        self._writer = writer
        self._policy = policy
        self._relays = relays
        self._records = records
        self._sign_in = sign_in
        self._turn = asyncio.Lock()

    async def reload(self) -> None:
        """Read and apply. Nothing is raised: what is wrong is logged, and what it would replace stays in force."""
        async with self._turn:
            try:
                wanted = await asyncio.to_thread(self._load)
            except HeadscaleError as problem:
                log.error("SIGHUP: the configuration is not taken, all stays as it is:\n%s", problem)
                return
            logs.set_level(wanted.log_level)
            await self._settings(wanted)
            await self._wireguard_peers(wanted)
            await self._extra_records(wanted)
            await self._derp_sources(wanted)
            self._sign_in.use(wanted.oidc)
            await self._policy.reload(wanted.policy)
            late = waits_for_a_restart(self._config, wanted)
            if late:
                log.warning("SIGHUP: %s changed, which takes effect at the next start", ", ".join(late))
            log.info("SIGHUP: the configuration was read again source=%s", wanted.source or "environment")

    async def _settings(self, wanted: Config) -> None:
        try:
            if await self._writer.apply(partial(configure, configured=wanted.tailnet)):
                log.info("settings changed: every client is told")
            await settle_roles(self._writer)
        except HeadscaleError as problem:
            log.error("SIGHUP: the settings stay as they are: %s", problem)

    async def _wireguard_peers(self, wanted: Config) -> None:
        try:
            if changed := await self._writer.apply(partial(provide, peers=wanted.wireguard_peers)):
                log.info("WireGuard peers changed count=%d", changed)
        except HeadscaleError as problem:
            log.error("SIGHUP: the WireGuard peers stay as they are: %s", problem)

    async def _extra_records(self, wanted: Config) -> None:
        try:
            await self._records.use(wanted.extra_records_path, wanted.tailnet.dns.extra_records, self._writer)
        except HeadscaleError as problem:
            log.error("SIGHUP: the extra records stay as they are: %s", problem)

    async def _derp_sources(self, wanted: Config) -> None:
        if wanted.derp_sources == self._config.derp_sources:
            return
        try:
            await self._relays.use(wanted.derp_sources, self._writer)
        except HeadscaleError as problem:
            log.error("SIGHUP: the DERP map stays as it is: %s", problem)
            return
        self._config = replace(self._config, derp_sources=wanted.derp_sources)


async def settle_roles(writer: Writer) -> None:
    """What the configuration of now says of roles holds; and it is to be known who the owner is."""
    step = audited(map_roles_again, actor="configuration", action="user.role")
    if changed := await writer.apply(step):
        log.info("roles follow the configuration's groups users=%d", changed)
    if lacks_owner(writer.snapshot):
        log.warning("no user is the owner of this tailnet: say who is, with `%s`", HAND_OVER)


def waits_for_a_restart(running: Config, wanted: Config) -> list[str]:
    """The keys that differ and are looked at only at a start."""
    late = [keys for name, keys in AT_START.items() if getattr(running, name) != getattr(wanted, name)]
    late += [
        keys
        for name, keys in OF_TAILNET_AT_START.items()
        if getattr(running.tailnet, name) != getattr(wanted.tailnet, name)
    ]
    return late
