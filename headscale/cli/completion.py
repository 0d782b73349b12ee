"""headscale completion SHELL: what a shell needs to complete commands and flags."""

import click
from click.shell_completion import get_completion_class

from headscale.cli.framework import Command, Failed

VARIABLE = "_HEADSCALE_COMPLETE"
SHELLS = ("bash", "zsh", "fish", "powershell")


@click.command(cls=Command)
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print a script for your shell: `source <(headscale completion bash)`."""
    made = get_completion_class(shell)
    if made is None:
        raise Failed(f"there is no completion for {shell}: use bash, zsh or fish")
    root = context.find_root().command
    click.echo(made(root, {}, "headscale", VARIABLE).source())
