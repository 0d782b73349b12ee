"""The TLS certificate behind a URL: trusted, for this name, whole, and for how long still."""

import asyncio
import ssl
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from cryptography import x509

from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned
from headscale.doctor.wire import DIAL_S, Line, NoWay, parts_of, port_of, said, why
from headscale.tls import pin

ENDS_SOON: Final = timedelta(days=14)
# OpenSSL's X509_V_ERR_*.
EXPIRED, SELF_SIGNED, SELF_SIGNED_IN_CHAIN, NO_ISSUER, NO_LEAF_ISSUER, WRONG_NAME, WRONG_ADDRESS = (
    *(10, 18, 19, 20, 21),
    *(62, 64),
)
NOT_YET: Final = 9


@dataclass(frozen=True, slots=True)
class Shown:
    """What a server shows: its certificate, and how many it sends in all."""

    leaf: x509.Certificate
    length: int


async def check_certificate(case: Case) -> list[Finding]:
    """The certificate of the server's URL."""
    parts = parts_of(case.url)
    if parts.scheme != "https":
        return [
            skipped(
                "TLS certificate",
                f"{case.url} is without TLS",
                "The control protocol has its own encryption; browsers, phones and relays want https",
            )
        ]
    return await examine("TLS certificate", case, parts.hostname or "", port_of(parts))


async def examine(check: str, case: Case, host: str, port: int, *, cert_name: str = "") -> list[Finding]:
    """The certificate at this place; `cert_name` is a DERP node's, which may be a pin."""
    url = f"https://{host}:{port}"
    try:
        shown = await _shown(host, port)
    except NoWay as problem:
        return [
            failed(
                check, str(problem), f"See whether something listens for TLS at {host}:{port}, and a firewall"
            )
        ]
    if cert_name.startswith("sha256-raw:"):
        return [_pinned(check, shown, cert_name)]
    try:
        async with Line(url, case.trust):
            pass
    except NoWay as problem:
        cause = problem.__cause__
        if isinstance(cause, ssl.SSLCertVerificationError):
            return [_refused(check, cause, shown, host)]
        return [failed(check, str(problem), f"See what speaks at {host}:{port}")]
    return [_lasts(check, shown, case, host)]


def _pinned(check: str, shown: Shown, cert_name: str) -> Finding:
    if pin(shown.leaf) == cert_name:
        return passed(check, "it is the certificate that the map pins")
    return failed(
        check,
        "it is another certificate than the map pins",
        "Restart the server, so that it tells clients of the one in derp.crt; see that nothing else has this port",
    )


def _lasts(check: str, shown: Shown, case: Case, host: str) -> Finding:
    left = shown.leaf.not_valid_after_utc - case.clock.now()
    until = f"{shown.leaf.not_valid_after_utc:%Y-%m-%d}"
    if left < ENDS_SOON:
        return warned(
            check,
            f"the certificate of {host} ends on {until}, in {left.days} days",
            "Renew it; if that is automatic, see why it did not happen",
        )
    return passed(check, f"{host}: trusted, until {until}, by {_name(shown.leaf.issuer)}")


def _refused(check: str, problem: ssl.SSLCertVerificationError, shown: Shown, host: str) -> Finding:
    leaf = shown.leaf
    is_self_signed = leaf.issuer == leaf.subject
    match problem.verify_code:
        case code if code == EXPIRED:
            what = f"the certificate of {host} ended on {leaf.not_valid_after_utc:%Y-%m-%d}"
            then = "Renew it, and reload what serves it (the proxy keeps the old one in memory)"
        case code if code == NOT_YET:
            what = f"the certificate of {host} begins on {leaf.not_valid_before_utc:%Y-%m-%d}"
            then = "See whether this machine's clock is right"
        case code if code in (WRONG_NAME, WRONG_ADDRESS):
            what = f"the certificate is for {_names(leaf)} and not for {host}"
            then = f"Get one for {host}, or write a name that it has in server_url"
        case code if code == SELF_SIGNED or is_self_signed:
            what = f"the certificate of {host} is self-signed"
            then = "Clients refuse it: get one of a known authority (ACME), or install its authority on every client"
        case code if code in (NO_ISSUER, NO_LEAF_ISSUER) and shown.length == 1:
            what = f"{host} sends only its own certificate, and who signed it ({_name(leaf.issuer)}) is not known here"
            then = (
                "Serve the whole chain (fullchain.pem, not cert.pem); for an authority of your own install it on "
                "every client"
            )
        case _:
            what = f"the certificate of {host} cannot be trusted: {said(problem)}"
            then = f"Install the authority {_name(leaf.issuer)} on every client, or get a certificate of a known one"
    return failed(check, what, then)


def trusting_anybody() -> ssl.SSLContext:
    """To look at what cannot be trusted; nothing that is secret goes over such a connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


async def _shown(host: str, port: int) -> Shown:
    """What is shown there, trusted or not. Raises NoWay."""
    context = trusting_anybody()
    try:
        async with asyncio.timeout(DIAL_S):
            _, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname=host)
    except TimeoutError:
        raise NoWay(f"no TLS with {host}:{port} within {DIAL_S:g} s") from None
    except ssl.SSLError as problem:
        raise NoWay(f"no TLS with {host}:{port}: {said(problem)}") from problem
    except OSError as problem:
        raise NoWay(f"no connection to {host}:{port}: {why(problem)}") from problem
    try:
        tls = writer.get_extra_info("ssl_object")
        return Shown(x509.load_der_x509_certificate(tls.getpeercert(binary_form=True)), _length(tls))
    except (ValueError, TypeError) as problem:
        raise NoWay(f"{host}:{port} shows a certificate that cannot be read") from problem
    finally:
        writer.transport.abort()


def _length(tls: Any) -> int:
    """How many certificates came; public from Python 3.13 on."""
    chain = getattr(tls, "get_unverified_chain", None) or getattr(tls._sslobj, "get_unverified_chain", None)
    return len(chain() or ()) if chain is not None else 0


def _name(name: x509.Name) -> str:
    return name.rfc4514_string() or "nobody"


def _names(leaf: x509.Certificate) -> str:
    try:
        held = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return "no name at all"
    return ", ".join(str(name.value) for name in [*held][:5])
