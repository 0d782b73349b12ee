"""Where the `harness` command begins. It is there with every installation; what it needs comes with an extra."""

import sys


def main() -> None:
    """Run the command, or say what is to be installed."""
    try:
        from harness.cli.main import main as command
    except ModuleNotFoundError as problem:
        if (problem.name or "").partition(".")[0] in ("harness", "headscale"):
            raise
        sys.exit(f"harness: {problem.name} is not installed: pip install 'headscale[harness]'")
    command()
