//! Our status in the shape of tailscaled's (ipn/ipnstate), so that the harness reads both with the same eyes.
//! What the crate does not keep (what a node calls itself, traffic counters, paths) is left out.

use serde_json::{Map, Value, json};
use ts_control::{Node, NodeStatus};

/// What a status is made of.
pub struct View {
    pub state: &'static str,
    pub login_url: Option<String>,
    pub health: Vec<String>,
    pub own: Option<Node>,
    pub peers: Vec<Node>,
}

pub fn render(view: &View) -> Value {
    let peers: Map<String, Value> =
        view.peers.iter().map(|peer| (peer.node_key.to_string(), node(peer, is_online(peer)))).collect();
    json!({
        "Version": ts_control::PKG_VERSION,
        "TUN": false,
        "BackendState": view.state,
        "HaveNodeKey": view.own.is_some(),
        "AuthURL": view.login_url.clone().unwrap_or_default(),
        "MagicDNSSuffix": view.own.as_ref().and_then(|own| own.tailnet.clone()).unwrap_or_default(),
        "Health": view.health,
        "Self": view.own.as_ref().map(|own| node(own, view.state == "Running")),
        "Peer": peers,
    })
}

fn is_online(node: &Node) -> bool {
    node.status == NodeStatus::Online
}

fn node(node: &Node, online: bool) -> Value {
    let addresses = &node.tailnet_address;
    let now = std::time::SystemTime::now();
    json!({
        "ID": node.stable_id.0,
        "DNSName": node.fqdn(true),
        "PublicKey": node.node_key.to_string(),
        "TailscaleIPs": [addresses.ipv4.addr().to_string(), addresses.ipv6.addr().to_string()],
        "AllowedIPs": node.accepted_routes.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "Tags": node.tags,
        "Online": online,
        "Expired": node.node_key_expiry.is_some_and(|expiry| std::time::SystemTime::from(expiry) < now),
        "KeyExpiry": node.node_key_expiry.map(|expiry| expiry.to_rfc3339()).unwrap_or_default(),
        "Relay": node.derp_region.map(|region| region.0.to_string()).unwrap_or_default(),
    })
}
