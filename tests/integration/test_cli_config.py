"""The `headscale` command and its configuration: checked before a start, dumped, brought from an older version."""

import re
from pathlib import Path

import pytest

from harness.servers.local import LocalSettings
from tests.integration.commands import Headscale

OLD = """\
# Of the office.
data_dir: {data}
acl_policy_path: {acl} # ours
oidc:
  strip_email_domain: true
nonsense: 1
"""


async def test_a_configuration_is_checked_without_a_trace(
    headscale: Headscale, settings: LocalSettings, tmp_path: Path
) -> None:
    """Good or bad, nothing is made."""
    good = await headscale("configtest")
    assert (good.code, good.out) == (0, "the defaults: ok\n")
    bad = await headscale("configtest", HEADSCALE_LOG_LEVEL="loud", HEADSCALE_OIDC_ISSUER="p")
    assert bad.code == 1
    assert "log.level: 'loud' is none of trace, debug, info, warn, error" in bad.err
    later = await headscale(
        "configtest", HEADSCALE_DISABLE_CHECK_UPDATES="true", HEADSCALE_DEBUG_DEADLOCK="1"
    )
    assert "without effect in this version: HEADSCALE_DEBUG_DEADLOCK, disable_check_updates" in later.out
    assert list(settings.data.iterdir()) == list(tmp_path.iterdir()) == []


async def test_the_configuration_in_force_is_dumped_without_secrets(
    headscale: Headscale, settings: LocalSettings, tmp_path: Path
) -> None:
    """As YAML that a file may hold, as JSON for scripts, or into a file that is its owner's alone."""
    key = "planted-api-key"
    ran = await headscale("dumpConfig", HEADSCALE_CLI_API_KEY=key)
    assert (ran.code, ran.err) == (0, "")
    assert f"server_url: {settings.url}\n" in ran.out
    document = (await headscale("dumpConfig", "-o", "json", HEADSCALE_CLI_API_KEY=key)).document
    assert document["unix_socket"] == str(settings.socket)
    file = tmp_path / "dump.yaml"
    await headscale("dumpConfig", "--to", str(file), HEADSCALE_CLI_API_KEY=key)
    assert file.read_text() == ran.out
    assert file.stat().st_mode & 0o777 == 0o600
    assert key not in ran.out + str(document)


@pytest.mark.parametrize(
    ("variable", "content", "complaint"),
    [
        ("HEADSCALE_DERP_PATHS", "regions: [", r"derp\.paths: {path}: not a DERP map: "),
        (
            "HEADSCALE_DNS_EXTRA_RECORDS_PATH",
            "[\n{]",
            r"dns\.extra_records_path: {path}:2:2: JSON is malformed",
        ),
        ("HEADSCALE_DNS_EXTRA_RECORDS_PATH", None, r"dns\.extra_records_path: there is no file {path}"),
    ],
)
async def test_a_broken_source_is_found_by_configtest_and_serve_alike(
    headscale: Headscale, tmp_path: Path, variable: str, content: str | None, complaint: str
) -> None:
    """The same words, and nothing is started."""
    path = tmp_path / "source"
    if content is not None:
        path.write_text(content)
    for verb in ("configtest", "serve"):
        said = await headscale(verb, **{variable: str(path)})
        assert said.code == 1
        assert re.search(complaint.format(path=path), said.err)


async def test_an_older_configuration_is_rewritten(headscale: Headscale, tmp_path: Path) -> None:
    """First to look at, then for good; what only a person can decide is named, and what was there is kept."""
    acl = tmp_path / "acl.hujson"
    acl.write_text("{}\n")
    file = tmp_path / "old.yaml"
    old = OLD.format(data=tmp_path / "data", acl=acl)
    file.write_text(old)
    file.chmod(0o640)
    assert "acl_policy_path is gone: use policy.path" in (await headscale("configtest", "-c", str(file))).err
    shown = await headscale("config", "migrate", str(file))
    assert shown.code == 0
    assert f"policy:\n  path: {acl} # ours\n" in shown.out
    assert "acl_policy_path: is now policy.path" in shown.err
    assert f"still to do: {file}:5: unknown key nonsense" in shown.err
    assert file.read_text() == old

    written = (await headscale("config", "migrate", "-c", str(file), "--write", "-o", "json")).document
    assert [change["key"] for change in written["changes"]] == ["acl_policy_path", "oidc.strip_email_domain"]
    assert file.read_text() == written["text"] == shown.out
    assert (file.stat().st_mode & 0o777, (tmp_path / "old.yaml.before").read_text()) == (0o640, old)
    file.write_text(written["text"].replace("nonsense: 1\n", ""))
    assert (await headscale("configtest", "-c", str(file))).code == 0
    assert "nothing to change" in (await headscale("config", "migrate", str(file))).out
