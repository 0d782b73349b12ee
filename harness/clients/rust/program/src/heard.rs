//! What the crate tells its log and nobody else: why the server refused us, which names are in the netmap, and
//! that something changed.
//!
//! The public API finds a peer by name or address but lists none, and gives no reason for a refusal. Both are in
//! trace events (0.6.1: ts_control client/register.rs and client/map_stream.rs, ts_runtime control_runner.rs and
//! peer_tracker/mod.rs). A name from there is only a question to ask of the API, never an answer.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use serde::Deserialize;
use tokio::sync::watch;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

const REGISTER: &str = "ts_control::client::register";
const MAP_STREAM: &str = "ts_control::client::map_stream";
const CONTROL: &str = "ts_runtime::control_runner";
const PEERS: &str = "ts_runtime::peer_tracker";

const FAILED: &str = "unable to register with control server";
const NOT_AUTHORIZED: &str = "not authorized";

/// How a node's name begins in the Debug form of a MapResponse; no other struct in it has a field of that name
/// that holds a DNS name.
const NAME_FIELD: &str = " name: \"";

/// What was heard so far. One for the whole program, because a log has no better address.
#[derive(Default)]
pub struct Heard {
    inner: Mutex<Inner>,
    version: watch::Sender<u64>,
}

#[derive(Default)]
struct Inner {
    names: BTreeSet<String>,
    server_said: String,
    refusal: Option<String>,
    trouble: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase", default)]
#[derive(Default)]
struct Answer {
    error: String,
    node_key_expired: bool,
}

impl Heard {
    /// Names that a netmap has mentioned, without the final dot; some may be gone again.
    pub fn names(&self) -> Vec<String> {
        self.inner.lock().unwrap().names.iter().cloned().collect()
    }

    /// Why the server will not have us, in the crate's words and then the server's.
    pub fn refusal(&self) -> Option<String> {
        self.inner.lock().unwrap().refusal.clone()
    }

    /// The last failure to register that trying again may mend.
    pub fn trouble(&self) -> Option<String> {
        self.inner.lock().unwrap().trouble.clone()
    }

    /// Forget what belonged to an earlier device.
    pub fn forget(&self) {
        *self.inner.lock().unwrap() = Inner::default();
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    /// Wake everybody who waits for a change.
    pub fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn on_event(&self, target: &str, fields: Fields) {
        let mut inner = self.inner.lock().unwrap();
        if let Some(netmap) = fields.map_response {
            inner.names.extend(names_in(&netmap));
        }
        if let Some(body) = fields.registration_response_body {
            inner.server_said = server_said(&body);
        }
        if target == REGISTER && fields.message == "registration failed" {
            inner.server_said = fields.body;
        }
        if target == CONTROL && fields.message == FAILED {
            inner.took(fields.error);
        }
        drop(inner);
        if target == PEERS || target == CONTROL {
            self.touch();
        }
    }
}

impl Inner {
    fn took(&mut self, error: String) {
        let refused = error.contains(NOT_AUTHORIZED) || !self.server_said.is_empty();
        let text = match self.server_said.as_str() {
            "" => error,
            said => format!("{error}: {said}"),
        };
        *(if refused { &mut self.refusal } else { &mut self.trouble }) = Some(text);
    }
}

fn server_said(body: &str) -> String {
    let answer: Answer = serde_json::from_str(body).unwrap_or_default();
    match answer {
        Answer { error, .. } if !error.is_empty() => error,
        Answer { node_key_expired: true, .. } => "the node key has expired".to_owned(),
        _ => String::new(),
    }
}

fn names_in(netmap: &str) -> BTreeSet<String> {
    netmap
        .split(NAME_FIELD)
        .skip(1)
        .filter_map(|rest| rest.split_once('"'))
        .map(|(name, _)| name.trim_end_matches('.').to_owned())
        .filter(|name| !name.is_empty())
        .collect()
}

#[derive(Default)]
struct Fields {
    message: String,
    error: String,
    body: String,
    map_response: Option<String>,
    registration_response_body: Option<String>,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        match field.name() {
            "message" => self.message = format!("{value:?}"),
            "error" => self.error = format!("{value:?}"),
            "body" => self.body = format!("{value:?}"),
            "map_response" => self.map_response = Some(format!("{value:?}")),
            "registration_response_body" => {
                self.registration_response_body = Some(format!("{value:?}"));
            }
            _ => {}
        }
    }
}

struct Listening(Arc<Heard>);

impl<S: Subscriber> Layer<S> for Listening {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        self.0.on_event(event.metadata().target(), fields);
    }
}

/// Listen to the crate from now on, and log what is of interest to people on standard error.
pub fn install() -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    let ours = Targets::new()
        .with_target(REGISTER, Level::TRACE)
        .with_target(MAP_STREAM, Level::TRACE)
        .with_target(CONTROL, Level::DEBUG)
        .with_target(PEERS, Level::DEBUG);
    let people = Targets::new().with_default(Level::INFO);
    let log = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(std::io::stderr);
    tracing_subscriber::registry()
        .with(Listening(heard.clone()).with_filter(ours))
        .with(log.with_filter(people))
        .init();
    heard
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_names_are_found_in_a_netmap() {
        let netmap = r#"MapResponse { node: Some(Node { id: 1, stable_id: StableNodeId("1"), name: "a.x.", user: 1 }), peers: Some([Node { id: 2, name: "b.x.", hostname: "no" }]) }"#;
        assert_eq!(names_in(netmap), BTreeSet::from(["a.x".to_owned(), "b.x".to_owned()]));
    }

    #[test]
    fn a_refusal_has_the_words_of_the_server() {
        let mut inner =
            Inner { server_said: server_said(r#"{"Error":"key expired"}"#), ..Default::default() };
        inner.took("machine was not authorized".to_owned());
        assert_eq!(inner.refusal.unwrap(), "machine was not authorized: key expired");
    }

    #[test]
    fn a_network_error_is_no_refusal() {
        let mut inner = Inner::default();
        inner.took("Network error".to_owned());
        assert_eq!((inner.refusal, inner.trouble.as_deref()), (None, Some("Network error")));
    }
}
