"""The body of a map poll as clients read it: u32 little-endian length, then zstd or plain JSON, for each message."""

import sys
from collections.abc import Mapping
from typing import Any, Final

import msgspec

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

ZSTD: Final = "zstd"
_LENGTH_BYTES: Final = 4
# The strictest reader of ours (control/tsp) takes 4 MiB; more than 256 is surely a broken length.
MAX_MESSAGE_BYTES: Final = 256 * 1024 * 1024


class MapFrameBroken(Exception):
    """A length, a compression or a JSON text that a client cannot read."""


class MapFrameReader:
    """Collects bytes into messages. `compress` is what the request asked for: "zstd" or nothing."""

    def __init__(self, *, compress: str) -> None:
        self._compress = compress
        self._buffer = bytearray()
        self.wire_bytes = 0

    @property
    def partial(self) -> bool:
        """Whether the bytes so far end inside a message."""
        return bool(self._buffer)

    def receive(self, data: bytes) -> list[dict[str, Any]]:
        """The messages that `data` completes; raises MapFrameBroken."""
        self._buffer += data
        self.wire_bytes += len(data)
        messages = []
        while len(self._buffer) >= _LENGTH_BYTES:
            length = int.from_bytes(self._buffer[:_LENGTH_BYTES], "little")
            if not 0 < length <= MAX_MESSAGE_BYTES:
                raise MapFrameBroken(f"a message of {length} bytes")
            end = _LENGTH_BYTES + length
            if len(self._buffer) < end:
                break
            messages.append(self._decode(bytes(self._buffer[_LENGTH_BYTES:end])))
            del self._buffer[:end]
        return messages

    def _decode(self, payload: bytes) -> dict[str, Any]:
        try:
            text = decompress(payload) if self._compress == ZSTD else payload
            return msgspec.json.decode(text, type=dict[str, Any])
        except (zstd.ZstdError, EOFError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise MapFrameBroken(f"a message that does not decode: {error}") from error


def decompress(payload: bytes) -> bytes:
    """One text from one or more zstd frames that follow one another."""
    return zstd.decompress(payload)


def map_frame(message: Mapping[str, Any], *, compress: str) -> bytes:
    """One message as it stands in the body."""
    text = msgspec.json.encode(message)
    payload = zstd.compress(text) if compress == ZSTD else text
    return len(payload).to_bytes(_LENGTH_BYTES, "little") + payload
