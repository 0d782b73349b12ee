"""`harness up`: a tailnet that stays until it is interrupted, and what it prints is how to talk to it."""

import json
import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(600)  # the first run builds a client

NO_ROOM = "/nonexistent"


def test_what_is_printed_works_until_it_is_interrupted() -> None:
    """The client's own command and the server's answer; Ctrl-C leaves nothing behind."""
    argv = [sys.executable, "-m", "harness.cli.main", "up", "--hold=1", "--backend=process", "--json"]
    with subprocess.Popen(
        argv, stdout=subprocess.PIPE, text=True, env=os.environ | {"HARNESS_TIME_SCALE": "4"}
    ) as up:
        assert up.stdout is not None
        lines = []
        while (line := up.stdout.readline()) and line != "}\n":
            lines.append(line)
        told = json.loads("".join([*lines, "}"]))
        (client,) = told["clients"]
        shown = subprocess.run(
            [*shlex.split(client["command"]), "--json"], capture_output=True, text=True, check=True
        )
        assert json.loads(shown.stdout)["Self"]["TailscaleIPs"] == client["addresses"]
        listed = subprocess.run(
            [sys.executable, "-m", "headscale.cli.main", "nodes", "list", "-o", "json"],
            capture_output=True,
            text=True,
            check=True,
            env=os.environ | {"HEADSCALE_UNIX_SOCKET": told["server"]["socket"]},
        )
        assert [node["givenName"] for node in json.loads(listed.stdout)] == [client["name"]]
        up.send_signal(signal.SIGINT)
        assert up.wait(60) == 0
    assert not Path(client["data"]).exists()
    assert not Path(told["server"]["socket"]).parent.exists()


def test_a_backend_that_cannot_work_here_is_an_error() -> None:
    """In words, with an exit code, before anything is started."""
    argv = [sys.executable, "-m", "harness.cli.main", "up", "--backend=container"]
    env = os.environ | {"DOCKER_HOST": f"unix://{NO_ROOM}"}
    done = subprocess.run(argv, capture_output=True, text=True, env=env, check=False)
    assert done.returncode == 1
    assert "no Docker engine answers" in done.stderr
    assert "Traceback" not in done.stderr
