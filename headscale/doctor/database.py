"""The database: readable, whole, of this version, and in whose hands."""

from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned

RESTORE = "Stop the server, keep a copy of the file, and restore the last good backup"


async def check_database(case: Case) -> list[Finding]:
    """One finding for each of: readable, version, integrity, duplicates, in use."""
    if case.config.postgres is not None:
        where = case.config.postgres.shown
        return [skipped("database", f"{where} is PostgreSQL, which its own tools look after", "pg_amcheck")]
    path, seen = case.config.sqlite_path, case.database
    if seen is None:
        return [
            skipped(
                "database", f"there is no {path} yet", "It is made when the server starts: `headscale serve`"
            )
        ]
    if seen.problem:
        return [failed("database", f"{path} cannot be read: {seen.problem}", RESTORE)]
    found = []
    if seen.damage:
        found.append(
            failed("database integrity", f"{path} is damaged: {'; '.join(seen.damage[:5])}", RESTORE)
        )
        return found
    found.append(passed("database integrity", f"{path} is whole, and every reference in it holds"))
    match seen.revision:
        case None:
            found.append(
                failed(
                    "database version",
                    f"{path} is no database of this headscale",
                    "Name the right file in database.sqlite.path; one of the Go headscale has to be imported",
                )
            )
        case seen.newest:
            found.append(passed("database version", f"{seen.revision}, the newest"))
        case older if older < seen.newest:
            found.append(
                warned(
                    "database version",
                    f"{older}; this version writes {seen.newest}",
                    "Start the server: it keeps a copy beside the file and migrates by itself",
                )
            )
        case newer:
            found.append(
                failed(
                    "database version",
                    f"{newer} is newer than this headscale, which knows {seen.newest}",
                    f"Install the version that wrote it{f': {seen.version}' if seen.version else ''}",
                )
            )
    found += [failed("database duplicates", text, RESTORE) for text in seen.duplicates]
    if not seen.duplicates:
        found.append(passed("database duplicates", "keys, names and addresses are there once"))
    state = "a running server has it" if seen.in_use else "no server has it open"
    return [*found, passed("database lock", state)]
