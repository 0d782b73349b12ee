"""The `headscale` command."""

import platform

import click

from headscale import __version__
from headscale.cli.apikeys import apikeys
from headscale.cli.audit import audit
from headscale.cli.auth import auth
from headscale.cli.backup import backup, restore
from headscale.cli.client import call
from headscale.cli.completion import completion
from headscale.cli.config import config
from headscale.cli.configfiles import check_sources
from headscale.cli.debug import debug
from headscale.cli.doctor import doctor
from headscale.cli.dump import dump_config
from headscale.cli.framework import Command, Group, run, session
from headscale.cli.generate import generate
from headscale.cli.importing import import_database
from headscale.cli.nodes import nodes
from headscale.cli.oauthclients import oauth_clients
from headscale.cli.output import show
from headscale.cli.policy import check_file, policy
from headscale.cli.preauthkeys import preauthkeys
from headscale.cli.settings import settings
from headscale.cli.top import top
from headscale.cli.users import users
from headscale.cli.webhooks import webhooks
from headscale.config import PolicyMode


@click.group(cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
def root() -> None:
    """A self-hosted control server for Tailscale clients."""


@root.command(name="help", cls=Command)
@click.argument("words", nargs=-1, metavar="[COMMAND]...")
@click.pass_context
def show_help(context: click.Context, words: tuple[str, ...]) -> None:
    """Show how a command is used."""
    command: click.Command = root
    at = context.find_root()
    for word in words:
        found = command.get_command(at, word) if isinstance(command, click.Group) else None
        if found is None:
            raise click.UsageError(f"No such command {word!r}.")
        command, at = found, click.Context(found, info_name=found.name, parent=at)
    click.echo(command.get_help(at))


@root.command(cls=Command)
def version() -> None:
    """Print the version."""
    document = {"version": __version__, "python": platform.python_version()}
    show(document, text=__version__)


@root.command(cls=Command)
def health() -> None:
    """Ask the running server whether all is well."""
    found = call("GET", "/api/v1/health")
    show(found, text=f"running, but {found['policyProblem']}" if found.get("policyProblem") else "ok")


@root.command(cls=Command)
def configtest() -> None:
    """Check the configuration and change nothing."""
    found = session().config()
    if found.policy.mode is PolicyMode.FILE and found.policy.path is not None:
        check_file(found.policy.path)
    check_sources(found)
    later = f"; without effect in this version: {', '.join(found.later)}" if found.later else ""
    show(
        {"source": str(found.source or ""), "later": list(found.later)},
        text=f"{found.source or 'the defaults'}: ok{later}",
    )


@root.command(cls=Command)
def serve() -> None:
    """Run the server until it is told to stop."""
    from headscale.cli.serve import serve_until_stopped  # the whole server: other commands do not wait for it

    serve_until_stopped(session().config())


root.add_command(users)
root.add_command(preauthkeys)
root.add_command(nodes)
root.add_command(oauth_clients)
root.add_command(apikeys)
root.add_command(audit)
root.add_command(auth)
root.add_command(config)
root.add_command(policy)
root.add_command(settings)
root.add_command(webhooks)
root.add_command(generate)
root.add_command(import_database)
root.add_command(backup)
root.add_command(restore)
root.add_command(completion)
root.add_command(debug)
root.add_command(doctor)
root.add_command(dump_config)
root.add_command(top)


def main() -> None:
    """The entry point."""
    run(root)


if __name__ == "__main__":
    main()
