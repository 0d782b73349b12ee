"""`oidc.roles`: which groups give which role, and what is refused there."""

from pathlib import Path

import pytest

from headscale.config.file import BadConfig, load_config
from headscale.records import Role, RoleMapping

BEGIN = """
server_url: https://vpn.example.com
oidc:
  issuer: https://id.example.com/
  client_id: headscale
"""
OTHER = """
  others:
    - {name: second, issuer: https://other.example.com, client_id: hs, roles: {auditor: [audit]}}
"""


def mappings(tmp_path: Path, lines: str) -> tuple[RoleMapping, ...]:
    file = tmp_path / "config.yaml"
    file.write_text(f"{BEGIN}{lines}\n")
    return load_config(file, {}).tailnet.role_mappings


def test_each_provider_decides_for_its_own_people(tmp_path: Path) -> None:
    """The highest role comes first, in whatever order they were written."""
    first, second = mappings(tmp_path, "  roles: {auditor: [audit], admin: [ops, sre]}" + OTHER)
    assert (first.issuer, first.key) == ("https://id.example.com", "oidc.roles")
    assert first.groups == ((Role.ADMIN, ("ops", "sre")), (Role.AUDITOR, ("audit",)))
    assert (second.issuer, second.key) == ("https://other.example.com", "oidc.others (second: roles)")


def test_without_the_key_nobody_decides_and_with_none_everybody_is_a_member(tmp_path: Path) -> None:
    assert mappings(tmp_path, "") == ()
    (nobody,) = mappings(tmp_path, "  roles: {}")
    assert nobody.groups == ()


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("{owner: [ops]}", "'owner' is no role that groups may give: admin, network-admin, auditor are"),
        ("{member: [ops]}", "'member' is no role"),
        ("{admins: [ops]}", "'admins' is no role"),
        ("{admin: ops}", "admin: expected a list of groups"),
        ("{admin: [1]}", "admin: expected a list of groups"),
        ("{admin: ['']}", "admin: expected a list of groups"),
        ("[ops]", "expected a mapping"),
    ],
)
def test_what_is_no_mapping_is_said_with_its_place(tmp_path: Path, written: str, said: str) -> None:
    with pytest.raises(BadConfig) as refused:
        mappings(tmp_path, f"  roles: {written}")
    assert said in str(refused.value)
    assert "oidc.roles" in str(refused.value)
