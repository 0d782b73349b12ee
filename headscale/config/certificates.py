"""The `dns.certificates` section of a configuration: how records of nodes get into the public DNS."""

import base64
import binascii
import os
from datetime import timedelta
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from headscale.config.dns import Values
from headscale.config.settings import Certificates, DNSCommand, DNSUpdates
from headscale.sources.extrarecords import domain_name

SECTION: Final = "dns.certificates"
# What each backend needs, below its own name.
BACKENDS: Final = {
    "rfc2136": ("server", "zone", "tsig_name", "tsig_algorithm", "tsig_secret", "tsig_secret_path"),
    "exec": ("command",),
}
DNS_PORT: Final = 53
TIMEOUT: Final = timedelta(seconds=30)
# A client that waits for longer has given its handshake up (tailscale v1.102.4, ipn/ipnlocal/serve.go: one minute).
TIMEOUT_MAX: Final = timedelta(minutes=1)
# An authority looks within seconds, and again for some minutes when it does not find the record at once.
RECORD_LIFETIME: Final = timedelta(hours=1)
RECORD_LIFETIME_MAX: Final = timedelta(days=7)


def certificates(values: Values) -> Certificates | None:
    """The section; None when it names no backend. Whatever is wrong with it becomes complaints."""
    backend = values.get(f"{SECTION}.backend")
    _complain_of_idle_keys(values, backend)
    if backend is None:
        return None
    if not values.get("dns.base_domain"):
        values.complain(
            f"{SECTION}.backend",
            "needs dns.base_domain: a domain of yours, because certificates are for public names",
        )
    made = _updates(values) if backend == "rfc2136" else _command(values)
    if made is None:
        return None
    return Certificates(
        backend=made,
        timeout=_within(values, f"{SECTION}.timeout", TIMEOUT, TIMEOUT_MAX),
        record_lifetime=_within(values, f"{SECTION}.record_lifetime", RECORD_LIFETIME, RECORD_LIFETIME_MAX),
    )


def _complain_of_idle_keys(values: Values, backend: str | None) -> None:
    for name, keys in BACKENDS.items():
        for key in (f"{SECTION}.{name}.{key}" for key in keys):
            if name != backend and values.has(key):
                values.complain(key, f"has no effect without {SECTION}.backend: {name}")


def _within(values: Values, name: str, default: timedelta, most: timedelta) -> timedelta:
    given: timedelta = values.get(name, default)
    if not timedelta() < given <= most:
        values.complain(name, f"must be more than nothing and at most {most.total_seconds():.0f}s")
    return given


def _updates(values: Values) -> DNSUpdates | None:
    section = f"{SECTION}.rfc2136"
    host, port = _server(values, f"{section}.server")
    secret = _secret(values, section)
    key_name = _name(values, f"{section}.tsig_name")
    base = domain_name(values.get("dns.base_domain", "")) or ""
    zone = _name(values, f"{section}.zone") if values.has(f"{section}.zone") else base
    if base and zone and base != zone and not base.endswith(f".{zone}"):
        values.complain(f"{section}.zone", f"dns.base_domain {base} must be this zone or lie in it")
    if not (host and zone and key_name) or secret is None:
        return None
    return DNSUpdates(
        host=host,
        port=port,
        zone=zone,
        tsig_name=key_name,
        tsig_algorithm=values.get(f"{section}.tsig_algorithm", "hmac-sha256"),
        tsig_secret=secret,
    )


def _server(values: Values, key: str) -> tuple[str, int]:
    """Host (an address or a name) and port; an empty host when there is none, with the complaint made."""
    given: str = values.get(key, "")
    if not given:
        values.complain(
            key, "is needed: the nameserver that takes updates, such as 192.0.2.53 or ns.example.com:53"
        )
        return "", 0
    literal = f"[{given}]" if given.count(":") > 1 and not given.startswith("[") else given
    try:
        url = urlsplit(f"//{literal}")
        host, port = url.hostname or "", url.port or DNS_PORT
    except ValueError:
        host, port = "", 0
    if not host or url.netloc != literal or "@" in literal:
        values.complain(key, f"{given!r} is not a host with or without a port, such as 192.0.2.53:53")
        return "", 0
    return host, port


def _name(values: Values, key: str) -> str:
    given: str = values.get(key, "")
    name = domain_name(given)
    if name is None:
        values.complain(key, f"{given!r} is not a name" if given else "is needed")
    return name or ""


def _secret(values: Values, section: str) -> bytes | None:
    """The key's bytes, empty when their file may not be read by whoever reads the configuration; else None."""
    inline, path = values.get(f"{section}.tsig_secret"), values.get(f"{section}.tsig_secret_path")
    if (inline is None) == (path is None):
        values.complain(
            f"{section}.tsig_secret", "give the secret here or by tsig_secret_path, one of the two"
        )
        return None
    key = f"{section}.tsig_secret" if path is None else f"{section}.tsig_secret_path"
    try:
        text = inline if path is None else _read(path)
        secret = base64.b64decode(text.strip(), validate=True)
    except PermissionError:
        return b""  # the server says so at its start; other commands do not need it
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a text"
        values.complain(key, f"{path} cannot be read: {reason}")
        return None
    except (binascii.Error, ValueError):
        secret = b""
    if not secret:
        values.complain(key, "expected the secret in base64, as tsig-keygen and keymgr print it")
        return None
    return secret


def _read(path: Path) -> str:
    return path.read_text("ascii")


def _command(values: Values) -> DNSCommand | None:
    key = f"{SECTION}.exec.command"
    command: tuple[str, ...] = values.get(key, ())
    if not command:
        values.complain(key, "is needed: the program that publishes and removes records, and its arguments")
        return None
    program = Path(command[0])
    if not program.is_absolute():
        values.complain(key, f"{command[0]!r} must be a whole path, because no shell looks it up")
    elif not (program.is_file() and os.access(program, os.X_OK)):
        values.complain(key, f"there is no program {program} that may be run")
    return DNSCommand(command=command)
