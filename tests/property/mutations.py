"""Whether the laws would notice: one deliberate fault after the other, and the law that has to fail for it.

`python tests/property/mutations.py [WORD …]` puts each fault of the table into a copy of the tree, runs its law there
with the quick profile (but shrinks nothing, for who reads it?), and says `caught` or `NOT CAUGHT`; with words, only for
laws that have one of them in their name. It ends with 1 when a fault is not caught, when the text that it replaces does
not stand exactly once in its file, or when a law fails without any fault.

When code moves, move the texts along. A new law comes with a fault that only it is sure to catch; a fault that slipped
through comes with a law. Nothing of the checkout itself is changed. It takes minutes, so it is no part of the suite.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
COPIED: Final = ("headscale", "harness", "tests", "pyproject.toml")
LEFT_OUT: Final = shutil.ignore_patterns("__pycache__", ".hypothesis", "data", "integration")
# One law under the quick profile takes seconds; a fault may make it loop.
RUN_SECONDS_MAX: Final = 300
PYTEST: Final = ("-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "--hypothesis-seed=1")
UNSHRUNK: Final = """
settings.register_profile("unshrunk", settings.get_profile("quick"), phases=(Phase.explicit, Phase.generate))
settings.load_profile("unshrunk")
"""


@dataclass(frozen=True, slots=True)
class Fault:
    """In this file this text is replaced by another; `law` is the test that has to fail."""

    says: str
    path: str
    old: str
    new: str
    law: str


def _of_policy(law: str, says: str, path: str, old: str, new: str) -> Fault:
    return Fault(says, f"headscale/policy/{path}", old, new, f"tests/property/test_policy_laws.py::{law}")


def _of_unit(test: str, says: str, path: str, old: str, new: str) -> Fault:
    """A fault that few random cases would show, so that a plain test of the rule guards it."""
    return Fault(says, f"headscale/policy/{path}", old, new, f"tests/unit/policy/{test}")


def _of_ipset(law: str, says: str, old: str, new: str) -> Fault:
    return Fault(says, "headscale/ipset.py", old, new, f"tests/property/test_ipset_laws.py::{law}")


ADMITS: Final = "test_filters_admit_what_the_policy_says"
SEES: Final = "test_nodes_are_peers_when_something_may_pass"
ORDER: Final = "test_the_order_of_rules_changes_nothing"
SPLIT: Final = "test_a_rule_split_in_pairs_changes_nothing"
NAMES: Final = "test_names_mean_nothing"
COMMENTS: Final = "test_comments_mean_nothing"
STEPS: Final = "test_a_step_at_a_time_is_the_same_as_from_scratch"
USERS: Final = "test_users_come_and_go_as_if_they_had_always_been"
KEYS: Final = "test_equal_keys_mean_equal_filters"
ANY_JSON: Final = "test_any_json_is_a_policy_or_refused"
ANY_BYTES: Final = "test_any_bytes_are_a_policy_or_refused"
OPERATIONS: Final = "test_operations_are_those_of_sets"
POINTS: Final = "test_a_point_more_or_less"
MEETING: Final = "test_networks_meet_and_are_covered"
NETWORKS: Final = "test_networks_make_a_set"
RANGES: Final = "test_a_set_is_its_networks_and_ranges"
TEXTS: Final = "test_texts_make_a_round_trip"
COMPLEMENT: Final = "test_everything_but"

FAULTS: Final = (
    _of_policy(
        ADMITS,
        "a router with a part of a destination does not let it in",
        "filters.py",
        "any(ips.meets(first, past) for first, past in self.behind)",
        "any(ips.holds(first, past) for first, past in self.behind)",
    ),
    _of_policy(
        ADMITS,
        "`*` as a source leaves out what is behind routers",
        "members.py",
        "parts += (self.program.tailnet, of_networks(*self.routers))",
        "parts += (self.program.tailnet,)",
    ),
    _of_policy(
        ADMITS,
        "rules are merged whatever their protocol",
        "filters.py",
        "key = (row.source, own, row.traffic.protocol)",
        "key = (row.source, own, None)",
    ),
    _of_unit(
        "test_ports.py::test_ports",
        "a range of ports is its first port",
        "ports.py",
        "return PortRange(first, last)",
        "return PortRange(first, first)",
    ),
    _of_policy(
        SEES,
        "only the one who may be reached is seen",
        "reach.py",
        "if a.sends & b.hears or b.sends & a.hears:",
        "if a.sends & b.hears:",
    ),
    _of_policy(
        SEES,
        "a rule for one family counts for the other",
        "facts.py",
        "found[family] |= kind.said.sources | anything",
        "found[1 - family] |= kind.said.sources\n            found[family] |= kind.said.sources | anything",
    ),
    _of_unit(
        "test_filters.py::test_a_rule_for_somebody_and_everybody",
        "nodes share a filter whether a rule names them or everybody",
        "facts.py",
        "self._reached.get(key := (rows, kind.said.rows, rest))",
        "self._reached.get(key := (rows, rest))",
    ),
    _of_unit(
        "test_verdicts.py::test_all_at_once_is_each_alone",
        "one's own devices are everybody's to a test",
        "verdicts.py",
        " & bits_of(mine, len(sources.ends))",
        "",
    ),
    _of_unit(
        "test_lookup.py::test_more_bounds_than_a_stride",
        "what has ended before a stride is still there",
        "lookup.py",
        "        row[number >> 3] ^= 1 << (number & 7)\n    if",
        "        row[number >> 3] |= 1 << (number & 7)\n    if",
    ),
    _of_policy(
        SEES,
        "one's own devices are left out where all peers are asked for at once",
        "reach.py",
        "mine = self.families.get(viewer.user_id, 0) & ~seen",
        "mine = 0",
    ),
    _of_policy(
        ORDER,
        "the first acl decides",
        "grants.py",
        "for acl in document.acls:",
        "for acl in document.acls[:1]:",
    ),
    _of_policy(
        SPLIT,
        "only the first source counts",
        "grants.py",
        "        who = who_of(of)",
        "        who = who_of(of[:1])",
    ),
    _of_policy(
        NAMES,
        "a host with a dash in its name is taken for a range",
        "aliases.py",
        "    if text in names.hosts:",
        '    if text in names.hosts and "-" not in text:',
    ),
    _of_policy(
        COMMENTS,
        "the text is not kept",
        "parse.py",
        "return replace(document, text=tree.text)",
        "return document",
    ),
    _of_policy(
        COMMENTS,
        "a block comment ends two characters early",
        "hujson_text.py",
        "at = close + 2",
        "at = close",
    ),
    _of_policy(
        STEPS,
        "who leaves stays in the texts",
        "members.py",
        "                stale.note(old)\n",
        "",
    ),
    _of_unit(
        "test_members.py::test_changes_that_nobody_asks_about_add_up",
        "of two changes that nobody asked about in between only the later counts",
        "members.py",
        "later[key] = (base, waiting | points)",
        "later[key] = (base, frozenset(points))",
    ),
    _of_policy(
        STEPS,
        "a route that is gone stays a source",
        "members.py",
        "stale.rerouted.update(self.program.from_side.everyone)",
        "pass",
    ),
    _of_policy(
        USERS,
        "a user who is renamed keeps the old labels",
        "compiled.py",
        "make = self.facts.for_program(program, without=others)",
        "make = self.facts.for_program(program, without=set())",
    ),
    _of_policy(
        KEYS,
        "the key of a filter leaves out the node's own addresses",
        "compiled.py",
        "return (template, None) if template.is_fixed else (template, (subject.ipv4, subject.ipv6))",
        "return (template, None)",
    ),
    _of_policy(
        KEYS,
        "all nodes of an owner are one class",
        "compiled.py",
        "return facts.node_class if facts else None",
        "return facts.kind if facts else None",
    ),
    _of_policy(
        ANY_JSON,
        "something else than an object is walked as one",
        "cursor.py",
        "if isinstance(self.value, Object):",
        "if not self.is_null:",
    ),
    _of_policy(
        ANY_JSON,
        "complaints do not say where",
        "cursor.py",
        "complaint = Complaint(message, line, column, self.path)",
        "complaint = Complaint(message)",
    ),
    _of_policy(
        ANY_BYTES,
        "the reader's errors are not translated",
        "parse.py",
        "except HuJSONError as problem:",
        "except RecursionError as problem:",
    ),
    _of_policy(
        ANY_BYTES,
        "bytes that are not UTF-8 are not expected",
        "hujson.py",
        "except UnicodeDecodeError as error:",
        "except LookupError as error:",
    ),
    Fault(
        "a comma at the end of a list is not printed",
        "headscale/policy/hujson_tree.py",
        'yield Kind.EXTRA, ","',
        "pass",
        "tests/property/test_hujson_laws.py::test_printing_gives_the_text_back",
    ),
    Fault(
        "who loses is said to gain",
        "headscale/policy/difference.py",
        "(_less(will, was), _less(was, will))",
        "(_less(was, will), _less(will, was))",
        "tests/property/test_difference_laws.py::test_no_difference_means_the_same_reach",
    ),
    _of_ipset(
        OPERATIONS,
        "a difference keeps what neither has",
        "keep=lambda ours, theirs: ours and not theirs",
        "keep=lambda ours, theirs: ours != theirs",
    ),
    _of_ipset(
        OPERATIONS,
        "intervals that touch are not joined",
        "if row and first <= row[-1]:",
        "if row and first < row[-1]:",
    ),
    _of_ipset(
        POINTS,
        "a point is not joined to the interval after it",
        "right = at < len(row) and row[at] == value + 1",
        "right = False",
    ),
    _of_ipset(
        POINTS,
        "the first point of an interval leaves an empty one behind",
        "left = row[at - 1] == value\n",
        "left = False\n",
    ),
    _of_ipset(
        MEETING,
        "a network overlaps what begins after it",
        "and self.bounds[at] < past)",
        "and self.bounds[at] <= past)",
    ),
    _of_ipset(
        MEETING,
        "the last address need not be covered",
        "past <= self.bounds[at]",
        "past - 1 <= self.bounds[at]",
    ),
    _of_ipset(
        NETWORKS,
        "an interval within another cuts it short",
        "row[-1] = max(row[-1], past)",
        "row[-1] = past",
    ),
    _of_ipset(
        RANGES,
        "the ranges of IPv6 end one too late",
        "IPv6Address(past - 1 - _V6)",
        "IPv6Address(min(past - _V6, (1 << 128) - 1))",
    ),
    _of_ipset(
        TEXTS,
        "any two addresses are spelled as a network",
        "if size & (size - 1) == 0 and (first - base) % size == 0:",
        "if size & (size - 1) == 0:",
    ),
    _of_ipset(
        COMPLEMENT,
        "everything lacks the last IPv4 address",
        "EVERYTHING: Final = IPSet((0, 1 << 32,",
        "EVERYTHING: Final = IPSet((0, (1 << 32) - 1,",
    ),
)


class Verdict(Enum):
    """What a run of a law says."""

    PASSED = "passed"
    FAILED = "failed"
    BROKEN = "broken"  # the test was not found, or could not be collected


def main(words: list[str]) -> int:
    """Try the faults; the exit code says whether all were caught."""
    faults = [fault for fault in FAULTS if not words or any(word in fault.law for word in words)]
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        _copy(tree)
        verdict, told = _run(tree, *dict.fromkeys(fault.law for fault in faults))
        if verdict is not Verdict.PASSED:
            _say(f"{verdict.value} without any fault:\n{told}")
            return 1
        problems: list[str] = []
        for fault in faults:
            problem = _try(tree, fault)
            _say(f"{problem or 'caught':<12} {fault.law.partition('::')[2]}: {fault.says}")
            problems += [problem] if problem else []
    _say(f"{len(faults)} faults, {len(problems)} problems")
    return 1 if problems else 0


def _copy(tree: Path) -> None:
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tree / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, tree / name)
    with (tree / "tests" / "property" / "conftest.py").open("a", encoding="utf-8") as conftest:
        conftest.write(UNSHRUNK)


def _try(tree: Path, fault: Fault) -> str:
    """What is wrong with the law or the fault; nothing when it is caught."""
    file = tree / fault.path
    text = file.read_text(encoding="utf-8")
    if text.count(fault.old) != 1:
        return f"STALE ({text.count(fault.old)} times in {fault.path}): {fault.old.strip()!r}"
    file.write_text(text.replace(fault.old, fault.new), encoding="utf-8")
    try:
        verdict, _ = _run(tree, fault.law)
    finally:
        file.write_text(text, encoding="utf-8")
    return {Verdict.FAILED: "", Verdict.PASSED: "NOT CAUGHT", Verdict.BROKEN: "BROKEN"}[verdict]


def _run(tree: Path, *laws: str) -> tuple[Verdict, str]:
    """Run these laws in the tree; what they say, and pytest's words."""
    # Bytecode is told from newer sources by time and size alone, which a fault may leave as they are.
    more = {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "quick"}
    try:
        done = subprocess.run(
            [sys.executable, *PYTEST, *laws],
            cwd=tree,
            env={**os.environ, **more},
            capture_output=True,
            timeout=RUN_SECONDS_MAX,
            text=True,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Verdict.FAILED, f"longer than {RUN_SECONDS_MAX} seconds"
    return {0: Verdict.PASSED, 1: Verdict.FAILED}.get(done.returncode, Verdict.BROKEN), done.stdout


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
