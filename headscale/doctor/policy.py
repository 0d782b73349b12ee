"""The policy: it can be used, its own tests pass, and everybody in it exists."""

from headscale.config.settings import PolicyMode
from headscale.doctor.findings import Case, Finding, failed, passed, skipped, warned
from headscale.errors import HeadscaleError
from headscale.policy.aliases import UserName, fold_login
from headscale.policy.compiled import Compiled
from headscale.policy.complaints import PolicyRefused
from headscale.policy.document import users_named
from headscale.sources.policyfile import in_file, read_policy
from headscale.state.policy import work_out
from headscale.state.restore import restore
from headscale.state.snapshot import Snapshot
from headscale.tailcfg.derpmap import DERPMap


async def check_policy(case: Case) -> list[Finding]:
    """The policy that a start of the server would put in force."""
    settings, seen = case.config.policy, case.database
    in_database = seen.policy if seen is not None else None
    try:
        if settings.mode is PolicyMode.FILE and settings.path is not None:
            where, text = str(settings.path), read_policy(settings.path)
        elif settings.mode is PolicyMode.DATABASE and in_database is not None:
            where, text = f"policy {in_database.id} in the database", in_database.text
        else:
            return [
                skipped(
                    "policy",
                    "there is none: everybody reaches everything",
                    "Set one with `headscale policy set`",
                )
            ]
        prepared = work_out(_snapshot(case), text)
    except PolicyRefused as refused:
        said = in_file(settings.path, refused.complaints) if settings.path else str(refused)
        return [failed("policy", said, "Mend it; `headscale policy check --file FILE` shows every place")]
    except HeadscaleError as problem:
        return [failed("policy", str(problem), "Name a file that the server's user may read in policy.path")]
    found = [passed("policy", f"{where} can be used")]
    found += [
        failed("policy tests", f"{where}: {each.path}: {each.message}", "Mend the rule or the test")
        for each in prepared.failures
    ]
    if not prepared.failures and prepared.compiled.document and prepared.compiled.document.tests:
        found.append(passed("policy tests", f"{len(prepared.compiled.document.tests)} pass"))
    return [*found, *_nobody(prepared.compiled, is_known=seen is not None)]


def _snapshot(case: Case) -> Snapshot:
    """The tailnet as it is kept."""
    seen = case.database
    return restore(
        settings=case.config.tailnet,
        derp_map=DERPMap(regions={}),
        users=seen.users if seen else (),
        pre_auth_keys=(),
        nodes=seen.nodes if seen else (),
        last_ids={},
        now=case.clock.now(),
    )


def _nobody(compiled: Compiled, *, is_known: bool) -> list[Finding]:
    """Names in the policy that fit no user."""
    document = compiled.document
    if document is None or not is_known:
        return []
    known = {
        fold_login(text)
        for person in compiled.people.values()
        for text in (person.name, person.email, person.provider_identifier)
        if text
    }
    known |= {f"{name}@" for name in known if "@" not in name}

    def is_nobody(user: object) -> bool:
        return (
            isinstance(user, UserName)
            and not {fold_login(user.text), fold_login(user.text).rstrip("@")} & known
        )

    missing = sorted({user.text for user in users_named(document) if is_nobody(user)})
    empty = sorted(name for name, members in document.groups.items() if all(map(is_nobody, members)))
    found = []
    if missing:
        found.append(
            warned(
                "policy users", f"no user is called {', '.join(missing)}", "Mend the name, or create the user"
            )
        )
    if empty:
        found.append(
            warned(
                "policy groups", f"nobody is in {', '.join(empty)}", "Mend the members, or create the users"
            )
        )
    return found or [passed("policy users", "everybody in it exists")]
