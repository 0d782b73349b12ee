"""Compares two control servers.

    python -m harness.differential inprocess process
    python -m harness.differential process image:headscale:test --backend=container --seed=7

Exit code 0: they look the same to clients and administrators, but for what the ledger explains; 1: they do not, or an
entry of the ledger explains nothing; 2: the run could not be made.
"""

import asyncio
import json
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import click

from harness.backends.choose import choose
from harness.differential.ledger import LEDGER, Ruling, read_ledger
from harness.differential.run import compare_sides
from harness.differential.script import script
from harness.differential.sides import KINDS, Side, open_side
from harness.errors import HarnessError
from harness.versions import resolve

SHOWN = 40
"""Differences that are printed; the file has all."""


@click.command()
@click.argument("first")
@click.argument("second")
@click.option("--seed", default=1, show_default=True, help="Which scenario.")
@click.option("--backend", default=None, help="Where clients run.")
@click.option("--client-versions", default="oldest,newest", show_default=True, help="Which clients.")
@click.option("--ledger", type=Path, default=LEDGER, help="Differences that are known.")
@click.option(
    "--second-config", default="{}", metavar="JSON", help="Keys of the second server's configuration."
)
@click.option("--report", type=Path, default=None, help="A file for what was found, JSON.")
def main(
    first: str,
    second: str,
    seed: int,
    backend: str | None,
    client_versions: str,
    ledger: Path,
    second_config: str,
    report: Path | None,
) -> None:
    """Run one scenario on two servers at once. Kinds of servers: see KINDS."""
    begun = time.monotonic()
    try:
        keys, known = json.loads(second_config), ledger.read_text()
        sides, ruling = asyncio.run(
            compare(
                first,
                second,
                seed=seed,
                backend=backend,
                versions=client_versions,
                ledger=known,
                keys=keys,
            )
        )
    except (HarnessError, ValueError, OSError) as problem:
        click.echo(f"no comparison: {problem}", err=True)
        sys.exit(2)
    lines = [difference.told(sides) for difference in ruling.unknown]
    for line in lines[:SHOWN]:
        click.echo(line)
    if len(lines) > SHOWN:
        click.echo(f"and {len(lines) - SHOWN} more differences")
    for entry in ruling.idle:
        click.echo(f"the ledger explains nothing with {entry.at!r} ({entry.reason}): take the entry out")
    if report is not None:
        report.write_text(
            json.dumps({"differences": lines, "idle": [entry.at for entry in ruling.idle]}, indent=1)
        )
    took = time.monotonic() - begun
    click.echo(
        f"seed {seed}, {sides[0]} and {sides[1]}: {len(lines)} differences, {len(ruling.idle)} idle entries, "
        f"{took:.0f} s"
    )
    sys.exit(0 if ruling.is_clean else 1)


async def compare(
    first: str,
    second: str,
    *,
    seed: int,
    backend: str | None,
    versions: str,
    ledger: str,
    keys: Mapping[str, Any],
) -> tuple[Sequence[str], Ruling]:
    """The names of the two sides, and what is left after the ledger, which is its text. Raises HarnessError."""
    releases = resolve(versions)
    chosen = await asyncio.to_thread(choose, backend)
    try:
        await chosen.prepare(releases)
        async with AsyncExitStack() as stack:
            sides: list[Side] = []
            for number, (kind, own) in enumerate(((first, {}), (second, keys)), start=1):
                sides.append(await open_side(stack, chosen, releases, kind, number=number, keys=own))
            names = (sides[0].name, sides[1].name)
            known = read_ledger(ledger, names)
            return names, await compare_sides(sides[0], sides[1], script(seed), known)
    finally:
        await chosen.close()


if main.help:
    main.help = main.help.replace("see KINDS", KINDS)

if __name__ == "__main__":
    main()
