"""The `oidc` section of a configuration: identity providers, and whom of their people the operator lets in."""

import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from headscale.config.dns import Values
from headscale.config.keys import KEYS
from headscale.config.settings import OIDCProvider
from headscale.config.values import read_value
from headscale.errors import Malformed
from headscale.records import Role, RoleMapping

SECTION: Final = "oidc"
OTHERS: Final = f"{SECTION}.others"
ROLES: Final = f"{SECTION}.roles"
NAME: Final = "oidc"
# The highest first.
_GIVEN_BY_GROUPS: Final = (Role.ADMIN, Role.NETWORK_ADMIN, Role.AUDITOR)
# More often would be a burden to the provider and to nobody's use.
RECHECK_MIN: Final = timedelta(minutes=1)
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?")
# What our own request says; nobody may say otherwise.
OURS: Final = frozenset(
    {
        *("client_id", "redirect_uri", "response_type", "response_mode", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method", "client_secret", "request", "request_uri"),
    }
)


class _Entry:
    """The values of one of `oidc.others`, as those of `oidc` itself are read."""

    def __init__(self, values: Values, number: int, given: Mapping[str, Any], base: Path) -> None:
        self._values = values
        self._number = number
        self._read: dict[str, Any] = {}
        for key, value in given.items():
            name = f"{SECTION}.{key}"
            if name not in KEYS or name == OTHERS:
                self.complain(name, "no such key")
                continue
            try:
                self._read[name] = read_value(KEYS[name], value, base=base)
            except Malformed as problem:
                self.complain(name, str(problem))

    def get(self, name: str, default: Any = None) -> Any:
        """The value, or the default."""
        value = self._read.get(name)
        return default if value is None else value

    def has(self, name: str) -> bool:
        """Whether the operator wrote the key."""
        return name in self._read

    def complain(self, name: str, what: str) -> None:
        """Something is wrong with this key."""
        self._values.complain(OTHERS, f"entry {self._number}: {name.removeprefix(f'{SECTION}.')}: {what}")


def oidc_providers(values: Values, base: Path) -> tuple[OIDCProvider, ...]:
    """The providers, the first of `oidc` itself; whatever is wrong with them becomes complaints."""
    found = [_provider(values)] if values.has("oidc.issuer") else []
    if not found and values.has("oidc.client_id") and values.get("oidc.client_id"):
        values.complain("oidc.issuer", "is needed: the provider's URL, such as https://login.example.com")
    entries = values.get(OTHERS, [])
    for number, entry in enumerate(entries, start=1):
        wrapped = _Entry(values, number, entry, base)
        if not wrapped.has("oidc.name"):
            wrapped.complain("name", "is needed, to tell the providers apart")
        found.append(_provider(wrapped))
    providers = [provider for provider in found if provider is not None]
    _check_apart(values, providers)
    return tuple(providers)


def role_mappings(providers: tuple[OIDCProvider, ...]) -> tuple[RoleMapping, ...]:
    """Of those providers that decide roles."""
    return tuple(
        RoleMapping(
            issuer=plain_issuer(provider.issuer),
            key=ROLES if number == 0 else f"{OTHERS} ({provider.name}: roles)",
            groups=provider.roles,
        )
        for number, provider in enumerate(providers)
        if provider.roles is not None
    )


def plain_issuer(issuer: str) -> str:
    """The issuer as identifiers begin with it: without a final slash. (Another slash would be another person.)"""
    parts = urlsplit(issuer.strip())
    return parts._replace(scheme=parts.scheme.lower()).geturl().rstrip("/")


def _provider(values: Values | _Entry) -> OIDCProvider | None:
    issuer: str = values.get("oidc.issuer", "")
    if not issuer:
        return None
    if not _is_issuer(issuer):
        values.complain(
            "oidc.issuer", f"{issuer!r} is not http:// or https:// with a host, and nothing behind"
        )
    name: str = values.get("oidc.name", NAME)
    if not _NAME.fullmatch(name):
        values.complain("oidc.name", f"{name!r} is no name: expected small letters, digits and hyphens")
    client_id: str = values.get("oidc.client_id", "")
    if not client_id:
        values.complain("oidc.client_id", "is needed: the provider's name for this server")
    scopes: tuple[str, ...] = values.get("oidc.scope", ("openid", "profile", "email"))
    if "openid" not in scopes:
        values.complain(
            "oidc.scope", "must have openid: without it the provider does not say who somebody is"
        )
    recheck: timedelta | None = values.get("oidc.recheck_interval")
    if recheck is not None and timedelta() < recheck < RECHECK_MIN:
        values.complain("oidc.recheck_interval", "must be at least 1m, or 0 for never")
    if values.get("oidc.pkce.method") == "plain":
        values.complain("oidc.pkce.method", "plain protects nobody: S256 is what this server uses, always")
    return OIDCProvider(
        name=name,
        issuer=issuer,
        client_id=client_id,
        client_secret=_client_secret(values),
        scopes=scopes,
        extra_params=_extra_params(values),
        allowed_domains=values.get("oidc.allowed_domains", ()),
        allowed_users=values.get("oidc.allowed_users", ()),
        allowed_groups=values.get("oidc.allowed_groups", ()),
        email_verified_required=values.get("oidc.email_verified_required", True),
        expiry_from_token=values.get("oidc.use_expiry_from_token", False),
        groups_claim=_path(values),
        groups_in_policy=values.get("oidc.groups_in_policy", False),
        roles=_roles(values),
        recheck=recheck or None,
        must_be_there=values.get("oidc.only_start_if_oidc_is_available", True),
    )


def _client_secret(values: Values | _Entry) -> str:
    inline, path = values.get("oidc.client_secret"), values.get("oidc.client_secret_path")
    if inline is not None and path is not None:
        values.complain("oidc.client_secret", "give the secret here or by client_secret_path, not both")
    if path is None:
        return str(inline or "")
    try:
        return str(path.read_text("utf-8").strip())
    except PermissionError:
        return ""  # the server says so when it needs it; other commands do not
    except (OSError, UnicodeDecodeError) as problem:
        reason = problem.strerror if isinstance(problem, OSError) else "not a text"
        values.complain("oidc.client_secret_path", f"{path} cannot be read: {reason}")
        return ""


def _extra_params(values: Values | _Entry) -> dict[str, str]:
    given: Mapping[str, Any] = values.get("oidc.extra_params", {})
    for name in given:
        if str(name) in OURS:
            values.complain("oidc.extra_params", f"{name} is this server's own to say")
    return {str(name): str(value) for name, value in given.items() if str(name) not in OURS}


def _roles(values: Values | _Entry) -> tuple[tuple[Role, tuple[str, ...]], ...] | None:
    """`{admin: [ops], auditor: [audit]}`, the highest role first; the owner is nobody's to choose by a group."""
    given: Mapping[str, Any] | None = values.get(ROLES)
    if given is None:
        return None
    for name in given.keys() - _GIVEN_BY_GROUPS:
        values.complain(ROLES, f"{name!r} is no role that groups may give: {', '.join(_GIVEN_BY_GROUPS)} are")
    found = []
    for role in _GIVEN_BY_GROUPS:
        groups = given.get(role, [])
        if not isinstance(groups, list) or not all(isinstance(group, str) and group for group in groups):
            values.complain(ROLES, f"{role}: expected a list of groups")
            continue
        if groups:
            found.append((role, tuple(map(str, groups))))
    return tuple(found)


def _path(values: Values | _Entry) -> tuple[str, ...]:
    """`groups`, `realm_access.roles`, or a claim whose name is a URL, whole."""
    given: str = values.get("oidc.groups_claim", "groups")
    path = (given,) if "://" in given else tuple(given.split("."))
    if not all(path):
        values.complain("oidc.groups_claim", f"{given!r} is no path: expected names with dots between them")
    return path


def _is_issuer(text: str) -> bool:
    try:
        url = urlsplit(text)
        return (
            url.scheme in ("http", "https")
            and bool(url.hostname)
            and (url.port or 1) > 0
            and not (url.query or url.fragment or url.username)
        )
    except ValueError:
        return False


def _check_apart(values: Values, providers: list[OIDCProvider]) -> None:
    """People are told apart by issuer and subject in one text, so that no issuer may begin with another."""
    for number, provider in enumerate(providers):
        for other in providers[:number]:
            if provider.name == other.name:
                values.complain(OTHERS, f"two providers are named {provider.name}")
            one, two = sorted((provider.issuer.rstrip("/"), other.issuer.rstrip("/")), key=len)
            if two == one or two.startswith(f"{one}/"):
                values.complain(OTHERS, f"the issuers {one} and {two} cannot be told apart")
