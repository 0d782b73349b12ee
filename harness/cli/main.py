"""The `harness` command: what can run here, runs, a tailnet to play with, and what killed runs left."""

import click

from harness.cli.clean import clean
from harness.cli.doctor import doctor
from harness.cli.replay import replay
from harness.cli.run import run
from harness.cli.up import up
from harness.errors import HarnessError


class Root(click.Group):
    """Tells what went wrong in the harness's own words, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except HarnessError as problem:
            raise click.ClickException(str(problem)) from problem


@click.group(cls=Root, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Real Tailscale clients against a control server, on this machine."""


for command in (doctor, run, up, replay, clean):
    main.add_command(command)


if __name__ == "__main__":
    main()
