"""Secrets that must be used again and so cannot be hashed: kept sealed with a key that follows from the server's own.

Whoever has the database alone has none of them. Another server key cannot open them.
"""

import hashlib
from typing import Final

from nacl.exceptions import CryptoError
from nacl.secret import SecretBox

from headscale.errors import Unavailable
from headscale.keys import PrivateKey

_PERSON: Final = b"headscale-seal"


class Sealer:
    """Seals and opens (XSalsa20-Poly1305, a random nonce each)."""

    def __init__(self, server_key: PrivateKey) -> None:
        key = hashlib.blake2b(server_key.raw, digest_size=SecretBox.KEY_SIZE, person=_PERSON).digest()
        self._box = SecretBox(key)

    def seal(self, secret: str) -> bytes:
        """What may be kept."""
        return bytes(self._box.encrypt(secret.encode()))

    def open(self, sealed: bytes) -> str:
        """The secret; raises Unavailable for one that another server key sealed."""
        try:
            return self._box.decrypt(sealed).decode()
        except CryptoError:
            raise Unavailable("it was sealed with another server key (noise.private_key_path)") from None
