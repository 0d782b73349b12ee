"""What every command shares: the global flags in any place, aliases, errors and exit codes.

The peer's flags may stand before or behind the verb (`headscale -o json users list`, `headscale users list
-o json`), so every command takes them.
"""

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from headscale.errors import HeadscaleError

if TYPE_CHECKING:
    from headscale.config.settings import Config

FORMATS: Final = ("json", "json-line", "yaml")


@dataclass(slots=True)
class Session:
    """The global flags of one call, and the exit code of its command for whatever goes wrong."""

    config_path: Path | None = None
    output: str | None = None
    force: bool = False
    trouble: int = 1

    def config(self) -> "Config":
        """The configuration in force."""
        from headscale.config.file import load_config  # not every command has a use for it

        return load_config(self.config_path)


def session() -> Session:
    """The flags of the command that runs."""
    found = click.get_current_context().find_root().ensure_object(Session)
    return found  # noqa: RET504  (mypy needs the type)


def _keep(name: str) -> Any:
    def callback(context: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value not in (None, False):
            setattr(context.find_root().ensure_object(Session), name, value)

    return callback


def _keep_format(context: click.Context, parameter: click.Parameter, value: str | None) -> None:
    """As cobra reads it: `-o json`, `-ojson` and `-o=json`."""
    asked = value.removeprefix("=") if value else None
    if asked and asked not in FORMATS:
        raise click.BadParameter(f"{asked!r} is none of {', '.join(FORMATS)}", context, parameter)
    if asked:
        context.find_root().ensure_object(Session).output = asked


def global_options() -> list[click.Parameter]:
    """-c, -o and --force."""
    return [
        click.Option(
            ["-c", "--config", "config_path"],
            type=click.Path(path_type=Path),
            callback=_keep("config_path"),
            expose_value=False,
            help="Configuration file.",
        ),
        click.Option(
            ["-o", "--output"],
            metavar="|".join(FORMATS),
            callback=_keep_format,
            expose_value=False,
            help="Print for machines.",
        ),
        click.Option(
            ["--force"],
            is_flag=True,
            callback=_keep("force"),
            expose_value=False,
            help="Ask no questions.",
        ),
    ]


class Command(click.Command):
    """A verb that takes the global flags too. `trouble` is its exit code for whatever goes wrong.

    The function may return an exit code of its own.
    """

    def __init__(self, *args: Any, aliases: tuple[str, ...] = (), trouble: int = 1, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.aliases = aliases
        self.trouble = trouble
        self.params.extend(global_options())

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.find_root().ensure_object(Session).trouble = self.trouble
        return super().parse_args(ctx, args)


class Group(click.Group):
    """A noun with its verbs, each under any of its names."""

    command_class = Command

    def __init__(self, *args: Any, aliases: tuple[str, ...] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.aliases = aliases
        self.params.extend(global_options())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        named = super().get_command(ctx, cmd_name)
        if named is not None:
            return named
        return next(
            (command for command in self.commands.values() if cmd_name in getattr(command, "aliases", ())),
            None,
        )

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        _, command, rest = super().resolve_command(ctx, args)
        return command.name if command else None, command, rest


Group.group_class = Group


@dataclass(frozen=True, slots=True)
class Later:
    """A command that is imported when it is used: its module, its name there, and its aliases."""

    module: str
    name: str
    aliases: tuple[str, ...] = ()


class LazyGroup(Group):
    """A group of which most commands are imported when they are used, or all are listed."""

    def __init__(self, *args: Any, later: Mapping[str, Later], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._later = later

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *self._later})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        aliased = (name for name, later in self._later.items() if cmd_name in later.aliases)
        name = cmd_name if cmd_name in self._later else next(aliased, "")
        if name and name not in self.commands:
            later = self._later[name]
            self.add_command(getattr(import_module(later.module), later.name), name)
        return super().get_command(ctx, cmd_name)


class Failed(Exception):
    """The command cannot do it; the text is for the user, the exit code the command's `trouble`."""


def run(root: click.Group) -> None:
    """Run the command line; whatever goes wrong is one message on stderr and an exit code."""
    flags = Session()
    try:
        code = root.main(standalone_mode=False, obj=flags)
    except click.exceptions.Abort:
        print("aborted", file=sys.stderr)  # noqa: T201
        sys.exit(1)
    except click.exceptions.NoArgsIsHelpError as help_text:
        print(help_text.format_message())  # noqa: T201
        sys.exit(0)
    except click.ClickException as problem:
        _complain(problem.format_message(), flags.output)
        if isinstance(problem, click.UsageError) and problem.ctx:
            print(problem.ctx.get_usage(), file=sys.stderr)  # noqa: T201
        sys.exit(flags.trouble)
    except (Failed, HeadscaleError) as problem:
        from headscale.config.file import BadConfig

        bad_config = "the configuration cannot be used:\n" if isinstance(problem, BadConfig) else ""
        _complain(f"{bad_config}{problem}", flags.output)
        sys.exit(flags.trouble)
    sys.exit(code if isinstance(code, int) else 0)


def _complain(message: str, output: str | None) -> None:
    """As text, or in the form that the caller asked for."""
    if output in ("json", "json-line"):
        message = json.dumps({"error": message}, ensure_ascii=False)
    elif output == "yaml":
        message = f"error: {json.dumps(message, ensure_ascii=False)}"
    else:
        message = f"Error: {message}"
    print(message, file=sys.stderr)  # noqa: T201
