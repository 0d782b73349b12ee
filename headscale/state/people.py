"""People of identity providers: who they are here, and how their device gets in."""

from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Final

from headscale.records import Advance, Counter, Insert, Node, RegisterMethod, Update, User
from headscale.state.admission import Outcome, Request
from headscale.state.effect import Effect, Moment
from headscale.state.login import log_in
from headscale.state.nodes import expire_node
from headscale.state.roles import first_role, with_mapped_role
from headscale.state.snapshot import Snapshot, put_user
from headscale.state.users import find_user, is_name

PROVIDER: Final = "oidc"


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """What a provider says of a person. `identifier` is who they are; empty texts, and None, are what it does not say.

    `sealed_refresh` is what the provider can be asked with again; None leaves what is there.
    """

    identifier: str
    name: str = ""
    display_name: str = ""
    email: str = ""
    picture_url: str = ""
    groups: tuple[str, ...] | None = None
    sealed_refresh: bytes | None = field(default=None, repr=False)


def meet(snapshot: Snapshot, moment: Moment, *, profile: Profile) -> Effect[User]:
    """The user of this person, made when there is none, with what the provider says now.

    Nobody is found by name or e-mail address: these can be chosen. What the provider does not say stays. The first user
    of all is the owner; the role of others follows from their groups where the operator says so.
    """
    known = find(snapshot, profile.identifier)
    if known is None:
        user = _described(
            User(
                id=snapshot.last_user_id + 1,
                name="",
                provider=PROVIDER,
                provider_identifier=profile.identifier,
                role=first_role(snapshot),
                created_at=moment.now,
            ),
            profile,
        )
        user = with_mapped_role(snapshot.settings, user)
        return Effect(put_user(snapshot, user), user, (Insert(user), Advance(Counter.USER, user.id)))
    user = with_mapped_role(snapshot.settings, _described(known, profile))
    if user == known:
        return Effect(snapshot, known)
    touched = frozenset(node.id for node in snapshot.nodes_owned_by(user.id))
    return Effect(put_user(snapshot, user), user, (Update(user),), touched)


def find(snapshot: Snapshot, identifier: str) -> User | None:
    """The user whom the provider calls so."""
    return next((user for user in snapshot.users.values() if user.provider_identifier == identifier), None)


def log_in_person(
    snapshot: Snapshot,
    moment: Moment,
    *,
    request: Request,
    profile: Profile,
    expiry: datetime | None = None,
) -> Effect[Outcome]:
    """The person's device is in: user and node together, or neither. `expiry`: the node's key ends then at the latest.

    Raises as `log_in` does.
    """
    met = meet(snapshot, moment, profile=profile)
    asked = request
    if expiry is not None and (request.expiry is None or expiry < request.expiry):
        asked = replace(request, expiry=expiry)
    effect = log_in(
        met.snapshot,
        moment,
        request=asked,
        user_id=met.result.id,
        method=RegisterMethod.OIDC,
        vouched=False,
    )
    return replace(effect, writes=(*met.writes, *effect.writes), touched=met.touched | effect.touched)


def end_keys_of(snapshot: Snapshot, moment: Moment, *, user_id: int) -> Effect[tuple[Node, ...]]:
    """The keys of all nodes of a person end now; the result are those that had not ended yet."""
    ended: list[Node] = []
    effect: Effect[object] = Effect(snapshot, None)
    for node in snapshot.nodes_owned_by(user_id):
        if node.expired:
            continue
        step = expire_node(effect.snapshot, moment, node_id=node.id, expiry=moment.now)
        ended.append(step.result)
        effect = Effect(step.snapshot, None, (*effect.writes, *step.writes), effect.touched | step.touched)
    return Effect(effect.snapshot, tuple(ended), effect.writes, effect.touched)


def log_out_user(snapshot: Snapshot, moment: Moment, *, user_id: int) -> Effect[tuple[Node, ...]]:
    """An administrator ends the keys of all devices of a user now; raises NotFound."""
    return end_keys_of(snapshot, moment, user_id=find_user(snapshot, user_id).id)


def forget_grant(snapshot: Snapshot, moment: Moment, *, user_id: int, instead: bytes = b"") -> Effect[None]:
    """What the provider could be asked with is no more; `instead` is newer."""
    user = snapshot.users.get(user_id)
    if user is None or user.sealed_refresh == instead:
        return Effect(snapshot, None)
    after = replace(user, sealed_refresh=instead)
    return Effect(put_user(snapshot, after), None, (Update(after),))


def _described(user: User, profile: Profile) -> User:
    return replace(
        user,
        name=profile.name if is_name(profile.name) else user.name,
        display_name=profile.display_name or user.display_name,
        email=profile.email or user.email,
        profile_pic_url=profile.picture_url or user.profile_pic_url,
        groups=profile.groups if profile.groups is not None else user.groups,
        sealed_refresh=profile.sealed_refresh if profile.sealed_refresh is not None else user.sealed_refresh,
    )
