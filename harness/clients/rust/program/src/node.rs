//! The node through its lives: up, down, and what a program that uses the crate must do to stay connected.
//!
//! The runtime of 0.6.1 takes a lost control connection up again five times, at once and without a pause. When
//! the server is away for longer, the control runner is gone for good, and it may take the data path along
//! (ts_runtime supervises it with kameo's defaults). So we watch it: when control is lost, we wait until the
//! server takes connections, and then start a new runtime with the same keys.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::sync::{Mutex as AsyncMutex, watch};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use ts_control::Node as NodeInfo;
use url::Url;

use crate::device::{Asked, Device};
use crate::echo::Identity;
use crate::heard::Heard;
use crate::kept::{Kept, Prefs};
use crate::probe::{self, Probed};
use crate::status::{View, render};

/// Between two looks at the runtime when it says nothing by itself.
const LOOK: Duration = Duration::from_millis(250);

/// Between two tries to connect to a server that is away.
const KNOCK: Duration = Duration::from_millis(300);

/// So many looks in a row must find no control runner before it counts as gone: it is away for a moment
/// whenever it restarts.
const GONE_AFTER: u32 = 4;

#[derive(Deserialize)]
pub struct Up {
    pub login_server: Url,
    pub auth_key: Option<String>,
    pub hostname: String,
    pub timeout_ms: u64,
}

/// How `up` ended, as its user is told.
#[derive(Serialize)]
pub struct Outcome {
    pub ok: bool,
    pub message: String,
}

#[derive(Deserialize)]
pub struct Listen {
    pub port: u16,
}

#[derive(Deserialize)]
pub struct Resolve {
    pub name: String,
    /// A or AAAA.
    pub r#type: String,
}

/// A DNS answer as the agent gives it; 3 is NXDOMAIN.
#[derive(Serialize)]
pub struct Resolution {
    pub rcode: u8,
    pub addresses: Vec<String>,
}

struct Now {
    state: &'static str,
    device: Option<Arc<Device>>,
    own: Option<NodeInfo>,
    login_url: Option<String>,
    trouble: Option<String>,
    ports: Vec<u16>,
}

pub struct Node {
    identity: Arc<Identity>,
    kept: Kept,
    heard: Arc<Heard>,
    now: Mutex<Now>,
    running: AsyncMutex<Option<JoinHandle<()>>>,
}

impl Node {
    /// The node with the state in this folder; it connects at once if it was connected when it ended.
    pub async fn open(name: String, folder: PathBuf, echo_port: u16, heard: Arc<Heard>) -> Arc<Self> {
        let now = Now {
            state: "NeedsLogin",
            device: None,
            own: None,
            login_url: None,
            trouble: None,
            ports: vec![echo_port],
        };
        let node = Arc::new(Node {
            identity: Arc::new(Identity::new(name)),
            kept: Kept::new(folder),
            heard,
            now: Mutex::new(now),
            running: AsyncMutex::default(),
        });
        match node.kept.prefs() {
            Some(prefs) if prefs.want_running => node.run(prefs, None).await,
            Some(_) => node.set(|now| now.state = "Stopped"),
            None => {}
        }
        node
    }

    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    pub fn changes(&self) -> watch::Receiver<u64> {
        self.heard.changes()
    }

    /// Connect, and return when that has come to something.
    pub async fn up(self: &Arc<Self>, asked: Up) -> Result<Outcome, String> {
        self.halt().await;
        let prefs = Prefs { login_server: asked.login_server, hostname: asked.hostname, want_running: true };
        self.kept.keep(&prefs)?;
        let mut changes = self.changes();
        self.run(prefs, asked.auth_key).await;
        let settled = async {
            loop {
                changes.borrow_and_update();
                if let Some(outcome) = self.outcome() {
                    return outcome;
                }
                let _ = changes.changed().await;
            }
        };
        let limit = Duration::from_millis(asked.timeout_ms);
        Ok(timeout(limit, settled).await.unwrap_or_else(|_| {
            let trouble = self.now.lock().unwrap().trouble.clone();
            let why = trouble.or_else(|| self.heard.trouble()).unwrap_or("no netmap came".to_owned());
            Outcome { ok: false, message: format!("not connected after {} ms: {why}", limit.as_millis()) }
        }))
    }

    fn outcome(&self) -> Option<Outcome> {
        let now = self.now.lock().unwrap();
        match (now.state, &now.login_url, &now.trouble) {
            ("Running", _, _) => Some(Outcome { ok: true, message: String::new() }),
            ("NeedsLogin", Some(page), _) => {
                Some(Outcome { ok: false, message: format!("to authenticate, visit {page}") })
            }
            ("NeedsLogin", None, Some(why)) => Some(Outcome { ok: false, message: why.clone() }),
            _ => None,
        }
    }

    /// Disconnect; the keys stay.
    pub async fn down(&self) -> Result<(), String> {
        self.halt().await;
        if let Some(mut prefs) = self.kept.prefs() {
            prefs.want_running = false;
            self.kept.keep(&prefs)?;
            self.set(|now| now.state = "Stopped");
        }
        Ok(())
    }

    /// End whatever runs; what was wanted stays wanted.
    pub async fn close(&self) {
        self.halt().await;
    }

    pub async fn status(&self) -> Value {
        let (device, mut view) = {
            let now = self.now.lock().unwrap();
            let view = View {
                state: now.state,
                login_url: now.login_url.clone(),
                health: now.trouble.iter().cloned().collect(),
                own: now.own.clone(),
                peers: Vec::new(),
            };
            (now.device.clone(), view)
        };
        if let Some(device) = device {
            view.peers = self.peers(&device).await;
        }
        render(&view)
    }

    async fn peers(&self, device: &Device) -> Vec<NodeInfo> {
        let mut found: Vec<NodeInfo> = Vec::new();
        for name in self.heard.names() {
            match device.peer(&name).await {
                Asked::Said(Some(peer)) if peer.fqdn(false) == name => found.push(peer),
                Asked::Said(_) => {}
                Asked::NotYet | Asked::Gone => break,
            }
        }
        found
    }

    /// Also answer echoes on this port, now and in every later life.
    pub async fn listen(&self, asked: Listen) -> Result<(), String> {
        let (device, own) = {
            let mut now = self.now.lock().unwrap();
            now.ports.push(asked.port);
            (now.device.clone(), now.own.clone())
        };
        match (device, own) {
            (Some(device), Some(own)) => device
                .listen(addresses(&own), asked.port, &self.identity)
                .await
                .map_err(|error| error.to_string()),
            _ => Ok(()),
        }
    }

    pub async fn resolve(&self, asked: Resolve) -> Resolution {
        let found = self.find(&asked.name).await;
        let addresses = found.iter().map(|peer| &peer.tailnet_address);
        let addresses: Vec<String> = match asked.r#type.as_str() {
            "AAAA" => addresses.map(|a| a.ipv6.addr().to_string()).collect(),
            _ => addresses.map(|a| a.ipv4.addr().to_string()).collect(),
        };
        Resolution { rcode: if addresses.is_empty() { 3 } else { 0 }, addresses }
    }

    async fn find(&self, name: &str) -> Option<NodeInfo> {
        let device = self.now.lock().unwrap().device.clone()?;
        match device.peer(name).await {
            Asked::Said(found) => found,
            Asked::NotYet | Asked::Gone => None,
        }
    }

    /// Probe an address, or a peer by the name that it has in MagicDNS.
    pub async fn probe(&self, asked: probe::Request) -> Result<Probed, String> {
        let target: IpAddr = match asked.address.parse() {
            Ok(address) => address,
            Err(_) => {
                let found = self.find(&asked.address).await;
                found
                    .ok_or(format!("no peer is called {}", asked.address))?
                    .tailnet_address
                    .ipv4
                    .addr()
                    .into()
            }
        };
        let device = self.now.lock().unwrap().device.clone().ok_or("not connected")?;
        probe::run(device, target, &asked).await
    }

    // ---- the runtime's lives

    async fn run(self: &Arc<Self>, prefs: Prefs, auth_key: Option<String>) {
        self.heard.forget();
        self.set(|now| {
            now.state = "Starting";
            now.trouble = None;
        });
        *self.running.lock().await = Some(tokio::spawn(self.clone().stay_connected(prefs, auth_key)));
    }

    async fn halt(&self) {
        if let Some(task) = self.running.lock().await.take() {
            task.abort();
            let _ = task.await;
        }
        let device = self.now.lock().unwrap().device.take();
        if let Some(device) = device {
            device.stop().await;
        }
        self.set(|now| {
            now.own = None;
            now.login_url = None;
        });
    }

    async fn stay_connected(self: Arc<Self>, prefs: Prefs, mut auth_key: Option<String>) {
        loop {
            self.wait_for_server(&prefs.login_server).await;
            let previous = self.now.lock().unwrap().device.take();
            if let Some(previous) = previous {
                previous.stop().await;
            }
            let device = match self.start(&prefs, auth_key.clone()).await {
                Ok(device) => Arc::new(device),
                Err(error) => {
                    self.set(|now| now.trouble = Some(error));
                    sleep(KNOCK).await;
                    continue;
                }
            };
            self.set(|now| now.device = Some(device.clone()));
            if self.watch(&device).await {
                device.stop().await;
                self.set(|now| now.device = None);
                return;
            }
            if self.now.lock().unwrap().own.is_some() {
                auth_key = None; // it has done its work
            }
        }
    }

    async fn start(&self, prefs: &Prefs, auth_key: Option<String>) -> Result<Device, String> {
        let config = ts_control::Config {
            server_url: prefs.login_server.clone(),
            hostname: Some(prefs.hostname.clone()),
            client_name: None,
            tags: Vec::new(),
            ephemeral: false, // the key decides
        };
        Device::start(config, &self.kept.keys().await?, auth_key).await
    }

    /// Follow one device until its control connection is lost (false) or the server will not have us (true).
    async fn watch(&self, device: &Arc<Device>) -> bool {
        let mut changes = self.changes();
        let mut open: Option<[IpAddr; 2]> = None;
        let mut gone = 0;
        loop {
            if let Some(why) = self.heard.refusal() {
                self.set(|now| {
                    now.state = "NeedsLogin";
                    now.trouble = Some(why);
                    now.own = None;
                });
                return true;
            }
            match device.own().await {
                Asked::Said(own) => {
                    gone = 0;
                    if open != Some(addresses(&own)) && self.open_sockets(device, &own).await {
                        open = Some(addresses(&own));
                    }
                    self.learn(own);
                }
                Asked::NotYet => {
                    gone = 0;
                    self.look_for_login(device).await;
                }
                Asked::Gone => gone += 1,
            }
            if gone == GONE_AFTER {
                self.set(|now| {
                    now.state = "Starting";
                    now.trouble = Some("the control connection is lost".to_owned());
                });
                return false;
            }
            let _ = timeout(LOOK, changes.changed()).await;
            changes.borrow_and_update();
        }
    }

    fn learn(&self, own: NodeInfo) {
        let known = {
            let now = self.now.lock().unwrap();
            now.state == "Running" && now.own.as_ref() == Some(&own) && now.trouble.is_none()
        };
        if !known {
            self.set(|now| {
                now.state = "Running";
                now.own = Some(own);
                now.login_url = None;
                now.trouble = None;
            });
        }
    }

    async fn look_for_login(&self, device: &Device) {
        if self.now.lock().unwrap().own.is_none()
            && let Some(page) = device.login_url().await
        {
            let page = page.to_string();
            if self.now.lock().unwrap().login_url.as_ref() != Some(&page) {
                self.set(|now| {
                    now.state = "NeedsLogin";
                    now.login_url = Some(page);
                });
            }
        }
    }

    async fn open_sockets(&self, device: &Device, own: &NodeInfo) -> bool {
        let ports = self.now.lock().unwrap().ports.clone();
        let mut done = device.open(addresses(own)).await;
        for port in ports {
            if done.is_ok() {
                done = device.listen(addresses(own), port, &self.identity).await;
            }
        }
        if let Err(error) = &done {
            eprintln!("opening sockets: {error}");
        }
        done.is_ok()
    }

    /// Return when the control server takes a connection: a runtime that cannot dial gives up for good.
    async fn wait_for_server(&self, server: &Url) {
        let host = server.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
        let port = server.port_or_known_default().unwrap_or(443);
        while let Err(error) = TcpStream::connect((host.as_str(), port)).await {
            let why = format!("cannot reach {host} port {port}: {error}");
            if self.now.lock().unwrap().trouble.as_ref() != Some(&why) {
                self.set(|now| now.trouble = Some(why));
            }
            sleep(KNOCK).await;
        }
    }

    fn set(&self, change: impl FnOnce(&mut Now)) {
        change(&mut self.now.lock().unwrap());
        self.heard.touch();
    }
}

fn addresses(node: &NodeInfo) -> [IpAddr; 2] {
    let addresses = &node.tailnet_address;
    [addresses.ipv4.addr().into(), addresses.ipv6.addr().into()]
}
