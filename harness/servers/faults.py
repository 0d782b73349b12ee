"""What goes wrong with a control server that runs as a process. Each is a context that undoes itself on the way out."""

import contextlib
import ctypes
import glob
import os
import secrets
import shutil
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from harness.errors import HarnessError, Missing
from harness.servers.process import ProcessServer

FAKETIME = "/usr/lib/*-linux-gnu/faketime/libfaketimeMT.so.1"
_CHUNK = 64 * 1024


@contextlib.asynccontextmanager
async def stopped(server: ProcessServer) -> AsyncIterator[None]:
    """Ended in good order, and started again with what it has."""
    await server.stop()
    try:
        yield
    finally:
        await server.start()


@contextlib.asynccontextmanager
async def killed(server: ProcessServer) -> AsyncIterator[None]:
    """SIGKILL, and started again with what happens to be on the disk."""
    await server.kill()
    try:
        yield
    finally:
        await server.start()


@contextlib.asynccontextmanager
async def frozen(server: ProcessServer) -> AsyncIterator[None]:
    """SIGSTOP: its connections stay open and it says nothing."""
    server.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.signal(signal.SIGCONT)


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A file system of a few megabytes."""

    folder: Path

    @contextlib.contextmanager
    def full(self) -> Iterator[None]:
        """Not a byte is left."""
        filler = self.folder / f"filler-{secrets.token_hex(4)}"
        try:
            with filler.open("wb", buffering=0) as file:
                size = _CHUNK
                while size:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        size //= 2
            yield
        finally:
            filler.unlink(missing_ok=True)


@contextlib.contextmanager
def small_disk(*, megabytes: int) -> Iterator[SmallDisk]:
    """One that is gone afterwards. Raises Missing where this process may not mount."""
    folder = Path(tempfile.mkdtemp(prefix="hs-disk-"))
    libc = ctypes.CDLL(None, use_errno=True)
    try:
        options = f"size={megabytes}m,mode=700".encode()
        if libc.mount(b"harness", os.fsencode(folder), b"tmpfs", 0, options) != 0:
            reason = os.strerror(ctypes.get_errno())
            raise Missing(f"a small file system cannot be mounted ({reason}): that needs root")
        try:
            yield SmallDisk(folder)
        finally:
            libc.umount2(os.fsencode(folder), 2)  # MNT_DETACH: a server that still runs may have files open
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class WallClock:
    """What the server takes for the wall time."""

    file: Path

    def off_by(self, difference: timedelta) -> None:
        """From now on it differs so much from the machine's."""
        other = self.file.with_suffix(".new")
        other.write_text(f"{difference.total_seconds():+.0f}s\n")
        other.rename(self.file)


@contextlib.asynccontextmanager
async def own_clock(server: ProcessServer) -> AsyncIterator[WallClock]:
    """Start the server anew with a wall clock that can be set, and at the end with the machine's.

    Its monotonic clock goes on as it is, as on a machine whose time is corrected. Raises Missing without libfaketime.
    """
    libraries = sorted(glob.glob(FAKETIME))
    if not libraries:
        raise Missing("libfaketime is not installed: apt-get install faketime")
    with tempfile.TemporaryDirectory(prefix="hs-clock-") as folder:
        clock = WallClock(Path(folder) / "offset")
        clock.off_by(timedelta(0))
        faked = {
            "LD_PRELOAD": libraries[0],
            "FAKETIME_TIMESTAMP_FILE": str(clock.file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        await server.stop()
        server.environment |= faked
        await server.start()
        try:
            yield clock
        finally:
            await server.stop()
            for name in faked:
                del server.environment[name]
            await server.start()


@contextlib.asynccontextmanager
async def another_certificate(server: ProcessServer) -> AsyncIterator[None]:
    """It comes back with a certificate of an authority that nobody trusts, and then with its own."""
    import trustme

    paths = server.settings.certificate, server.settings.certificate_key
    own = [path.read_bytes() for path in paths]
    if server.authority is None:
        raise HarnessError("a server without TLS has no certificate to change")
    stranger = trustme.CA()
    issued = stranger.issue_cert(server.settings.host)
    others = b"".join(part.bytes() for part in issued.cert_chain_pems), issued.private_key_pem.bytes()

    async def come_back_with(contents: tuple[bytes, bytes] | list[bytes], authority: bytes | None) -> None:
        await server.stop()
        for path, content in zip(paths, contents, strict=True):
            path.write_bytes(content)
        server.authority = authority
        await server.start()

    trusted = server.authority
    await come_back_with(others, stranger.cert_pem.bytes())
    try:
        yield
    finally:
        await come_back_with(own, trusted)
