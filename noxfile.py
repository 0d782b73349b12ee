"""Every check of this project. `nox` runs them all; `nox -s integration -- ARGS` passes ARGS to pytest."""

import os
import shutil
import sys
from pathlib import Path

import nox
from nox.command import CommandFailed

nox.needs_version = ">=2025.2.9"
nox.options.sessions = ["lint", "types", "unit", "property", "integration", "thirdparty"]
nox.options.reuse_existing_virtualenvs = True
nox.options.stop_on_first_error = False
nox.options.default_venv_backend = "uv|virtualenv"  # uv is ten times faster where it is installed
# Strict runs (CI) fail on what they cannot run; elsewhere nox says "skipped" and why.
nox.options.error_on_missing_interpreters = os.environ.get("HARNESS_STRICT", "") not in ("", "0")

PYTHONS = ["3.11", "3.13"]
# What waits more than it works, or has nothing to do with its neighbours: a process for each core.
BESIDE = ["-n", str(min(os.cpu_count() or 1, 4)), "--dist", "loadfile"]
# What depends on time, real clients or a kernel is asked again, alone, when it fails (harness/again.py).
AGAIN = ("python", "-m", "harness.again")
CODE = ["headscale", "harness", "scenarios", "tests", "benchmarks", "noxfile.py"]


@nox.session
def lint(session: nox.Session) -> None:
    """Style, formatting, and who may import whom."""
    session.install("-e", ".[dev]")
    session.run("ruff", "check", *CODE)
    session.run("ruff", "format", "--check", *CODE)
    session.run("lint-imports", "--no-cache")


@nox.session
def types(session: nox.Session) -> None:
    """Static types, strict."""
    session.install("-e", ".[dev]")
    session.run("mypy", "headscale", "harness", "scenarios")


@nox.session(python=PYTHONS)
def unit(session: nox.Session) -> None:
    """The cores, one by one: no sockets, seconds for all of it."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/unit", *BESIDE, *session.posargs)


@nox.session
def conformance(session: nox.Session) -> None:
    """The policy engine against recorded answers of the hosted control plane (HEADSCALE_CONFORMANCE_DIR)."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/unit/policy/test_conformance.py", *session.posargs)


@nox.session
def property(session: nox.Session) -> None:
    """Laws that hold for every input, by hypothesis. HYPOTHESIS_PROFILE is quick, ci or nightly."""
    session.install("-e", ".[dev]")
    session.run("pytest", "tests/property", *BESIDE, *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """What things cost, at growing sizes. Figures, not verdicts: nothing fails by being slow."""
    session.install("-e", ".[dev]")
    columns = "--benchmark-columns=min,median,max,rounds"
    session.run("pytest", "benchmarks", columns, *session.posargs)


@nox.session
def load(session: nox.Session) -> None:
    """Many clients against a server in a process: what people would feel (docs/benchmarks.md)."""
    session.install("-e", ".[dev]")
    session.run("python", "-m", "benchmarks.load", *session.posargs)


@nox.session
def restfuzz(session: nox.Session) -> None:
    """Schemathesis against the REST API of a running server, by its own description. Arguments after `--` are its."""
    session.install("-e", ".[dev]", "schemathesis>=4")
    session.run("python", "-m", "tests.integration.restfuzz", *session.posargs)


@nox.session
def integration(session: nox.Session) -> None:
    """The server under fake clients over real sockets, then the scenarios with real Tailscale clients.

    Arguments after `--` go to pytest. Paths choose what runs; options alone go to both halves.
    """
    session.install("-e", ".[dev]")
    paths = [
        word for word in session.posargs if not word.startswith("-") and os.path.exists(word.split("::")[0])
    ]
    if paths:
        session.run(*AGAIN, *session.posargs)
        return
    durations = ["--durations=0", "--durations-min=0.5"]
    may_be_empty = _may_be_empty(session)
    failed = []
    for half in ("tests/integration", "scenarios"):  # when the first one fails, the second is worth knowing
        try:
            session.run(*AGAIN, half, *BESIDE, *durations, *session.posargs, success_codes=may_be_empty)
        except CommandFailed:
            failed.append(half)
    _photograph(session)
    if failed:
        session.error(f"failed: {', '.join(failed)}")


@nox.session
def postgres(session: nox.Session) -> None:
    """The server with its records in PostgreSQL: the fake clients' tests, then scenarios about what it remembers.

    Arguments after `--` go to pytest. Paths choose what runs.
    """
    session.install("-e", ".[dev]")
    there = ["--database=postgres", *session.posargs]
    if any(os.path.exists(word.split("::")[0]) for word in session.posargs):
        session.run(*AGAIN, *there)
        return
    names = ("auth_keys", "expiry", "ephemeral", "names", "policy_change", "oauth", "routes", "swap")
    scenarios = [f"scenarios/test_{name}.py" for name in names]
    failed = 0
    for paths in (["tests/integration"], scenarios):
        try:
            session.run(*AGAIN, *paths, *BESIDE, *there)
        except CommandFailed:
            failed += 1
    if failed:
        session.error(f"{failed} of 2 runs failed")


@nox.session
def faults(session: nox.Session) -> None:
    """Kills, lost databases, full disks and abuse: the rows of docs/testing/faults.md, on SQLite and PostgreSQL.

    Arguments after `--` go to pytest (`--level=nightly`, `--fault-seed=N`, a path, `-k`); `--database` chooses one.
    """
    session.install("-e", ".[dev]")
    figures = os.path.join("artifacts", "faults.jsonl")
    if os.path.exists(figures):
        os.remove(figures)
    options = ["-m", "bar", f"--figures={figures}", *session.posargs]
    if any(os.path.exists(word.split("::")[0]) for word in session.posargs):
        session.run("pytest", *options)
        return
    files = [*Path("tests/unit").rglob("test_*.py"), *Path("tests/integration").rglob("test_*.py")]
    kept = sorted(str(path) for path in files if "mark.bar(" in path.read_text())
    # Of the other rows there is more in tests/faults, and other sessions run all of these files.
    rows = "--rows=A3,A8,A10,A11,A14,F11"
    runs = [
        ["tests/faults", "--database=sqlite", *options],
        ["tests/faults", "--database=postgres", *options, "-m", "bar and both"],
        [*kept, *options, rows, *BESIDE],
    ]
    if os.environ.get("CI"):  # where those sessions run as well, and machines have other work
        del runs[2]
    if any(word.startswith(("--database", "--rows")) for word in session.posargs):
        runs = [["tests/faults", *options]]
    scale = os.environ.get("HARNESS_TIME_SCALE", "2" if os.environ.get("CI") else "1")
    failed = 0
    for run in runs:
        try:
            session.run(*AGAIN, *run, success_codes=_may_be_empty(session), env={"HARNESS_TIME_SCALE": scale})
        except CommandFailed:
            failed += 1
    session.run("python", "-m", "tests.bar", figures)
    if failed:
        session.error(f"{failed} of {len(runs)} runs failed")


@nox.session
def fuzz(session: nox.Session) -> None:
    """Coverage-guided fuzzing of what reads bytes of strangers, by atheris. Argument: seconds for each target (60)."""
    session.install("-e", ".[dev]", "atheris>=3")
    seconds = session.posargs[0] if session.posargs else "60"
    names = (
        session.posargs[1:] or session.run("python", "-m", "tests.fuzz.drive", "--list", silent=True).split()
    )
    for name in names:
        session.run("python", "-m", "tests.fuzz.drive", name, seconds)


@nox.session
def networks(session: nox.Session) -> None:
    """Machines in network namespaces, as root: backend and lab by themselves, then scenarios with real clients.

    Arguments after `--` go to the second half.
    """
    session.install("-e", ".[dev]")
    own = [f"tests/integration/test_{name}.py" for name in ("backends", "segments", "lab")]
    session.run(*AGAIN, *own, "-k", "netns")
    names = ("networks", "routes", "exit_nodes", "auto_approval", "wireguard_peers")
    files = [f"scenarios/test_{name}.py" for name in names]
    session.run(*AGAIN, *files, "--backend=netns", *session.posargs)


@nox.session
def tutorial(session: nox.Session) -> None:
    """docs/testing/tutorial.md to the letter, with its tsnet application, which takes minutes to build."""
    session.install("-e", ".[dev]")
    session.run(
        "pytest", "tests/integration/test_tutorial.py", *session.posargs, env={"HARNESS_WHOLE_TUTORIAL": "1"}
    )


@nox.session
def generated(session: nox.Session) -> None:
    """Drawn tailnets on real clients in network namespaces, as root: HARNESS_EXAMPLES of them, 200 unless told."""
    session.install("-e", ".[dev]")
    many = {"HARNESS_EXAMPLES": os.environ.get("HARNESS_EXAMPLES", "200")}
    session.run("pytest", "scenarios/test_generated.py", "--backend=netns", *session.posargs, env=many)


@nox.session
def live(session: nox.Session) -> None:
    """A state machine that drives real clients in network namespaces, as root. HARNESS_EXAMPLES says how many."""
    session.install("-e", ".[dev]")
    session.run(
        "pytest",
        "scenarios/test_live_clients.py",
        "--backend=netns",
        *session.posargs,
        env={"HARNESS_LIVE": "1"},
    )


@nox.session
def releases(session: nox.Session) -> None:
    """Whether every client release that is out is listed: asks the Go module proxy and the crates' registry."""
    session.install("-e", ".[harness]")
    session.run("python", "-m", "harness.upstream")


@nox.session
def differential(session: nox.Session) -> None:
    """The same scenario on our server as a process and in its image: clients and administrators see the same.

    Arguments after `--` take the place of both servers: `-- inprocess process --backend=netns --seed=7`.
    """
    session.install("-e", ".[dev]")
    if session.posargs:
        session.run("python", "-m", "harness.differential", *session.posargs)
        return
    image = "headscale-under-test:differential"
    session.run("dockerfiles/build-server", image, external=True)
    try:
        session.run(
            "python", "-m", "harness.differential", "process", f"image:{image}", "--backend=container"
        )
    finally:
        session.run("docker", "rmi", "--force", image, external=True)


@nox.session
def mutants(session: nox.Session) -> None:
    """Servers with one mistake each, as root: real clients must notice every one. Half an hour for all of them.

    Arguments after `--` are the names of mutants, or options (`--list`). Results lie in artifacts/mutants.
    """
    session.install("-e", ".[dev]")
    session.run("python", "-m", "harness.mutants", *session.posargs)


@nox.session
def hosted(session: nox.Session) -> None:
    """Scenarios against a server that is only a URL and API keys; ours as a process stands in for it.

    Arguments after `--` go to pytest; they choose the scenarios. (docs/testing/servers.md)
    """
    session.install("-e", ".[dev]")
    names = ("connectivity", "names", "acl", "auth_keys", "expiry", "oauth", "ephemeral", "policy_change")
    chosen = session.posargs or [f"scenarios/test_{name}.py" for name in names]
    session.run("python", "-m", "harness.servers.hosted.trial", *chosen)


@nox.session
def packaging(session: nox.Session) -> None:
    """The ways to install the server: image, compose file, Debian package under systemd, and the guides to them.

    Needs a Docker engine, and root where no registry has the images that it starts from.
    """
    session.install("-e", ".[dev]")
    options = ("--backend=process", "--client-versions=newest", "--durations=0", "--durations-min=1")
    session.run(*AGAIN, "tests/packaging", *options, *session.posargs)


@nox.session
def thirdparty(session: nox.Session) -> None:
    """Other people's API clients against our server: Go's SDK, Tailscale's own tools, PyPI's tailscale."""
    session.install("-e", ".[dev,thirdparty]")
    session.run("pytest", "tests/thirdparty", *session.posargs)


def _photograph(session: nox.Session) -> None:
    """The matrix of all that ran here, as a picture beside it, where there is a browser."""
    page = Path("artifacts", "matrix.html")
    chromium = shutil.which("chromium")
    if chromium is None or not page.exists():
        return
    picture = Path("artifacts", "pages", "matrix.png")
    picture.parent.mkdir(exist_ok=True)
    flags = (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
    )
    size, shot = "--window-size=1400,8000", f"--screenshot={picture.resolve()}"
    try:
        session.run(chromium, *flags, size, shot, page.resolve().as_uri(), external=True, silent=True)
    except CommandFailed:
        session.warn(f"{chromium} made no picture of {page}")
    else:
        session.log(f"{page} is shown in {picture}")


def _may_be_empty(session: nox.Session) -> list[int]:
    """A selection with -k or -m may leave nothing (pytest's code 5) of one half."""
    chosen = any(word.startswith(("-k", "-m")) for word in session.posargs)
    return [0, 5] if chosen else [0]


if __name__ == "__main__":
    sys.exit("run this with nox: pip install nox && nox")
