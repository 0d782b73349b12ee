"""Transport records: seal what we send, open what arrives, in order and never twice.

The nonce is four zero bytes and a 64-bit counter in *big* endian; the Noise specification says little endian,
so stock Noise libraries agree on record 0 only. There is no associated data.
Source: tailscale.com v1.102.4, control/controlbase/conn.go.
"""

from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from headscale.errors import Malformed
from headscale.ts2021.messages import (
    HEADER_BYTES,
    MAX_CIPHERTEXT_BYTES,
    MAX_PLAINTEXT_BYTES,
    TAG_BYTES,
    TYPE_RECORD,
    decode_header,
    encode_record_header,
)

# The specification reserves the last counter value; the Go end refuses it too.
MAX_COUNTER: Final = 2**64 - 1
NONCE_BYTES: Final = 12


class RecordBroken(Malformed):
    """A record that does not open; nothing after it can be trusted."""


class NonceSpent(Malformed):
    """The counter of this direction is used up."""


class RecordSealer:
    """Cuts bytes into records of at most 4,096 bytes and seals them with a rising counter."""

    __slots__ = ("_cipher", "_counter")

    def __init__(self, key: bytes, *, counter: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._counter = counter

    def seal(self, data: bytes) -> bytes:
        """All of `data` in as few records as possible; nothing for no data. Raises NonceSpent."""
        if len(data) <= MAX_PLAINTEXT_BYTES:
            return self.seal_record(data) if data else b""
        view = memoryview(data)
        cuts = range(0, len(view), MAX_PLAINTEXT_BYTES)
        return b"".join([self.seal_record(view[cut : cut + MAX_PLAINTEXT_BYTES]) for cut in cuts])

    def seal_record(self, plaintext: bytes | memoryview) -> bytes:
        """One record of at most 4,077 plaintext bytes: type 4, length (2), ciphertext, tag (16)."""
        if len(plaintext) > MAX_PLAINTEXT_BYTES:
            raise ValueError(f"a record carries {MAX_PLAINTEXT_BYTES} bytes, got {len(plaintext)}")
        counter = self._counter
        sealed = self._cipher.encrypt(_nonce(counter), plaintext, None)
        self._counter = counter + 1
        return encode_record_header(len(sealed)) + sealed


class RecordOpener:
    """Collects bytes into records and opens them; the first failure is the last word."""

    __slots__ = ("_buffer", "_cipher", "_counter", "_failure")

    def __init__(self, key: bytes, *, counter: int = 0) -> None:
        self._cipher = ChaCha20Poly1305(key)
        self._counter = counter
        self._buffer = bytearray()
        self._failure: str | None = None

    def receive(self, data: bytes) -> list[bytes]:
        """The plaintexts of the records completed by `data`, in order; raises RecordBroken.

        A record of no plaintext is legal and shows as an empty text. After a failure every call raises:
        plaintexts in front of the broken record are withheld with it.
        """
        if self._failure is not None:
            raise RecordBroken(self._failure)
        self._buffer += data
        opened = []
        try:
            while (record := self._next_record()) is not None:
                opened.append(self._open(record))
        except (RecordBroken, NonceSpent) as error:
            self._failure = str(error)
            self._buffer.clear()
            raise
        return opened

    def _next_record(self) -> bytes | None:
        if len(self._buffer) < HEADER_BYTES:
            return None
        kind, length = decode_header(self._buffer)
        if kind != TYPE_RECORD:
            raise RecordBroken(f"expected message type {TYPE_RECORD}, got {kind}")
        if not TAG_BYTES <= length <= MAX_CIPHERTEXT_BYTES:
            raise RecordBroken(
                f"a record has {TAG_BYTES} to {MAX_CIPHERTEXT_BYTES} bytes, announced {length}"
            )
        end = HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        record = bytes(self._buffer[HEADER_BYTES:end])
        del self._buffer[:end]
        return record

    def _open(self, record: bytes) -> bytes:
        try:
            plaintext = self._cipher.decrypt(_nonce(self._counter), record, None)
        except InvalidTag as error:
            raise RecordBroken(f"record {self._counter} does not open") from error
        self._counter += 1
        return plaintext


def _nonce(counter: int) -> bytes:
    if counter >= MAX_COUNTER:
        raise NonceSpent("the record counter is used up")
    return counter.to_bytes(NONCE_BYTES, "big")
