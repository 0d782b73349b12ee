"""The snapshot that a server starts with: everything that was kept."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime

from immutables import Map

from headscale.records import (
    NO_PREFERENCES,
    AccessToken,
    ApiKey,
    Counter,
    Node,
    OAuthClient,
    PreAuthKey,
    Preferences,
    TailnetSettings,
    User,
    Webhook,
)
from headscale.state.elections import with_elections
from headscale.state.settings import in_force
from headscale.state.snapshot import (
    Snapshot,
    put_api_key,
    put_client,
    put_key,
    put_record,
    put_token,
    with_subjects,
)
from headscale.tailcfg.derpmap import DERPMap
from headscale.tailcfg.dns import DNSRecord


def restore(
    *,
    settings: TailnetSettings,
    derp_map: DERPMap,
    extra_records: tuple[DNSRecord, ...] = (),
    users: Iterable[User],
    pre_auth_keys: Iterable[PreAuthKey],
    nodes: Iterable[Node],
    api_keys: Iterable[ApiKey] = (),
    webhooks: Iterable[Webhook] = (),
    oauth_clients: Iterable[OAuthClient] = (),
    access_tokens: Iterable[AccessToken] = (),
    last_ids: Mapping[Counter, int],
    preferences: Preferences = NO_PREFERENCES,
    elections: Iterable[str] = (),
    now: datetime,
) -> Snapshot:
    """A snapshot of these records, without a policy; ids go on after the last ones ever handed out."""
    by_id = Map({user.id: user for user in users})
    snapshot = Snapshot(
        settings=in_force(settings, preferences),
        configured=settings,
        derp_map=derp_map,
        extra_records=extra_records,
        started_at=now,
        users=by_id,
    )
    for key in pre_auth_keys:
        snapshot = put_key(snapshot, key)
    for api_key in api_keys:
        snapshot = put_api_key(snapshot, api_key)
    for client in oauth_clients:
        snapshot = put_client(snapshot, client)
    for token in access_tokens:
        snapshot = put_token(snapshot, token)
    for node in nodes:
        snapshot = put_record(snapshot, node)
    kept = with_elections(snapshot, elections)
    return replace(
        with_subjects(kept),
        favourites=kept.favourites,  # of the policy that is read next
        preferences=preferences,
        webhooks=(hooks := Map({webhook.id: webhook for webhook in webhooks})),
        last_webhook_id=max([*hooks, last_ids.get(Counter.WEBHOOK, 0)]),
        last_user_id=max([*by_id, last_ids.get(Counter.USER, 0)]),
        last_node_id=max(snapshot.last_node_id, last_ids.get(Counter.NODE, 0)),
        last_key_id=max(snapshot.last_key_id, last_ids.get(Counter.PRE_AUTH_KEY, 0)),
        last_policy_id=last_ids.get(Counter.POLICY, 0),
        last_audit_id=last_ids.get(Counter.AUDIT, 0),
        last_api_key_id=max(snapshot.last_api_key_id, last_ids.get(Counter.API_KEY, 0)),
        last_client_id=max(snapshot.last_client_id, last_ids.get(Counter.OAUTH_CLIENT, 0)),
        last_token_id=max(snapshot.last_token_id, last_ids.get(Counter.ACCESS_TOKEN, 0)),
    )
