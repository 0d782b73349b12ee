"""SSH sessions between real devices that a rule has recorded."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from harness.backends.base import Capability
from harness.plugin import MakeTailnet
from harness.policies import ssh
from harness.recorder import SessionRecorder, header_of, offer, output_of, start_recorder
from harness.shells import command, device, host_of, is_refused, logs_in_as, set_ssh_policy, ssh_server

pytestmark = pytest.mark.needs(Capability.TUN)

# The client notices a recorder that is gone when there is something to record.
TALKS = "echo begun; for n in $(seq 60); do echo $n; sleep 1; done; echo ended"


async def recorded_ends(make_tailnet: MakeTailnet, recorder: SessionRecorder) -> tuple[Any, Any]:
    """A server whose sessions are recorded, and a device of alice's; the recorder has a node of its own."""
    tailnet = await make_tailnet()
    await tailnet.user("alice")
    recorded = ssh(
        "alice@",
        to="tag:server",
        users=["root", "ssh-user"],
        recorder=["tag:recorder"],
        enforceRecorder=True,
    )
    await set_ssh_policy(tailnet, recorded, tag_owners={"tag:recorder": []})
    server = await ssh_server(tailnet, "alice", "server", tags=["tag:server"])
    staff = await device(tailnet, "alice", "staff")
    keeper = await device(tailnet, "alice", "keeper", tags=["tag:recorder"])
    await offer(recorder, keeper)
    await tailnet.meshed([server, staff, keeper])
    return staff, server


@pytest_asyncio.fixture(loop_scope="session")
async def recorder() -> AsyncIterator[SessionRecorder]:
    async with start_recorder("0.0.0.0") as made:
        yield made


async def test_sessions_are_recorded_where_a_rule_says_so(
    make_tailnet: MakeTailnet, recorder: SessionRecorder
) -> None:
    """What the user saw is in it, and who they were."""
    staff, server = await recorded_ends(make_tailnet, recorder)
    await logs_in_as(staff, server, "ssh-user")
    (recording,) = recorder.recordings
    assert f"ssh-user at {await host_of(server)}" in output_of(recording)
    header = header_of(recording)
    assert header["localUser"] == "ssh-user"
    assert header["srcNode"].startswith("staff")


async def test_without_its_recorder_no_session_comes_about(
    make_tailnet: MakeTailnet, recorder: SessionRecorder
) -> None:
    """Where the rule enforces it; and it ends when the recorder breaks off."""
    staff, server = await recorded_ends(make_tailnet, recorder)
    recorder.refuses = True
    said = await is_refused(staff, server, "root")
    assert "must be recorded" in said
    recorder.refuses = False
    await staff.machine.spawn("long", command(server, "root", TALKS))
    log = staff.machine.data / "long.log"
    async with asyncio.timeout(20):
        while not log.exists() or "begun" not in log.read_text():  # noqa: ASYNC110
            await asyncio.sleep(0.1)
    recorder.break_off()
    assert await asyncio.wait_for(staff.machine.ended("long"), 30) != 0
    assert "ended" not in log.read_text()
