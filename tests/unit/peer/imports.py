"""What the tests of an import share: a database of the peer's in a file, imported into nothing or over ours."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from harness.peerdatabase import PeerDatabase
from headscale.peer.importing import Plan, plan_import
from headscale.peer.merge import Ours
from headscale.peer.source import read_peer
from headscale.records import (
    ApiKey,
    Counter,
    Insert,
    Node,
    PolicyText,
    PreAuthKey,
    TailnetSettings,
    User,
)
from headscale.state.effect import Moment
from tests.builders import NOW

R = TypeVar("R", User, Node, PreAuthKey, ApiKey, PolicyText)
NOTHING = Ours(last_ids=dict.fromkeys(Counter, 0))
SETTINGS = TailnetSettings(server_url="http://headscale.example")


@dataclass(frozen=True, slots=True)
class Imported:
    """What comes of it."""

    plan: Plan

    def only(self, kind: type[R]) -> R:
        """The one record of the kind."""
        (record,) = self.all(kind)
        return record

    def all(self, kind: type[R]) -> list[R]:
        """The records of the kind, by id."""
        found = [w.record for w in self.plan.writes if isinstance(w, Insert) and isinstance(w.record, kind)]
        return sorted(found, key=lambda record: record.id)

    def told(self, table: str, what: str) -> list[tuple[str, str]]:
        """Row and text of what is said of a table's rows."""
        return [(n.row, n.text) for n in self.plan.report.notes if (n.table, n.what.value) == (table, what)]

    @property
    def counts(self) -> dict[str, tuple[int, int, int]]:
        """By table: imported, there, left out."""
        return {c.table: (c.imported, c.there, c.left_out) for c in self.plan.report.counts}


def imported(
    peer: PeerDatabase, folder: Path, *, ours: Ours = NOTHING, policy_file: str | None = None
) -> Imported:
    """Import the database."""
    path = folder / f"theirs-{secrets.token_hex(4)}.sqlite"
    database = read_peer(str(peer.write_sqlite(path)))
    moment = Moment(NOW, secrets.randbelow)
    return Imported(plan_import(database, ours, moment, SETTINGS, policy_file=policy_file))
