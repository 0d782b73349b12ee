"""All checks, side by side, in one order; a check that breaks is a finding, too."""

import asyncio
import logging
from typing import Final

from headscale.clock import Clock, SystemClock
from headscale.config.settings import Config
from headscale.db.inspection import Inspection, inspect_sqlite
from headscale.db.transfer import NO_DRIVER
from headscale.doctor.addresses import check_addresses
from headscale.doctor.certificate import check_certificate
from headscale.doctor.configuration import check_configuration
from headscale.doctor.database import check_database
from headscale.doctor.files import check_files
from headscale.doctor.findings import Case, Check, Finding, failed
from headscale.doctor.policy import check_policy
from headscale.doctor.relays import check_relays
from headscale.doctor.surroundings import check_clock, check_dns, check_oidc, check_socket
from headscale.doctor.way import check_way

log = logging.getLogger(__name__)

CHECKS: Final[tuple[Check, ...]] = (
    check_configuration,
    check_files,
    check_database,
    check_socket,
    check_policy,
    check_addresses,
    check_dns,
    check_clock,
    check_certificate,
    check_way,
    check_relays,
    check_oidc,
)
# Beyond this a check hangs; each has shorter limits of its own.
CHECK_S: Final = 60.0


async def examine_all(
    config: Config, *, url: str = "", idle_s: float = 0.0, time_url: str = "", clock: Clock | None = None
) -> list[Finding]:
    """Every finding about this configuration, and about the server at this URL (the configured one if not said)."""
    clock = clock or SystemClock()
    case = Case(
        config=config,
        url=(url or config.tailnet.server_url).rstrip("/"),
        clock=clock,
        database=await _inspected(config, clock),
        idle_s=idle_s,
        time_url=time_url,
    )
    found = await asyncio.gather(*(_run(check, case) for check in CHECKS))
    return [finding for each in found for finding in each]


async def _inspected(config: Config, clock: Clock) -> Inspection | None:
    if config.postgres is None:
        return await asyncio.to_thread(inspect_sqlite, config.sqlite_path, clock.now())
    try:
        from headscale.db.serverinspection import inspect_postgres  # its driver comes with an extra
    except ImportError:
        return Inspection(where=config.postgres.shown, in_use=False, problem=NO_DRIVER)
    return await inspect_postgres(config.postgres, clock.now())


async def _run(check: Check, case: Case) -> list[Finding]:
    name = check.__name__.removeprefix("check_").replace("_", " ")
    try:
        async with asyncio.timeout(CHECK_S + case.idle_s):
            return await check(case)
    except TimeoutError:
        return [
            failed(
                name,
                f"this check did not end within {CHECK_S + case.idle_s:g} s",
                "Run it again; then tell us",
            )
        ]
    except Exception as problem:
        log.exception("a check of the doctor broke check=%s", name)
        return [
            failed(name, f"this check broke: {type(problem).__name__}", "It is a mistake of ours: tell us")
        ]
