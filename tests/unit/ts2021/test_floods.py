"""The flood guard counts frames exactly, wherever the bytes are cut."""

import pytest

from headscale.ts2021.floods import (
    BYTES_A_WINDOW_UPDATE,
    MAX_CONTROL_FRAMES,
    MAX_REQUESTS,
    MAX_SENT_BYTES,
    PERIOD_SECONDS,
    PREFACE_BYTES,
    TINY_DATA_BYTES,
    Flooded,
    FloodGuard,
)

pytestmark = pytest.mark.bar("H6")

DATA, HEADERS, PRIORITY, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION = 0, 1, 2, 4, 6, 8, 9


def frame(kind: int, length: int = 0, *, flags: int = 0) -> bytes:
    return length.to_bytes(3, "big") + bytes([kind, flags, 0, 0, 0, 1]) + bytes(length)


@pytest.fixture
def guard() -> FloodGuard:
    made = FloodGuard(now=0.0)
    made.receive(bytes(PREFACE_BYTES), now=0.0)
    return made


@pytest.mark.parametrize("kind", [PRIORITY, SETTINGS, PING, WINDOW_UPDATE, CONTINUATION, 0xFA])
def test_control_frames_have_a_limit(guard: FloodGuard, kind: int) -> None:
    """Exactly the limit passes, of each kind."""
    guard.receive(frame(kind, 4) * MAX_CONTROL_FRAMES, now=0.0)
    with pytest.raises(Flooded):
        guard.receive(frame(kind, 4), now=0.0)


def test_the_limit_is_per_period(guard: FloodGuard) -> None:
    """After ten seconds the count starts anew, and not a moment before."""
    guard.receive(frame(PING, 8) * MAX_CONTROL_FRAMES, now=0.0)
    guard.receive(frame(PING, 8) * MAX_CONTROL_FRAMES, now=PERIOD_SECONDS)
    with pytest.raises(Flooded):
        guard.receive(frame(PING, 8), now=2 * PERIOD_SECONDS - 0.1)


def test_requests_have_a_limit(guard: FloodGuard) -> None:
    """Exactly the limit passes."""
    guard.receive(frame(HEADERS, 20) * MAX_REQUESTS, now=0.0)
    with pytest.raises(Flooded, match="requests"):
        guard.receive(frame(HEADERS, 20), now=0.0)


def test_data_of_some_size_is_free(guard: FloodGuard) -> None:
    """A body may come in as many frames as it likes, if they carry something."""
    guard.receive(frame(DATA, TINY_DATA_BYTES) * (2 * MAX_CONTROL_FRAMES), now=0.0)


def test_tiny_data_is_a_control_frame(guard: FloodGuard) -> None:
    """A byte less is not, unless it ends the stream."""
    guard.receive(frame(DATA, TINY_DATA_BYTES - 1, flags=1) * (2 * MAX_CONTROL_FRAMES), now=0.0)
    with pytest.raises(Flooded):
        guard.receive(frame(DATA, TINY_DATA_BYTES - 1) * (MAX_CONTROL_FRAMES + 1), now=0.0)


def test_window_updates_are_free_for_what_we_sent(guard: FloodGuard) -> None:
    """Each KiB of ours explains one; after that they count."""
    guard.sent(500 * BYTES_A_WINDOW_UPDATE)
    guard.receive(frame(WINDOW_UPDATE, 4) * (500 + MAX_CONTROL_FRAMES), now=0.0)
    with pytest.raises(Flooded):
        guard.receive(frame(WINDOW_UPDATE, 4), now=0.0)


def test_old_data_explains_only_so_much(guard: FloodGuard) -> None:
    """What we sent in a long life does not add up without end."""
    guard.sent(100 * MAX_SENT_BYTES)
    free = MAX_SENT_BYTES // BYTES_A_WINDOW_UPDATE
    guard.receive(frame(WINDOW_UPDATE, 4) * (free + MAX_CONTROL_FRAMES), now=0.0)
    with pytest.raises(Flooded):
        guard.receive(frame(WINDOW_UPDATE, 4), now=0.0)


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 10, 17, 18, 4077])
def test_frames_are_counted_however_they_are_cut(size: int) -> None:
    """The preface, headers and payloads may be cut at any byte."""
    guard = FloodGuard(now=0.0)
    data = bytes(PREFACE_BYTES) + frame(PING, 8) * MAX_CONTROL_FRAMES
    for start in range(0, len(data), size):
        guard.receive(data[start : start + size], now=0.0)
    with pytest.raises(Flooded):
        guard.receive(frame(PING, 8), now=0.0)
