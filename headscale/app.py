"""Builds the object graph of a server, starts it, and stops it in reverse."""

import asyncio
import logging
import secrets
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

from headscale import tls
from headscale.acme.keeper import Keeper
from headscale.api.parts import ApiParts
from headscale.api.server import mount_api, serve_api
from headscale.certificates.publisher import Publisher
from headscale.certificates.start import publisher_of
from headscale.clock import Clock, SystemClock
from headscale.config.file import load_config
from headscale.config.settings import Challenge, Config, EmbeddedDERP, TLSFiles
from headscale.console.console import Console
from headscale.console.sessions import Sessions as ConsoleSessions
from headscale.control.asks import NodeAsks
from headscale.control.dispatch import Dispatcher, Handler
from headscale.control.housekeeping import housekeep, sweep_credentials
from headscale.control.poll import PollHandler
from headscale.control.presence import Presence
from headscale.control.probes import Prober
from headscale.control.public import PublicPages
from headscale.control.register import RegisterHandler
from headscale.control.routelog import RouteLog
from headscale.control.setdns import PATH as SET_DNS_PATH
from headscale.control.setdns import SetDNSHandler
from headscale.control.sshcheck import PATH as SSH_CHECK_PATH
from headscale.control.sshcheck import SSHCheckHandler
from headscale.control.upgrade import ControlUpgrade
from headscale.counts import Counts, RelayCounts, WriterCounts
from headscale.db.database import Database, Loaded, open_sqlite
from headscale.derp.fetch import MapCache
from headscale.derp.regions import hosts_of
from headscale.derp.server import DerpServer
from headscale.errors import Unavailable
from headscale.keyfiles import load_or_create
from headscale.keys import NodeKey, machine_key
from headscale.listeners import behind, listen_http, listen_stun, secured, web_app
from headscale.login.checks import PendingChecks
from headscale.login.oidc.errands import Confirmations, Errands, Registrations
from headscale.login.oidc.recheck import Recheck
from headscale.login.oidc.signin import SignIn
from headscale.login.pages import LoginPages
from headscale.login.pending import PendingLogins
from headscale.mapper.fanout import Fanout
from headscale.mapper.questions import PATH as ANSWERS_PATH
from headscale.mapper.questions import Questions
from headscale.mapper.sessions import Sessions
from headscale.monitoring.health import Health
from headscale.monitoring.lag import LoopLag
from headscale.monitoring.listener import OperatorPages
from headscale.monitoring.requests import counting
from headscale.monitoring.vitals import Vitals
from headscale.pages.astray import astray, root
from headscale.pages.devices import DevicePages
from headscale.pages.icon import icon
from headscale.reload import Reloader, settle_roles
from headscale.sealing import Sealer
from headscale.sources.certificate import CertificateSource
from headscale.sources.embedded import region_of
from headscale.sources.policy import PolicySource
from headscale.sources.records import RecordSource
from headscale.sources.relays import DerpSource
from headscale.state.imported import ImportedKeys
from headscale.state.preferences import let_waiting_in
from headscale.state.restore import restore
from headscale.state.wireguard import provide
from headscale.state.writer import Writer
from headscale.supervisor import MAIN, Supervisor
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.dns import DNSRecord
from headscale.tasks import Tasks
from headscale.webhooks.delivery import Webhooks

log = logging.getLogger(__name__)

HTTPS_PORT: Final = 443


@dataclass(frozen=True, slots=True)
class App:
    """A running server."""

    config: Config
    writer: Writer
    fanout: Fanout
    policy: PolicySource
    reloader: Reloader
    sign_in: SignIn
    recheck: Recheck
    vitals: Vitals
    url: str
    failed: asyncio.Future[None]


@asynccontextmanager
async def running(
    config: Config,
    *,
    clock: Clock | None = None,
    grace_s: float | None = None,
    supervisor: Supervisor | None = None,
) -> AsyncIterator[App]:
    """A server with this configuration, for as long as the context lasts.

    It listens at the supervisor's sockets where that has opened them.

    Raises Unavailable or Malformed, with what to do about it, when it cannot start; then nothing is left
    behind. The database's lock is taken before anything else, so that a second server on the same data
    leaves the first one alone.
    """
    clock = clock or SystemClock()
    supervisor = supervisor or Supervisor()
    async with AsyncExitStack() as stack:
        database = await _open_database(stack, config)
        server_key = load_or_create(config.noise_key_path)
        certificate = _main_certificate(config, clock)
        relay_certificate = _relay_certificate(config, clock) if certificate is None else None
        kept = await database.load(clock.now())
        counts = Counts()
        relays = _relays(config, relay_certificate)
        records = RecordSource(config.extra_records_path, config.tailnet.dns.extra_records)
        writer = _writer(
            database,
            kept,
            config,
            clock=clock,
            derp_map=await relays.first(),
            extra_records=await records.first(),
            counts=counts.writer,
        )
        fanout = Fanout(writer, clock, counts.maps)
        sessions = Sessions(writer, clock)
        presence = Presence(writer) if grace_s is None else Presence(writer, grace_s=grace_s)
        publisher = await _publisher(config, clock)
        tasks = Tasks(stack)
        tasks.start("writer", writer.run(), ending=writer.close)
        tasks.start("fanout", fanout.run())
        tasks.start("housekeeping", housekeep(writer))
        tasks.start("sweep of credentials", sweep_credentials(writer))
        tasks.start("relay maps", relays.run(writer))
        tasks.start("extra records", records.run(writer))
        if publisher is not None:
            tasks.start("records of certificates", publisher.run())
        stack.push_async_callback(presence.close)
        policy = PolicySource(writer, config.policy)
        await policy.start(kept.policy, database.policy_before)
        await writer.apply(let_waiting_in)
        await writer.apply(partial(provide, peers=config.wireguard_peers))
        await settle_roles(writer)
        presence.expect()
        sealer = Sealer(server_key)
        webhooks = Webhooks(writer, sealer, clock)
        logins = PendingLogins(
            clock, secrets.token_bytes, lifetime=config.login_lifetime, at_most=config.logins_max
        )
        checks = PendingChecks(
            clock, secrets.token_bytes, lifetime=config.login_lifetime, at_most=config.logins_max
        )
        errands: dict[str, Errands] = {
            "register": Registrations(logins, writer),
            "ssh": Confirmations(checks, writer),
        }
        sign_in = SignIn(config.oidc, errands, writer, sealer, clock)
        await _reach_providers(sign_in)
        tasks.start("webhooks", webhooks.run())
        sessions_of_people = ConsoleSessions(clock, secrets.token_bytes)
        recheck = Recheck(sign_in, writer, sealer, clock, on_cut_off=sessions_of_people.end_all_of)
        tasks.start("people again", recheck.run())

        lag = LoopLag(counts.loop, clock)
        tasks.start("lag of the loop", lag.run())
        health = Health(
            database.ping,
            config.data_dir,
            counts=counts.writer,
            lag=lag,
            policy_problem=lambda: writer.snapshot.policy_problem,
        )
        public = PublicPages(writer, server_key=machine_key(server_key.public), health=health.state)
        polls = PollHandler(writer, fanout, presence, sessions)
        questions = Questions(fanout)
        imported = ImportedKeys(writer)
        stack.push_async_callback(imported.close)
        asks = NodeAsks(writer, questions, clock)
        RouteLog(writer, counts.routes)
        tasks.start("probes of routers", Prober(writer, fanout, questions, clock).run())
        dispatcher = Dispatcher(
            {
                ("GET", "/machine/whoami"): asks.whoami,
                ("POST", "/machine/audit-log"): asks.audit_log,
                ("PATCH", "/machine/set-device-attr"): asks.set_attributes,
                ("POST", "/machine/feature/query"): asks.query_feature,
                ("POST", "/machine/update-health"): asks.update_health,
                ("POST", ANSWERS_PATH): asks.answer_question,
                ("POST", "/machine/register"): RegisterHandler(writer, logins, imported).handle,
                ("POST", "/machine/map"): polls.handle,
                ("GET", SSH_CHECK_PATH): SSHCheckHandler(writer, checks).handle,
                **_set_dns(writer, publisher, clock),
            }
        )
        upgrade = ControlUpgrade(
            server_key,
            clock,
            dispatcher,
            is_known=lambda machine: machine in writer.snapshot.nodes_by_machine,
        )
        routes = [
            web.get("/", root),
            web.get("/favicon.ico", icon),
            *public.routes(),
            *DevicePages(lambda: writer.snapshot.settings.server_url).routes(),
            *LoginPages(logins, checks, sign_in, writer).routes(),
            *Console(sign_in, sessions_of_people, writer, logins, database.audit_events).routes(),
            *upgrade.routes(),
        ]
        derp = None
        if config.derp is not None:
            derp = _start_relay(stack, config.derp, clock, public, writer, counts.relay)
            await listen_stun(stack, config.derp.stun_listen)
            routes += (
                derp.routes()
            )  # for a proxy that ends TLS, for probes, and for ours when it has a certificate
            if relay_certificate is not None:
                context = _context(_relay_files(config.derp))
                await listen_http(
                    stack,
                    web_app(derp.routes(), behind(config.trusted_proxies)),
                    config.derp.tls_listen,
                    context,
                )
        vitals = Vitals(
            config=config,
            clock=clock,
            counts=counts,
            writer=writer,
            fanout=fanout,
            sessions=sessions,
            logins=logins,
            questions=questions,
            health=health,
            lag=lag,
            control_sessions=lambda: upgrade.connections,
            relay=derp,
        )
        parts = ApiParts(
            writer=writer,
            ping=database.ping,
            audit_events=database.audit_events,
            policy=policy,
            kept_policy=database.policy,
            logins=logins,
            checks=checks,
            questions=questions,
            clock=clock,
            sealer=sealer,
            webhooks=webhooks,
            vitals=vitals,
            imported=imported,
        )
        main = web_app(routes, behind(config.trusted_proxies), counting(counts.http, clock), astray)
        stack.push_async_callback(mount_api(main, parts).close)
        await listen_http(
            stack,
            main,
            config.listen,
            certificate.context if certificate else None,
            opened=supervisor.sockets.get(MAIN),
        )
        if certificate is not None:
            await _listen_for_challenges(stack, config, certificate)
            tasks.start("certificate", certificate.run())  # an authority may look at the listener at once
        stack.push_async_callback(upgrade.close)
        if derp is not None:
            stack.push_async_callback(derp.close)  # before its listeners, which would wait for its clients
        stack.callback(fanout.end_all)
        stack.push_async_callback(
            presence.close
        )  # before streams end, or a slow end would take nodes for gone
        if config.metrics_listen is not None:
            await listen_http(
                stack, secured(OperatorPages(vitals).application()), config.metrics_listen, None
            )
        await serve_api(stack, parts, path=config.unix_socket, mode=config.unix_socket_mode)
        reloader = Reloader(
            config,
            partial(load_config, config.source),
            writer=writer,
            policy=policy,
            relays=relays,
            records=records,
            sign_in=sign_in,
        )
        yield App(
            config,
            writer,
            fanout,
            policy,
            reloader,
            sign_in,
            recheck,
            vitals,
            config.tailnet.server_url,
            tasks.failed,
        )


async def _listen_for_challenges(
    stack: AsyncExitStack, config: Config, certificate: CertificateSource | Keeper
) -> None:
    if not isinstance(certificate, Keeper) or config.acme is None:
        return
    if config.acme.challenge is Challenge.HTTP:
        await listen_http(stack, certificate.application(config.tailnet.server_url), config.acme.listen, None)
    elif config.listen.port != HTTPS_PORT:
        log.warning("TLS-ALPN-01 is asked at port 443: something must pass it on to %d", config.listen.port)


async def _reach_providers(sign_in: SignIn) -> None:
    """Raises Unavailable when a provider is not there without which the operator wants no start."""
    for provider in sign_in.providers.values():
        try:
            await provider.metadata()
        except Unavailable as problem:
            if provider.settings.must_be_there:
                raise Unavailable(
                    f"oidc.issuer {provider.settings.issuer}: {problem}. Mend it, or set "
                    "oidc.only_start_if_oidc_is_available to false"
                ) from problem
            log.warning(
                "identity provider not there yet, asked again at each login provider=%s: %s",
                provider.settings.name,
                problem,
            )


async def _open_database(stack: AsyncExitStack, config: Config) -> Database:
    try:
        config.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as problem:
        raise Unavailable(f"data_dir: cannot make {config.data_dir}: {problem.strerror}") from problem
    if config.postgres is None:
        database = await open_sqlite(
            config.sqlite_path, config.sqlite, logs_statements=config.logs_statements
        )
    else:
        try:
            from headscale.db.postgres import open_postgres  # its driver comes with an extra
        except ImportError as problem:
            raise Unavailable("PostgreSQL needs asyncpg: pip install 'headscale[postgres]'") from problem
        database = await open_postgres(config.postgres, logs_statements=config.logs_statements)
    stack.push_async_callback(database.close)
    return database


def _writer(
    database: Database,
    kept: Loaded,
    config: Config,
    *,
    clock: Clock,
    derp_map: DERPMap,
    extra_records: tuple[DNSRecord, ...],
    counts: WriterCounts,
) -> Writer:
    snapshot = restore(
        settings=config.tailnet,
        derp_map=derp_map,
        extra_records=extra_records,
        users=kept.users,
        pre_auth_keys=kept.pre_auth_keys,
        api_keys=kept.api_keys,
        webhooks=kept.webhooks,
        oauth_clients=kept.oauth_clients,
        access_tokens=kept.access_tokens,
        nodes=kept.nodes,
        last_ids=kept.last_ids,
        preferences=kept.preferences,
        elections=kept.elections,
        now=clock.now(),
    )
    log.info("state loaded users=%d nodes=%d", len(kept.users), len(kept.nodes))
    return Writer(snapshot, database, clock, counts)


async def _publisher(config: Config, clock: Clock) -> Publisher | None:
    """What publishes nodes' records for certificates, when the operator wants that."""
    if config.certificates is None:
        return None
    publisher = publisher_of(config.certificates, config.data_dir, clock)
    await publisher.start()
    return publisher


def _set_dns(writer: Writer, publisher: Publisher | None, clock: Clock) -> dict[tuple[str, str], Handler]:
    if publisher is None:
        return {}
    return {("POST", SET_DNS_PATH): SetDNSHandler(writer, publisher, clock).handle}


def _relays(config: Config, relay: tls.ServerCertificate | None) -> DerpSource:
    """The relays that clients are told of: other people's, and our own."""
    is_told = config.derp is not None and config.derp.adds_region
    return DerpSource(
        config.derp_sources,
        embedded=region_of(config, relay.certificate if relay else None) if is_told else None,
        tailnet=config.tailnet.dns.base_domain or config.tailnet.server_url,
        cache=MapCache(config.data_dir / "derp-maps"),
    )


def _main_certificate(config: Config, clock: Clock) -> CertificateSource | Keeper | None:
    if config.acme is not None:
        return Keeper(config.acme, clock)
    if config.tls is None:
        return None
    return CertificateSource(certificate_path=config.tls.certificate, key_path=config.tls.key)


def _relay_certificate(config: Config, clock: Clock) -> tls.ServerCertificate | None:
    """Clients reach relays by TLS only. Behind a proxy (an https URL) the proxy's certificate serves them."""
    url = urlsplit(config.tailnet.server_url)
    if config.derp is None or url.scheme == "https":
        return None
    files = _relay_files(config.derp)
    return tls.load_or_create(
        [url.hostname or "localhost"],
        certificate_path=files.certificate,
        key_path=files.key,
        now=clock.now(),
    )


def _relay_files(derp: EmbeddedDERP) -> TLSFiles:
    return TLSFiles(certificate=derp.tls_dir / "derp.crt", key=derp.tls_dir / "derp.key")


def _context(files: TLSFiles) -> ssl.SSLContext:
    return tls.server_context(certificate_path=files.certificate, key_path=files.key)


def _start_relay(
    stack: AsyncExitStack,
    derp: EmbeddedDERP,
    clock: Clock,
    public: PublicPages,
    writer: Writer,
    counts: RelayCounts,
) -> DerpServer:
    async def admit(node_key: NodeKey, source: str) -> bool:
        return not derp.verify_clients or public.may_relay(node_key)

    server = DerpServer(
        load_or_create(derp.key_path),
        clock,
        admit,
        bootstrap_hosts=lambda: hosts_of(writer.snapshot.derp_map),
        counts=counts,
    )
    stack.push_async_callback(server.close)
    return server
