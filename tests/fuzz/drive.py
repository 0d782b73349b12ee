"""Fuzz one target with atheris, from the corpus on.

    python -m tests.fuzz.drive TARGET SECONDS
    python -m tests.fuzz.drive --list

What it finds new stays in artifacts/fuzz/TARGET; an input that breaks the target is written beside it as `crash-…`,
and the exit code is not 0. Such an input joins the corpus with the fix.
"""

import sys
from pathlib import Path

CORPUS = Path(__file__).parent / "corpus"
FOUND = Path("artifacts/fuzz")
MAX_BYTES = 8192
# A slow input is a bug as well.
SLOW_S = 10


def main(target: str, seconds: int) -> None:
    """Never returns: libFuzzer ends the process."""
    import atheris

    with atheris.instrument_imports(include=["headscale", "h2", "hpack"]):
        from tests.fuzz.targets import TARGETS
    found = FOUND / target
    found.mkdir(parents=True, exist_ok=True)
    options = [
        sys.argv[0],
        f"-max_total_time={seconds}",
        f"-max_len={MAX_BYTES}",
        f"-timeout={SLOW_S}",
        f"-artifact_prefix={found}/",
        "-print_final_stats=1",
        str(found),
        str(CORPUS / target),
    ]
    atheris.Setup(options, TARGETS[target])
    atheris.Fuzz()


if __name__ == "__main__":
    if sys.argv[1:] == ["--list"]:
        sys.stdout.write("\n".join(path.name for path in sorted(CORPUS.iterdir())) + "\n")
    else:
        main(sys.argv[1], int(sys.argv[2]))
