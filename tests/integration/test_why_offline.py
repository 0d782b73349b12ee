"""Why a node is offline, and `headscale top`: asked of a running server."""

import asyncio
import os
import pty
import signal
from functools import partial
from typing import Any

import pytest

from harness.servers.base import AdminRefused
from harness.servers.inprocess import InProcessServer
from tests.integration.commands import COMMAND, Headscale, environment, run
from tests.integration.fakes import PATIENCE_S, Join, Tailnet


@pytest.fixture
def variables(server: InProcessServer) -> dict[str, str]:
    """For a terminal from which the server can be reached."""
    return {**server.settings.variables, "TERM": "xterm"}


@pytest.fixture
def headscale(variables: dict[str, str]) -> Headscale:
    """The command, in that terminal."""
    return partial(run, given=variables)


async def why(server: InProcessServer, node_id: int) -> Any:
    return await server.call("GET", f"node/{node_id}/why-offline")


async def gone(tailnet: Tailnet, node_id: int) -> Any:
    """The answer once the node is offline."""
    await tailnet.until(lambda: not tailnet.node(node_id).online)  # type: ignore[union-attr]
    return await why(tailnet.server, node_id)


async def test_a_client_that_hangs_up_and_one_that_is_cut_off_are_told_apart(
    tailnet: Tailnet, join: Join
) -> None:
    polite, lost = await join("polite"), await join("lost")
    stream = await polite.stream()
    await lost.stream()
    assert (await why(tailnet.server, lost.id))["summary"].startswith("lost is online: connected since ")
    stream.close()
    lost.client.session.cut()
    found = {name: await gone(tailnet, each.id) for name, each in (("polite", polite), ("lost", lost))}
    assert {name: each["causes"][0]["code"] for name, each in found.items()} == {
        "polite": "cancelled",
        "lost": "lost",
    }
    assert {each["remote"] for each in found.values()} == {"127.0.0.1"}
    assert found["lost"]["capabilityVersion"] == 142


async def test_one_that_never_polled_and_one_whose_key_ended_are_told_so(
    tailnet: Tailnet, join: Join
) -> None:
    one, two = await join("one"), await join("two")
    assert [each["code"] for each in (await why(tailnet.server, one.id))["causes"]] == ["never-connected"]
    await two.stream()
    await tailnet.server.expire_node(str(two.id))
    codes = [each["code"] for each in (await why(tailnet.server, two.id))["causes"]]
    assert codes[0] == "expired"


async def test_after_a_restart_the_server_says_that_it_remembers_nothing(
    tailnet: Tailnet, join: Join
) -> None:
    one = await join("one")
    await one.stream()
    await tailnet.server.stop()
    await tailnet.server.start()
    found = await why(tailnet.server, one.id)
    assert found["causes"][0]["code"] == "server-restarted"
    assert found["connected"] is None
    assert found["lastSeen"] is not None


async def test_a_node_that_is_not_there_is_a_404(server: InProcessServer) -> None:
    with pytest.raises(AdminRefused, match="404"):
        await why(server, 9)


async def test_the_command_says_it_in_words_and_for_scripts(
    tailnet: Tailnet, join: Join, headscale: Headscale
) -> None:
    one, two = await join("one"), await join("two")
    await two.stream()
    ran = await headscale("nodes", "why-offline", str(one.id))
    assert (ran.code, ran.err) == (1, "")
    assert ran.out.startswith("one is offline: it joined with a pre-auth key ")
    assert "→ See whether tailscaled runs on the device" in ran.out
    ran = await headscale("nodes", "why-offline", "-i", str(two.id), "-o", "json")
    assert ran.code == 0
    assert '"online": true' in ran.out
    ran = await headscale("nodes", "why-offline", "99")
    assert (ran.code, ran.out) == (2, "")
    assert "99" in ran.err


async def test_top_prints_one_screen(tailnet: Tailnet, join: Join, headscale: Headscale) -> None:
    one = await join("one")
    await one.stream()
    ran = await headscale("top", "--once")
    assert (ran.code, ran.err) == (0, "")
    assert "1 online of 1" in ran.out
    assert "\x1b[?1049h" not in ran.out


async def test_top_works_from_elsewhere_with_a_key(server: InProcessServer, headscale: Headscale) -> None:
    key = (await server.call("POST", "apikey", {}))["apiKey"]
    ran = await headscale(
        *("top", "-o", "json", "-n", "0"), HEADSCALE_CLI_ADDRESS=server.url, HEADSCALE_CLI_API_KEY=key
    )
    assert ran.code == 0
    assert '"controlSessions": 0' in ran.out
    wrong = await headscale("top", "--once", HEADSCALE_CLI_ADDRESS=server.url, HEADSCALE_CLI_API_KEY="no")
    assert wrong.code == 1


async def test_what_is_no_number_of_nodes_is_refused(server: InProcessServer) -> None:
    for wrong in ("x", "-1", "1001", "99999"):
        with pytest.raises(AdminRefused, match="nodes: expected a number from 0 to 1000"):
            await server.call("GET", f"debug/overview?nodes={wrong}")


async def test_top_follows_and_ends_cleanly(tailnet: Tailnet, join: Join, variables: dict[str, str]) -> None:
    """In a terminal of its own: it shows who comes in, and Ctrl-C leaves the terminal as it was."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        # What a shell runs in the background ignores SIGINT, and so would this.
        *("env", "--default-signal=INT", *COMMAND, "top", "--interval", "0.2"),
        stdin=theirs,
        stdout=theirs,
        stderr=asyncio.subprocess.PIPE,
        env=environment(variables),
    )
    os.close(theirs)
    seen = bytearray()
    loop = asyncio.get_running_loop()
    loop.add_reader(ours, lambda: seen.extend(_read(ours, loop)))
    try:
        async with asyncio.timeout(PATIENCE_S):
            while b"0 online of 0" not in seen:  # noqa: ASYNC110  (a terminal tells nobody)
                await asyncio.sleep(0.02)
            one = await join("newcomer")
            await one.stream()
            while b"newcomer" not in seen or b"1 online of 1" not in seen:  # noqa: ASYNC110
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, err = await process.communicate()
    finally:
        loop.remove_reader(ours)
        if process.returncode is None:
            process.kill()
        os.close(ours)
    assert process.returncode == 0
    assert err == b"stopped watching\n"
    assert seen.rindex(b"\x1b[?1049l") > seen.rindex(b"\x1b[?1049h")


def _read(descriptor: int, loop: asyncio.AbstractEventLoop) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other end is closed
        loop.remove_reader(descriptor)
        return b""
