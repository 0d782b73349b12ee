"""Servers as processes that start in a fraction of a second: each is a fork of one that has imported everything.

    python -m tests.faults.nursery

Line by line on standard input it takes `{"env": …, "log": …, "umask": …, "failpoint": …}` and answers with the pid
of a `headscale serve` with that environment, or takes `{"wait": pid}` and answers with its exit code. When its input
ends, so does everything that it started.
"""

import contextlib
import ctypes
import json
import os
import random
import signal
import sys
import traceback
from typing import Any, NoReturn

_PR_SET_PDEATHSIG = 1


def main() -> None:
    """Serve requests until there are no more."""
    import alembic.command
    import asyncpg
    import psycopg

    import headscale.app
    import headscale.cli.main
    import headscale.cli.serve
    import headscale.db.postgres
    import tests.faults.failpoints

    imported = (alembic.command, asyncpg, psycopg, headscale.app, headscale.cli, tests.faults.failpoints)
    assert all(imported)
    running: set[int] = set()
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        if "wait" in asked:
            _, status = os.waitpid(asked["wait"], 0)
            running.discard(asked["wait"])
            _say({"code": os.waitstatus_to_exitcode(status)})
            continue
        pid = os.fork()
        if pid == 0:
            _serve(asked)
        running.add(pid)
        _say({"pid": pid})
    for pid in running:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _say(answer: object) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _serve(asked: dict[str, Any]) -> NoReturn:
    """In the child: become what `headscale serve` is."""
    code = 70
    try:
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        log = os.open(asked["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for target, source in ((0, nothing), (1, log), (2, log)):
            os.dup2(source, target)
        os.closerange(3, 256)
        if asked.get("umask") is not None:
            os.umask(asked["umask"])
        random.seed()
        os.environ.clear()
        os.environ.update(asked["env"])
        if asked.get("failpoint"):
            from tests.faults.failpoints import install

            install(asked["failpoint"])
        from headscale.cli.main import main as headscale

        sys.argv = ["headscale", "serve"]
        headscale()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
