"""The server's own certificate: make one, keep it in two files, pin it, serve with it.

A self-signed certificate is enough for the embedded relay, because clients from 1.82 on accept exactly the
certificate whose hash the DERP map names. What each client version checks: docs/derp.md.
"""

import hashlib
import ssl
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from headscale.errors import Malformed, Unavailable
from headscale.files import replace_file
from headscale.tailcfg.derpmap import PIN_PREFIX

# Nobody renews a certificate that is pinned, so it outlives the machine; clients check the dates all the same.
VALID_FOR: Final = timedelta(days=3650)
# A client whose clock is behind must not find it "not yet valid".
BACKDATED_BY: Final = timedelta(days=2)
# Replaced this long before its end, so that a server restarted once a month never serves an expired one.
RENEW_BEFORE: Final = timedelta(days=30)
MAX_COMMON_NAME: Final = 64  # X.520 ub-common-name


@dataclass(frozen=True, slots=True, repr=False)
class ServerCertificate:
    """A certificate and its private key."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    def __repr__(self) -> str:
        return f"ServerCertificate({pin(self.certificate)})"


def create_certificate(names: Sequence[str], *, now: datetime) -> ServerCertificate:
    """A self-signed certificate for these host names and IP addresses (ECDSA P-256, a key that is new).

    Addresses become IP names: clients 1.82 check an address against them (net/tlsdial 1.82.5). Raises
    Malformed for no name at all or one that cannot stand in a certificate.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    if not names:
        raise Malformed("a certificate needs at least one name")
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:MAX_COMMON_NAME])])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - BACKDATED_BY)
        .not_valid_after(now + VALID_FOR)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )
    return ServerCertificate(builder.sign(key, hashes.SHA256()), key)


def save_certificate(server: ServerCertificate, *, certificate_path: Path, key_path: Path) -> None:
    """Write both as PEM, each replaced in one step; the key's file is 0600 from its first byte on."""
    key = server.key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    replace_file(key_path, key, mode=0o600)
    replace_file(certificate_path, server.certificate.public_bytes(serialization.Encoding.PEM), mode=0o644)


def load_certificate(*, certificate_path: Path, key_path: Path) -> ServerCertificate:
    """Read both files; raises Unavailable when one is missing, is not PEM, or they do not belong together."""
    try:
        certificate = x509.load_pem_x509_certificate(certificate_path.read_bytes())
        key = serialization.load_pem_private_key(key_path.read_bytes(), password=None)
    except (OSError, ValueError, TypeError) as error:
        raise Unavailable(f"cannot load {certificate_path} and {key_path}: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != certificate.public_key():
        raise Unavailable(f"{key_path} is not the ECDSA key of the certificate in {certificate_path}")
    return ServerCertificate(certificate, key)


def load_or_create(
    names: Sequence[str], *, certificate_path: Path, key_path: Path, now: datetime
) -> ServerCertificate:
    """The certificate in these files, which are ours: made when missing, made anew when it no longer serves.

    It no longer serves when a name is missing in it or its end is near. Raises Unavailable for files that are
    there but cannot be used, so that nothing of the operator's is overwritten.
    """
    if certificate_path.exists() or key_path.exists():
        server = load_certificate(certificate_path=certificate_path, key_path=key_path)
        if serves(server.certificate, names, now=now):
            return server
    server = create_certificate(names, now=now)
    save_certificate(server, certificate_path=certificate_path, key_path=key_path)
    return server


def serves(certificate: x509.Certificate, names: Sequence[str], *, now: datetime) -> bool:
    """Whether the certificate is for all of these names and will be valid for a while."""
    try:
        held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return False
    in_time = certificate.not_valid_before_utc <= now < certificate.not_valid_after_utc - RENEW_BEFORE
    return in_time and {_general_name(name) for name in names} <= set(held)


def pin(certificate: x509.Certificate) -> str:
    """The `CertName` by which clients from 1.82 on know this very certificate: the SHA-256 of its DER."""
    der = certificate.public_bytes(serialization.Encoding.DER)
    return PIN_PREFIX + hashlib.sha256(der).hexdigest()


def server_context(*, certificate_path: Path, key_path: Path) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1 only: a client must not negotiate HTTP/2, where nothing can be taken over.

    Serves whatever chain is in the file; raises Unavailable when it cannot be loaded.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    try:
        context.load_cert_chain(certificate_path, key_path)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise Unavailable(f"cannot serve TLS with {certificate_path} and {key_path}: {error}") from error
    return context


def _general_name(name: str) -> x509.GeneralName:
    with suppress(ValueError):
        return x509.IPAddress(ip_address(name))
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise Malformed(f"{name!r} is neither an IP address nor an ASCII host name") from error
