"""Who somebody is, by what an identity provider says of them. A core: no I/O; times are arguments.

A person is the issuer and their subject there, and nothing else: names and e-mail addresses can be chosen, and are
shown, but never identify. What one document says of an address and what another says of its being verified are not
put together.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from headscale.config.oidc import plain_issuer
from headscale.config.settings import OIDCProvider
from headscale.errors import Refused, Unavailable

SUBJECT_MAX: Final = 255  # OpenID Connect Core 1.0, section 2: ASCII characters
GROUPS_MAX: Final = 500
TEXT_MAX: Final = 255
# How far the provider's clock and ours may be apart.
LEEWAY: Final = timedelta(minutes=1)
# ID tokens live for minutes or hours; what was issued long ago is not what we just asked for.
AGE_MAX: Final = timedelta(days=1)
_SUBJECT: Final = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]*[\x21-\x7e])?")
_EMAIL: Final = re.compile(r"[^\s@<>\"]{1,64}@[^\s@<>\"]{1,190}")
_PICTURE: Final = re.compile(r"https?://[\x21-\x7e]{1,2000}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person as a provider knows them. Empty texts are what it does not say; `email` only when it may be believed.

    `groups` is None when it does not speak of groups at all. `expires_at` is when what it says of them ends.
    """

    provider: str
    identifier: str
    name: str = ""
    display_name: str = ""
    email: str = ""
    picture_url: str = ""
    groups: tuple[str, ...] | None = None
    expires_at: datetime | None = None


def check_token(
    claims: Mapping[str, Any], *, provider: OIDCProvider, issuer: str, nonce: str, now: datetime
) -> None:
    """Raises Refused unless these claims of an ID token, whose signature is good, are an answer to our question.

    Source: OpenID Connect Core 1.0, section 3.1.3.7.
    """
    _check_meaning(claims, provider=provider, issuer=issuer)
    if claims.get("nonce") != nonce:
        raise Refused("the identity provider's answer belongs to another login")
    expires, issued = _moment(claims.get("exp")), _moment(claims.get("iat"))
    if expires is None or expires + LEEWAY <= now:
        raise Refused("the identity provider's answer has expired, or its clock is wrong")
    if issued is None or issued - LEEWAY > now or now - issued > AGE_MAX:
        raise Refused("the identity provider's answer was not given now, or its clock is wrong")
    not_before = claims.get("nbf")
    if not_before is not None and ((begins := _moment(not_before)) is None or begins - LEEWAY > now):
        raise Refused("the identity provider's answer is not valid yet, or its clock is wrong")


def check_again(claims: Mapping[str, Any], *, provider: OIDCProvider, issuer: str, subject: str) -> None:
    """Raises Unavailable unless these claims, given for a refresh token, are about the person who was asked about.

    Source: OpenID Connect Core 1.0, section 12.2.
    """
    try:
        _check_meaning(claims, provider=provider, issuer=issuer)
    except Refused as problem:
        raise Unavailable(str(problem)) from None
    if claims.get("sub") != subject:
        raise Unavailable("the identity provider's answer is about somebody else")


def _check_meaning(claims: Mapping[str, Any], *, provider: OIDCProvider, issuer: str) -> None:
    """Raises Refused for what another issuer says, or says to another application."""
    if claims.get("iss") != issuer:
        raise Refused("the identity provider's answer is another issuer's")
    audience = claims.get("aud")
    meant_for = [audience] if isinstance(audience, str) else audience
    if not isinstance(meant_for, list) or provider.client_id not in meant_for:
        raise Refused("the identity provider's answer is meant for another application")
    if (len(meant_for) > 1 or "azp" in claims) and claims.get("azp") != provider.client_id:
        raise Refused("the identity provider's answer was given to another application")


def identity_of(
    token: Mapping[str, Any], info: Mapping[str, Any] | None, *, provider: OIDCProvider, issuer: str
) -> Identity:
    """The person of an ID token and, where there is one of the same subject, a userinfo document, which is fresher.

    Raises Refused for a subject that is none.
    """
    subject = _subject(token)
    if info is not None and info.get("sub") != subject:
        raise Refused("the identity provider's userinfo is about somebody else")
    documents = [document for document in (info, token) if document is not None]
    return Identity(
        provider=provider.name,
        identifier=f"{plain_issuer(issuer)}/{subject}",
        name=_first(documents, "preferred_username"),
        display_name=_first(documents, "name"),
        email=_email(documents, provider=provider),
        picture_url=picture
        if _PICTURE.fullmatch(picture := _first(documents, "picture", longest=2048))
        else "",
        groups=next(
            (
                found
                for document in documents
                if (found := groups_in(document, provider.groups_claim)) is not None
            ),
            None,
        ),
        expires_at=_moment(token.get("exp")),
    )


def check_admission(identity: Identity, *, provider: OIDCProvider, said_email: str) -> None:
    """Raises Refused unless the person is among those whom the operator lets in: every filter that is set must agree.

    `said_email` is the address as the provider has it, verified or not.
    """
    filters_by_email = bool(provider.allowed_domains or provider.allowed_users)
    if filters_by_email and provider.email_verified_required and said_email and not identity.email:
        raise Refused("your e-mail address is not verified at the identity provider: verify it there first")
    email = identity.email.casefold()
    if provider.allowed_domains and email.rpartition("@")[2] not in _folded(provider.allowed_domains):
        raise Refused("your e-mail domain is not among those that may join this tailnet")
    if provider.allowed_users and email not in _folded(provider.allowed_users):
        raise Refused("you are not among those who may join this tailnet")
    if provider.allowed_groups and not set(provider.allowed_groups) & {
        name for group in identity.groups or () for name in (group, group.removeprefix("/"))
    }:
        raise Refused("you are in none of the groups that may join this tailnet")


def said_email_of(token: Mapping[str, Any], info: Mapping[str, Any] | None) -> str:
    """The address that the provider has, whether or not it is verified."""
    return _first([document for document in (info, token) if document is not None], "email")


def groups_in(document: Mapping[str, Any], path: Sequence[str]) -> tuple[str, ...] | None:
    """The groups at a path of claims, a list or a single name; None when there is nothing there."""
    value: Any = document
    for name in path:
        if not isinstance(value, Mapping) or name not in value:
            return None
        value = value[name]
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list):
        return None
    names = (each.strip() for each in given[:GROUPS_MAX] if isinstance(each, str))
    return tuple(sorted({name for name in names if 0 < len(name) <= TEXT_MAX and name.isprintable()}))


def _subject(token: Mapping[str, Any]) -> str:
    subject = token.get("sub")
    if (
        not isinstance(subject, str)
        or len(subject) > SUBJECT_MAX
        or not _SUBJECT.fullmatch(subject)
        or not subject.strip("./")
    ):
        raise Refused("the identity provider's answer names nobody")
    return subject


def _email(documents: Sequence[Mapping[str, Any]], *, provider: OIDCProvider) -> str:
    """The address of the first document that has one, if that same document says that it is verified."""
    for document in documents:
        email = document.get("email")
        if not isinstance(email, str) or not email:
            continue
        verified = document.get("email_verified")
        is_verified = verified is True or (isinstance(verified, str) and verified.lower() == "true")
        if not (is_verified or not provider.email_verified_required):
            return ""
        return email if _EMAIL.fullmatch(email) and email.isprintable() else ""
    return ""


def _first(documents: Sequence[Mapping[str, Any]], claim: str, *, longest: int = TEXT_MAX) -> str:
    for document in documents:
        value = document.get(claim)
        if isinstance(value, str) and value.strip() and value.isprintable() and len(value) <= longest:
            return value.strip()
    return ""


def _moment(value: object) -> datetime | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 253402300800:
        return None
    return datetime.fromtimestamp(value, UTC)


def _folded(names: Sequence[str]) -> set[str]:
    return {name.casefold().lstrip("@") if name.startswith("@") else name.casefold() for name in names}
