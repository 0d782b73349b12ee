"""headscale dumpConfig: the configuration in force."""

from io import StringIO
from pathlib import Path

import click

from headscale.cli.framework import Command, Failed, session
from headscale.cli.output import show
from headscale.config.dump import effective
from headscale.files import replace_file


@click.command(name="dumpConfig", cls=Command, hidden=True)
@click.option("--to", "path", type=click.Path(path_type=Path, dir_okay=False), help="A file to write it to.")
def dump_config(path: Path | None) -> None:
    """Print the configuration in force as YAML: file, environment and defaults together, secrets masked."""
    document = effective(session().config())
    text = _yaml(document)
    if path is None:
        show(document, text=text.rstrip("\n"))
        return
    try:
        replace_file(path, text.encode(), mode=0o600)
    except OSError as problem:
        raise Failed(f"cannot write {path}: {problem.strerror}") from None
    show({"path": str(path)}, text=f"written to {path}")


def _yaml(document: object) -> str:
    from ruamel.yaml import YAML

    stream = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.sort_base_mapping_type_on_output = False  # type: ignore[assignment]
    yaml.dump(document, stream)
    return stream.getvalue()
