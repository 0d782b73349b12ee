"""What every command shares: the global flags in any place, aliases, errors and exit codes."""

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass

import click
import pytest

from headscale.cli.framework import Command, Failed, Group, run, session
from headscale.cli.main import root
from headscale.cli.output import confirm, moment, show, show_table
from headscale.errors import NotFound
from headscale.keys import parse_private_key


@click.group(cls=Group)
def tool() -> None:
    """A tool."""


@tool.group(cls=Group, aliases=("thing",))
def things() -> None:
    """Things."""


@things.command(name="list", cls=Command, aliases=("ls", "show"))
def list_things() -> None:
    """List them."""
    found = [{"id": "1", "name": "älter", "tags": ["a", "b"]}]
    show_table(found, ("ID", "Name"), [("1", "[bold]älter")])


@things.command(cls=Command, aliases=("del",))
def delete() -> None:
    """Delete one."""
    show({}, text="deleted" if confirm("Delete it?") else "kept")


@things.command(cls=Command)
@click.argument("how")
def fail(how: str) -> None:
    """Fail."""
    raise {"failed": Failed("no server"), "ours": NotFound("no thing has the id 1")}[how]


@things.command(cls=Command, trouble=2)
@click.argument("code", type=int)
def answer(code: int) -> int:
    """Answer with an exit code."""
    if code < 0:
        raise Failed("no answer")
    return code


@tool.command(cls=Command)
def where() -> None:
    """Say where the configuration is."""
    show({}, text=str(session().config_path))


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command printed, and its exit code."""

    code: int
    out: str
    err: str


Tool = Callable[..., Ran]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Tool:
    """Run the tool as a shell would, or another one."""

    def called(*words: str, command: click.Group = tool) -> Ran:
        monkeypatch.setattr(sys, "argv", ["headscale", *words])
        with pytest.raises(SystemExit) as left:
            run(command)
        printed = capsys.readouterr()
        assert isinstance(left.value.code, int)
        return Ran(left.value.code, printed.out, printed.err)

    return called


@pytest.mark.parametrize(
    "words",
    [
        ("-o", "json-line", "things", "list"),
        ("things", "-o", "json-line", "list"),
        ("things", "list", "-o", "json-line"),
        ("things", "list", "--output", "json-line"),
        ("--output=json-line", "things", "list"),
    ],
)
def test_a_global_flag_may_stand_anywhere(call: Tool, words: tuple[str, ...]) -> None:
    ran = call(*words)
    assert (ran.code, json.loads(ran.out)[0]["id"]) == (0, "1")


def test_the_flag_nearest_to_the_verb_counts(call: Tool) -> None:
    assert call("-c", "a", "where", "-c", "b").out == "b\n"


@pytest.mark.parametrize("words", [("things", "ls"), ("thing", "show"), ("thing", "list")])
def test_a_noun_and_a_verb_go_by_each_of_their_names(call: Tool, words: tuple[str, ...]) -> None:
    assert call(*words).out == call("things", "list").out


def test_people_get_a_table_as_it_is_written(call: Tool) -> None:
    """No markup is read in it, and a pipe gets no colours."""
    assert call("things", "list").out == "ID  Name\n1   [bold]älter\n"


def test_machines_get_the_object(call: Tool) -> None:
    """Keys sorted; texts not escaped; one line or many."""
    assert (
        call("things", "list", "-o", "json-line").out
        == '[{"id": "1", "name": "älter", "tags": ["a", "b"]}]\n'
    )
    assert call("things", "list", "-o", "json").out.splitlines()[1:3] == ["\t{", '\t\t"id": "1",']
    assert call("things", "list", "-o", "yaml").out == "- id: '1'\n  name: älter\n  tags:\n  - a\n  - b\n"


@pytest.mark.parametrize(("how", "message"), [("failed", "no server"), ("ours", "no thing has the id 1")])
def test_an_error_is_one_message_on_stderr(call: Tool, how: str, message: str) -> None:
    assert call("things", "fail", how) == Ran(1, "", f"Error: {message}\n")


def test_an_error_for_machines_is_an_object(call: Tool) -> None:
    for flag in (("-o", "json"), ("-o", "json-line"), ("--output=json",)):
        ran = call("things", "fail", "ours", *flag)
        assert (ran.code, ran.out, json.loads(ran.err)) == (1, "", {"error": "no thing has the id 1"})
    assert call("things", "fail", "ours", "-o", "yaml").err == 'error: "no thing has the id 1"\n'


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("bogus",), "No such command 'bogus'"),
        (("things", "bogus"), "No such command 'bogus'"),
        (("things", "list", "extra"), "unexpected extra argument (extra)"),
        (("things", "fail"), "Missing argument 'HOW'"),
        (("-o", "xml", "where"), "'xml' is none of json"),
        (("where", "--bogus"), "No such option"),
    ],
)
def test_what_was_not_understood_is_an_error_with_the_usage(
    call: Tool, words: tuple[str, ...], message: str
) -> None:
    ran = call(*words)
    assert (ran.code, ran.out) == (1, "")
    assert message in ran.err
    assert "Usage: headscale" in ran.err


@pytest.mark.parametrize("words", [(), ("things",), ("-h",), ("things", "--help")])
def test_who_says_nothing_or_asks_gets_help(call: Tool, words: tuple[str, ...]) -> None:
    """On stdout, and that is no failure."""
    ran = call(*words, command=root if "-h" in words else tool)
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.startswith("Usage: headscale")
    assert ran.out.count("Usage:") == 1


@pytest.mark.parametrize(
    ("words", "code"),
    [(("0",), 0), (("1",), 1), (("--", "-1"), 2), (("x",), 2), ((), 2), (("0", "--bogus"), 2)],
)
def test_an_exit_code_may_be_an_answer(call: Tool, words: tuple[str, ...], code: int) -> None:
    """Then whatever goes wrong has another."""
    assert call("things", "answer", *words).code == code


@pytest.mark.parametrize(("answer", "outcome"), [("y\n", "deleted"), ("n\n", "kept")])
def test_a_question_is_asked_on_stderr(
    call: Tool, monkeypatch: pytest.MonkeyPatch, answer: str, outcome: str
) -> None:
    """So that stdout has the result alone; to decline is no failure."""
    monkeypatch.setattr("sys.stdin", _Typed(answer))
    ran = call("things", "delete")
    assert (ran.code, ran.out) == (0, f"{outcome}\n")
    assert "Delete it?" in ran.err


@pytest.mark.parametrize("words", [("--force", "things", "del"), ("things", "del", "--force")])
def test_force_answers_for_you(call: Tool, words: tuple[str, ...]) -> None:
    assert call(*words) == Ran(0, "deleted\n", "")


def test_nobody_to_answer_is_an_abort(call: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", _Typed(""))
    ran = call("things", "delete")
    assert (ran.code, ran.out) == (1, "")
    assert "aborted" in ran.err


def test_a_bad_configuration_is_told_line_by_line(call: Tool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADSCALE_BOGUS", "1")
    monkeypatch.setenv("HEADSCALE_LISTEN_ADDR", "x")
    ran = call("configtest", command=root)
    assert ran.code == 1
    assert ran.err.startswith("Error: the configuration cannot be used:\n")
    assert len(ran.err.splitlines()) == 3


def test_the_version_needs_no_configuration(call: Tool) -> None:
    ran = call("version", "-c", "/nowhere", "-o", "json-line", command=root)
    assert (ran.code, set(json.loads(ran.out))) == (
        0,
        {"version", "commit", "buildTime", "go", "dirty", "python"},
    )


def test_every_verb_of_the_peer_is_there() -> None:
    """With its aliases."""
    at = click.Context(root)
    groups = {noun: root.get_command(at, noun) for noun in root.list_commands(at)}
    names = {
        noun: {name for verb in group.commands.values() for name in (verb.name, *verb.aliases)}
        for noun, group in groups.items()
        if isinstance(group, Group)
    }
    assert {
        *("create", "c", "new", "list", "ls", "show", "destroy", "delete", "rename", "mv", "logout"),
        "set-role",
    } == names["users"]
    assert {
        *("list", "ls", "show", "expire", "logout", "exp", "e", "rename", "delete", "del"),
        *("tag", "tags", "t", "register", "approve", "authorize", "ping", "why-offline"),
        *("list-routes", "lsr", "routes", "approve-routes", "backfillips"),
    } == names["nodes"]
    assert {"register", "approve", "reject"} == names["auth"]
    assert {
        *("create", "c", "new", "list", "ls", "show", "expire", "revoke", "exp", "e"),
        *("delete", "del", "rm", "d"),
    } == names["preauthkeys"]
    assert {
        *("create", "c", "new", "list", "ls", "show", "expire", "revoke", "exp", "e"),
        *("delete", "remove", "del"),
    } == names["apikeys"]
    assert ({"private-key"}, {"create-node"}) == (names["generate"], names["debug"])


@pytest.mark.parametrize(
    ("words", "usage"),
    [
        ((), "headscale [OPTIONS] COMMAND"),
        (("nodes",), "headscale nodes [OPTIONS] COMMAND"),
        (("node", "lsr"), "headscale nodes list-routes [OPTIONS]"),
    ],
)
def test_help_is_a_command_too(call: Tool, words: tuple[str, ...], usage: str) -> None:
    ran = call("help", *words, command=root)
    assert (ran.code, ran.err) == (0, "")
    assert usage.removeprefix("headscale ") in ran.out
    assert call("help", "bogus", command=root).code == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_are_taught_to_complete(call: Tool, shell: str) -> None:
    ran = call("completion", shell, command=root)
    assert (ran.code, ran.err) == (0, "")
    assert f"_HEADSCALE_COMPLETE={shell}_complete" in ran.out


def test_a_private_key_is_one_that_the_server_reads(call: Tool) -> None:
    ran = call("gen", "private-key", command=root)
    assert parse_private_key(ran.out).reveal() == ran.out.strip()


@pytest.mark.parametrize("text", [None, ""])
def test_no_time_is_a_dash(text: str | None) -> None:
    assert moment(text) == "-"


class _Typed:
    """A terminal at which someone types this."""

    def __init__(self, text: str) -> None:
        self._text = text

    def readline(self, *_: object) -> str:
        text, self._text = self._text, ""
        return text

    def isatty(self) -> bool:
        return False
