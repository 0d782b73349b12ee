"""The `headscale` command and servers that answer late, in pieces, in half, early, or in another language."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from headscale.cli import reach
from headscale.cli.reach import server_of
from tests.integration.commands import Ran, run
from tests.unit.cli.test_reach import elsewhere

HEALTH = b'{"databaseConnectivity": true}'
OK = b"HTTP/1.1 200 OK\r\n"
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def at_port(serve: Serve) -> AsyncIterator[int]:
    """Somebody who answers connections of one port so."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(once, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ran(port: int, *words: str, folder: Path, scheme: str = "http", patience: str = "3s") -> Ran:
    """The command to its end, with that server."""
    given = {"ADDRESS": f"{scheme}://127.0.0.1:{port}", "API_KEY": "k", "TIMEOUT": patience}
    variables = {f"HEADSCALE_CLI_{name}": value for name, value in given.items()}
    return await run(
        *(words or ("users", "list")),
        given={"HEADSCALE_DATA_DIR": str(folder), **variables},
        folder=folder,
    )


async def asked(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


@pytest.mark.parametrize(
    "pieces",
    [
        [OK + b"Content-Length: %d\r\n\r\n" % len(HEALTH), HEALTH[:7], HEALTH[7:]],
        [OK + b"Transfer-Encoding: chunked\r\n\r\n", b"%x\r\n%s\r\n" % (len(HEALTH), HEALTH), b"0\r\n\r\n"],
        [OK + b"Connection: close\r\n\r\n", HEALTH],
    ],
    ids=["in pieces", "chunked", "to the end"],
)
async def test_an_answer_is_read_however_it_is_framed(pieces: list[bytes], tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await asked(reader)
        assert b"Authorization: Bearer k\r\n" in head
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.05)
        if b"close" in pieces[0]:
            writer.close()
        await reader.read()

    async with at_port(serve) as port:
        done = await ran(port, "health", "-o", "json-line", folder=tmp_path)
    assert (done.code, done.err) == (0, "")
    assert done.document == {"databaseConnectivity": True, "status": "pass"}


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (OK + b"Content-Length: 900\r\n\r\n{", "did not answer as it should"),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", "did not answer as it should"),
        (b"", "did not answer as it should"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "did not answer as it should"),
        (OK + b"Content-Length: 6\r\n\r\n<html>", "answered 200, and not as a headscale does"),
    ],
    ids=["cut", "cut in a chunk", "nothing", "not HTTP", "a page"],
)
async def test_what_is_no_answer_is_said(answer: bytes, words: str, tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(answer)
        await writer.drain()

    async with at_port(serve) as port:
        done = await ran(port, folder=tmp_path)
    assert (done.code, done.out) == (1, "")
    assert words in done.err
    assert "Traceback" not in done.err


async def test_the_time_is_for_the_whole_answer(tmp_path: Path) -> None:
    """A byte now and then does not prolong it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        writer.write(OK + b"Content-Length: 1000\r\n\r\n")
        for _ in range(1000):
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.2)

    async with at_port(serve) as port:
        began = asyncio.get_running_loop().time()
        done = await ran(port, folder=tmp_path, patience="2s")
    assert (done.code, done.err) == (1, "Error: the server did not answer within 2 s\n")
    assert asyncio.get_running_loop().time() - began < 30


async def test_who_refuses_before_all_is_read_is_heard(tmp_path: Path) -> None:
    """A policy that is too long, and a server that hangs up on it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked(reader)
        said = b'{"detail": "at most 1 MiB"}'
        writer.write(b"HTTP/1.1 413 Too Large\r\nContent-Length: %d\r\n\r\n%s" % (len(said), said))
        writer.write_eof()
        await writer.drain()
        await asyncio.sleep(1)  # the answer is there before the connection is reset

    (tmp_path / "policy.json").write_text('{"hosts": {"a": "' + "x" * 8_000_000 + '"}}')
    async with at_port(serve) as port:
        done = await ran(port, "policy", "set", "-f", "policy.json", folder=tmp_path)
    assert (done.code, "at most 1 MiB" in done.err) == (1, True), done.err


async def test_a_server_without_tls_is_told_from_one_that_is_away(tmp_path: Path) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with at_port(serve) as port:
        told = await ran(port, folder=tmp_path, scheme="https")
    assert told.code == 1
    assert "does not speak TLS: if it has none, say so with http://" in told.err
    away = await ran(port, folder=tmp_path, patience="1s")
    assert away.code == 1
    assert f"no server answers at http://127.0.0.1:{port} (cli.address)" in away.err


def test_an_address_that_is_dead_does_not_take_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of two drops what it is sent; the second answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server, closing(socket.socket()) as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)  # never accepts: what comes after the first stays without an answer
        with closing(socket.create_connection(full.getsockname())):
            there = [full.getsockname(), server.getsockname()]
            found = [(socket.AF_INET, socket.SOCK_STREAM, 0, "", address) for address in there]
            monkeypatch.setattr(reach, "_addresses", lambda *_: found)
            with closing(server_of(elsewhere("http://h.example.com")).connect(2.0)) as connection:
                assert connection.sock.getpeername() == server.getsockname()
                assert 0.5 < connection.sock.gettimeout() < 1.5
