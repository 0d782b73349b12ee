"""The `headscale` command. What a command needs is imported with it: they are to begin at once."""

from collections.abc import Mapping
from typing import Final

import click

from headscale import __version__
from headscale.cli.framework import Command, Later, LazyGroup, run, session
from headscale.cli.output import show
from headscale.origin import version_document

COMMANDS: Final[Mapping[str, Later]] = {
    "apikeys": Later("headscale.cli.apikeys", "apikeys", ("apikey", "api")),
    "audit": Later("headscale.cli.audit", "audit"),
    "auth": Later("headscale.cli.auth", "auth"),
    "backup": Later("headscale.cli.backup", "backup"),
    "completion": Later("headscale.cli.completion", "completion"),
    "config": Later("headscale.cli.config", "config"),
    "database": Later("headscale.cli.database", "database"),
    "debug": Later("headscale.cli.debug", "debug"),
    "doctor": Later("headscale.cli.doctor", "doctor"),
    "dumpConfig": Later("headscale.cli.dump", "dump_config"),
    "generate": Later("headscale.cli.generate", "generate", ("gen",)),
    "health": Later("headscale.cli.health", "health"),
    "import": Later("headscale.cli.importing", "import_database"),
    "nodes": Later("headscale.cli.nodes", "nodes", ("node",)),
    "oauth-clients": Later(
        "headscale.cli.oauthclients",
        "oauth_clients",
        ("oauth-client", "oauthclients", "oauthclient", "oauth"),
    ),
    "policy": Later("headscale.cli.policy", "policy"),
    "preauthkeys": Later("headscale.cli.preauthkeys", "preauthkeys", ("preauthkey", "authkey", "pre")),
    "restore": Later("headscale.cli.backup", "restore"),
    "settings": Later("headscale.cli.settings", "settings", ("setting",)),
    "top": Later("headscale.cli.top", "top"),
    "users": Later("headscale.cli.users", "users", ("user",)),
    "webhooks": Later("headscale.cli.webhooks", "webhooks", ("webhook",)),
}


@click.group(cls=LazyGroup, later=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
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
    show(version_document(), text=__version__)


@root.command(cls=Command)
def configtest() -> None:
    """Check the configuration and change nothing."""
    from headscale.cli.configfiles import check_sources
    from headscale.cli.policy import check_file
    from headscale.config.settings import PolicyMode

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


def main() -> None:
    """The entry point."""
    run(root)


if __name__ == "__main__":
    main()
