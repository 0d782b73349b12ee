"""One conversation with an ACME authority (RFC 8555), by certbot's `acme`. It blocks: run it in a thread."""

import logging
import os
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final, Protocol

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from headscale import __version__
from headscale.config.settings import ACMESettings, Challenge
from headscale.errors import Unavailable
from headscale.files import replace_file

ACCOUNT: Final = "acme_account+key"
"""The account's key, by the name under which Go's autocert keeps it."""
PATIENCE: Final = timedelta(minutes=2)

log = logging.getLogger(__name__)


class Shows(Protocol):
    """How the authority is shown that the name is ours."""

    def file(self, token: str, text: str) -> AbstractContextManager[None]:
        """Serve it over HTTP."""

    def certificate(self, text: str) -> AbstractContextManager[None]:
        """Serve it in a handshake."""


@dataclass(frozen=True, slots=True, repr=False)
class Issued:
    """A new key and its certificate with the chain, PEM."""

    key: bytes
    chain: bytes


def obtain(settings: ACMESettings, shows: Shows) -> Issued:
    """A certificate for the name. Raises Unavailable with what the authority said."""
    import requests
    from acme import errors
    from josepy.errors import Error as JoseError

    try:
        return _obtain(settings, shows)
    except errors.ValidationError as refused:
        raise Unavailable(
            f"{settings.directory} does not find {settings.hostname} here: {_reasons(refused)}"
        ) from refused
    except (errors.Error, JoseError, requests.RequestException, OSError, ValueError) as problem:
        raise Unavailable(f"no certificate from {settings.directory}: {problem}") from problem
    except (
        Exception
    ) as surprise:  # the server has a certificate, or can do without for an hour: it must not die of this
        log.exception("the conversation with the authority went wrong")
        raise Unavailable(f"no certificate from {settings.directory}: {surprise!r}") from surprise


def account_key(folder: Path) -> ec.EllipticCurvePrivateKey:
    """The key by which the authority knows us; made at first use. Raises Unavailable for a file that is none."""
    path = folder / ACCOUNT
    if path.exists():
        try:
            key = serialization.load_pem_private_key(path.read_bytes(), password=None)
        except (OSError, ValueError, TypeError) as problem:
            raise Unavailable(f"{path} is not an account key: {problem}") from problem
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise Unavailable(f"{path} is not an elliptic curve key; move it away to get a new account")
        return key
    made = ec.generate_private_key(ec.SECP256R1())
    replace_file(path, private_pem(made), mode=0o600)
    return made


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """As Go's autocert reads it."""
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def _obtain(settings: ACMESettings, shows: Shows) -> Issued:
    from acme import client, crypto_util, messages
    from josepy.jwa import ES256
    from josepy.jwk import JWKEC

    from headscale.acme import tlsalpn  # noqa: F401  (teaches the library that kind, before it reads any)

    jwk = JWKEC(key=account_key(settings.cache))
    net = client.ClientNetwork(
        jwk,
        alg=ES256,
        # As everywhere else in this server: a private authority's root is named by this variable.
        verify_ssl=os.environ.get("SSL_CERT_FILE") or True,  # type: ignore[arg-type]
        user_agent=f"headscale/{__version__}",
    )
    acme = client.ClientV2(client.ClientV2.get_directory(settings.directory, net), net)
    _register(acme, settings.email)
    key = ec.generate_private_key(ec.SECP256R1())
    order = acme.new_order(crypto_util.make_csr(private_pem(key), [settings.hostname]))
    deadline = datetime.now() + PATIENCE  # noqa: DTZ005  (the library compares with local time)
    for authorization in order.authorizations:
        if authorization.body.status == messages.STATUS_VALID:
            continue  # it remembers that the name is ours
        challenge = _chosen(authorization.body.challenges, settings.challenge)
        response, text = challenge.response_and_validation(jwk)
        shown = (
            shows.certificate(text)
            if settings.challenge is Challenge.TLS_ALPN
            else shows.file(challenge.chall.encode("token"), text)
        )
        with shown:
            acme.answer_challenge(challenge, response)
            acme.poll_authorizations(order, deadline)
    order = acme.poll_authorizations(order, deadline)
    chain = acme.finalize_order(order, deadline).fullchain_pem.encode()
    leaf = x509.load_pem_x509_certificate(chain)
    log.info("certificate issued name=%s ends=%s", settings.hostname, leaf.not_valid_after_utc)
    return Issued(private_pem(key), chain)


def _register(acme: Any, email: str) -> None:
    """The account of our key, made if there is none; the terms of service are the operator's to know."""
    from acme import errors, messages

    fields: dict[str, Any] = {"terms_of_service_agreed": True}
    wanted = (
        messages.NewRegistration.from_data(email=email, **fields)
        if email
        else messages.NewRegistration(**fields)
    )
    try:
        acme.new_account(wanted)
    except errors.ConflictError as known:
        acme.net.account = messages.RegistrationResource(uri=known.location, body=messages.Registration())


def _chosen(offered: Any, wanted: Challenge) -> Any:
    for challenge in offered:
        if challenge.chall.typ == wanted.value:
            return challenge
    kinds = ", ".join(sorted(str(challenge.chall.to_partial_json().get("type")) for challenge in offered))
    raise ValueError(f"it offers {kinds} and not {wanted.value}")


def _reasons(refused: Any) -> str:
    errors = [
        f"{challenge.error.detail}"
        for authorization in refused.failed_authzrs
        for challenge in authorization.body.challenges
        if challenge.error is not None
    ]
    return "; ".join(errors) or str(refused)
