"""The database: readable, whole, of this version, and in whose hands."""

from typing import Final

from headscale.db.inspection import Inspection
from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned

RESTORE: Final = "Stop the server, keep a copy of the file, and restore the last good backup"


async def check_database(case: Case) -> list[Finding]:
    """One finding for each of: readable, version, integrity, duplicates, in use."""
    seen = case.database
    if case.config.postgres is not None and seen is not None:
        return _on_server(seen)
    return _in_file(case, seen)


def _on_server(seen: Inspection) -> list[Finding]:
    """PostgreSQL looks after its own pages, and constraints there keep what must be unique."""
    if seen.problem:
        then = "See that it runs and what it logs, and what database.postgres says"
        return [failed("database", seen.problem, then)]
    if seen.revision is None:
        then = "Its tables are made when the server starts: `headscale serve`"
        return [skipped("database", f"{seen.where} answers and is still empty", then)]
    return [
        passed("database", f"{seen.where} answers"),
        _version(seen, "Keep a copy with pg_dump, then start the server: it migrates by itself"),
        skipped("database integrity", "PostgreSQL's own tools look after it", "pg_amcheck"),
        _lock(seen),
    ]


def _in_file(case: Case, seen: Inspection | None) -> list[Finding]:
    path = case.config.sqlite_path
    if seen is None:
        return [
            skipped(
                "database", f"there is no {path} yet", "It is made when the server starts: `headscale serve`"
            )
        ]
    if seen.problem:
        return [failed("database", f"{path} cannot be read: {seen.problem}", RESTORE)]
    if seen.damage:
        return [failed("database integrity", f"{path} is damaged: {'; '.join(seen.damage[:5])}", RESTORE)]
    found = [passed("database integrity", f"{path} is whole, and every reference in it holds")]
    if seen.revision is None:
        then = "Name the right file in database.sqlite.path; one of the Go headscale has to be imported"
        found.append(failed("database version", f"{path} is no database of this headscale", then))
    else:
        then = "Start the server: it keeps a copy beside the file and migrates by itself"
        found.append(_version(seen, then))
    found += [failed("database duplicates", text, RESTORE) for text in seen.duplicates]
    if not seen.duplicates:
        found.append(passed("database duplicates", "keys, names and addresses are there once"))
    return [*found, _lock(seen)]


def _version(seen: Inspection, when_older: str) -> Finding:
    revision = seen.revision or ""
    if revision == seen.newest:
        return passed("database version", f"{revision}, the newest")
    if revision < seen.newest:
        return warned("database version", f"{revision}; this version writes {seen.newest}", when_older)
    return failed(
        "database version",
        f"{revision} is newer than this headscale, which knows {seen.newest}",
        f"Install the version that wrote it{f': {seen.version}' if seen.version else ''}",
    )


def _lock(seen: Inspection) -> Finding:
    if not seen.in_use:
        return passed("database lock", "no server has it open")
    return passed("database lock", f"a running server has it{f', {seen.holder}' if seen.holder else ''}")
