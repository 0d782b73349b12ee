"""What a failed test leaves: the folder that `harness.artifacts` fills, and the page that shows it."""

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from harness.artifacts import collect, folder_for
from harness.reporting import EVIDENCE, FAILURE, REACH, brief, seed_of

if TYPE_CHECKING:
    from harness.tailnet import Tailnet

OPTIONS = {
    "--client-versions": None,
    "--backend": None,
    "--server": "inprocess",
    "--database": "sqlite",
    "--control-image": None,
    "--control-url": None,
}
"""Those that decide what a test runs on, with what they are when nobody gives them."""


async def leave_evidence(node: pytest.Item, tailnet: "Tailnet") -> Path:
    """Fill the folder of this test and write its page; returns the folder. Never fails a test a second time."""
    from harness.report.failure import Failure, write_failure

    config = node.config
    folder = folder_for(config.getoption("--artifacts"), node.nodeid)
    if (node.stash.get(EVIDENCE, None)) == folder:  # of another tailnet of this test
        folder = folder / f"tailnet-{tailnet.network.name}"
    rerun = rerun_of(node)
    await collect(folder, [tailnet.server, *tailnet.clients], history=tailnet.history, rerun=rerun)
    node.stash.setdefault(EVIDENCE, folder)
    report = node.stash.get(FAILURE, None)
    failure = Failure(
        test=node.nodeid,
        fact=(getattr(getattr(node, "obj", None), "__doc__", None) or "").strip(),
        reason=brief(report) if report is not None else "",
        trace=report.longreprtext if report is not None else "",
        rerun=rerun,
        facts=_facts(tailnet),
        releases={client.name: str(client.release) for client in tailnet.clients},
    )
    try:
        write_failure(folder, failure, tailnet.history)
    except Exception as error:  # the page is for convenience: what it shows lies beside it
        with (folder / "missing.txt").open("a") as missing:
            missing.write(f"report.html: {error!r}\n")
    return folder


def note_reach(node: pytest.Item, tailnet: "Tailnet") -> None:
    """Keep who reached whom in this test, for the results. Sees what is known already, and asks nobody."""
    from harness.report.drawing import as_json, edges_of, edges_of_peers

    nodes = {client.name: str(client.release) for client in tailnet.clients}
    ways = list(tailnet.history.ways.values())
    edges = edges_of(ways) if ways else edges_of_peers(_peers(tailnet))
    if nodes:
        node.stash[REACH] = as_json(nodes, edges)


def _peers(tailnet: "Tailnet") -> dict[str, list[str]]:
    """Whom each client had as a peer when it was last read, by our names for them."""
    statuses = {client.name: client.last_status for client in tailnet.clients}
    ours = {s.self_node.stable_id: name for name, s in statuses.items() if s is not None and s.self_node}
    return {
        name: [ours[peer.stable_id] for peer in status.peers if peer.stable_id in ours]
        for name, status in statuses.items()
        if status is not None
    }


def _facts(tailnet: "Tailnet") -> Sequence[tuple[str, str]]:
    return [
        ("began", tailnet.history.began.isoformat(timespec="seconds")),
        ("client versions", ", ".join(map(str, tailnet.releases))),
        ("server", f"{tailnet.server.name} at {tailnet.server.url}"),
        (
            "network",
            f"{tailnet.network.name}, with {', '.join(sorted(tailnet.network.capabilities)) or 'nothing special'}",
        ),
    ]


def rerun_of(node: pytest.Item) -> str:
    """The command that runs this test again on the same things, with the same draws."""
    config = node.config
    here = (config.rootpath / "noxfile.py").exists()
    words = ["nox", "-s", "integration", "--", node.nodeid] if here else ["pytest", node.nodeid]
    for option, default in OPTIONS.items():
        value = config.getoption(option)
        if value is not None and value != default:
            words.append(f"{option}={value}")
    report = node.stash.get(FAILURE, None)
    seed = seed_of(report) if report is not None else None
    given = config.getoption("--hypothesis-seed", None)
    if seed or given:
        words.append(seed or f"--hypothesis-seed={given}")
    return shlex.join(words)
