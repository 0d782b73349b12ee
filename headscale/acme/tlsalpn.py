"""TLS-ALPN-01 (RFC 8737) for the `acme` library, which dropped it in 5.0: its message has nothing but a token."""

from acme import challenges
from josepy.jwk import JWK


@challenges.ChallengeResponse.register
class TLSALPN01Response(challenges.KeyAuthorizationChallengeResponse):
    """That the proof is served."""

    typ = "tls-alpn-01"


@challenges.Challenge.register
class TLSALPN01(challenges.KeyAuthorizationChallenge):
    """The proof is the digest of the key authorization."""

    response_cls = TLSALPN01Response
    typ = response_cls.typ

    def validation(self, account_key: JWK, **_: object) -> str:
        """The key authorization, whose digest is shown."""
        return self.key_authorization(account_key)
