"""What the authority looks at: a file over HTTP, or a certificate in a TLS handshake of its own protocol.

HTTP-01 is RFC 8555, section 8.3; TLS-ALPN-01 is RFC 8737. Conversations run in threads, listeners in the loop: what
they share is replaced in one step.
"""

import hashlib
import ssl
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

ALPN: Final = "acme-tls/1"
ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_HANDSHAKE: Final = 22
_CLIENT_HELLO: Final = 1
_WITH_LENGTH: Final = bytes([len(ALPN)]) + ALPN.encode()


class Answers:
    """What is asked for at the moment, and nothing else."""

    def __init__(self) -> None:
        self._files: dict[str, str] = {}

    def file(self, token: str) -> str | None:
        """The text below `/.well-known/acme-challenge/`."""
        return self._files.get(token)

    @contextmanager
    def serving_file(self, token: str, text: str) -> Iterator[None]:
        """As long as the authority may look."""
        self._files = {**self._files, token: text}
        try:
            yield
        finally:
            self._files = {name: each for name, each in self._files.items() if name != token}

    @contextmanager
    def serving_certificate(self, context: ssl.SSLContext, hostname: str, text: str) -> Iterator[None]:
        """Who asks this listener for the authority's protocol gets the proof; everybody else what they always get."""
        proof = _proof_context(hostname, text)
        asked: set[int] = set()

        def on_message(
            connection: Any, direction: str, version: Any, kind: Any, message: Any, data: bytes
        ) -> None:
            # The one place in which Python shows what a client offers before it is answered.
            if (
                direction == "read"
                and kind == _HANDSHAKE
                and message == _CLIENT_HELLO
                and _WITH_LENGTH in data
            ):
                asked.add(id(connection))

        def on_name(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if id(connection) in asked:
                asked.discard(id(connection))
                connection.context = proof

        context._msg_callback = on_message  # type: ignore[attr-defined]
        context.sni_callback = on_name
        try:
            yield
        finally:
            context.sni_callback = None
            context._msg_callback = None  # type: ignore[attr-defined]


def proof_certificate(hostname: str, text: str, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    """Self-signed, for this name alone, with the digest of the authorization in a critical extension."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    now = datetime.now(UTC)
    digest = hashlib.sha256(text.encode()).digest()
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=7))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(
            x509.UnrecognizedExtension(ACME_IDENTIFIER, bytes([4, len(digest)]) + digest), critical=True
        )
        .sign(key, hashes.SHA256())
    )


def _proof_context(hostname: str, text: str) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ) + proof_certificate(hostname, text, key).public_bytes(serialization.Encoding.PEM)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols([ALPN])
    with tempfile.NamedTemporaryFile(prefix="hs-acme-") as file:  # ssl reads files only; this one is 0600
        file.write(pem)
        file.flush()
        context.load_cert_chain(Path(file.name))
    return context
