//! One life of the crate's runtime: what `tailscale::Device` is, plus the raw sockets that it does not offer.
//!
//! Two rules keep the network stack of 0.6.1 alive: a UDP or raw socket is never dropped while a read of it is
//! pending (the stack looks the socket up when it takes the read up again, and panics), so each has one task
//! that reads it for as long as the stack runs; and a TCP stream is never dropped in the middle of a read.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tailscale::keys::PersistState;
use tokio::sync::oneshot;
use tokio::time::timeout;
use ts_control::{Config, Node as NodeInfo};
use ts_netstack_smoltcp::CreateSocket;
use ts_netstack_smoltcp::netcore::{Channel, Error};
use ts_netstack_smoltcp::netsock::{IpProtocol, RawSocket, TcpStream, UdpSocket};
use ts_runtime::peer_tracker::PeerByName;
use ts_runtime::{ActorRef, AuthUrl, GetChannel, Runtime, SelfNode, Spawn};

use crate::echo::{Answer, Identity, serve_tcp, serve_udp};
use crate::icmp::{self, Echo, Kind};

/// From spawning the runtime to its control runner: one connection and one handshake.
const START: Duration = Duration::from_secs(10);

/// An answer of the runtime. It withholds some until the first netmap, so a late one means "not yet".
const ASK: Duration = Duration::from_millis(200);

const STOP: Duration = Duration::from_secs(2);

/// Where UDP probes come from.
const PROBE_PORT: u16 = 40_000;

/// Connections come from above this one, as Device has them.
const FIRST_EPHEMERAL_PORT: u16 = 49_152;

/// What the runtime said when asked.
pub enum Asked<T> {
    Said(T),
    NotYet,
    Gone,
}

/// Answers that probes wait for: UDP by nonce, ICMP by number.
#[derive(Default)]
pub struct Waiting {
    pub nonces: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
    pub pings: Mutex<HashMap<u32, oneshot::Sender<IpAddr>>>,
}

#[derive(Clone)]
struct Probing {
    own: IpAddr,
    udp: Arc<UdpSocket>,
    raw: Arc<RawSocket>,
}

pub struct Device {
    runtime: ActorRef<Runtime>,
    channel: Channel,
    pub waiting: Arc<Waiting>,
    probing: Mutex<Vec<Probing>>,
}

impl Device {
    /// Start the runtime, which registers and reads the netmap by itself. The control server must answer, or it
    /// never starts.
    pub async fn start(
        config: Config,
        keys: &PersistState,
        auth_key: Option<String>,
    ) -> Result<Self, String> {
        let config = ts_runtime::Config { control_config: config, auth_key, keys: keys.into() };
        let runtime = Runtime::spawn(config);
        match timeout(START, Self::ready(&runtime)).await {
            Ok(Ok(channel)) => {
                Ok(Device { runtime, channel, waiting: Arc::default(), probing: Mutex::default() })
            }
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => {
                runtime.kill();
                Err(format!("the runtime did not start within {} s", START.as_secs()))
            }
        }
    }

    async fn ready(runtime: &ActorRef<Runtime>) -> Result<Channel, ts_runtime::Error> {
        runtime.wait_for_startup_result().await?;
        let (channel,) = runtime.ask(GetChannel).await?;
        Ok(channel)
    }

    /// End the runtime.
    pub async fn stop(&self) {
        let ended = async {
            let _ = self.runtime.stop_gracefully().await;
            self.runtime.wait_for_shutdown().await;
        };
        if timeout(STOP, ended).await.is_err() {
            self.runtime.kill();
        }
    }

    /// Our own node as the netmap has it.
    pub async fn own(&self) -> Asked<NodeInfo> {
        match timeout(ASK, self.runtime.ask(SelfNode)).await {
            Ok(Ok(Some(node))) => Asked::Said(node),
            Ok(Err(_)) => Asked::Gone,
            _ => Asked::NotYet,
        }
    }

    /// The page that a person must visit to log us in, if the server named one.
    pub async fn login_url(&self) -> Option<url::Url> {
        timeout(ASK, self.runtime.ask(AuthUrl)).await.ok()?.ok()?
    }

    /// The peer of this name, as `Device::peer_by_name`.
    pub async fn peer(&self, name: &str) -> Asked<Option<NodeInfo>> {
        match timeout(ASK, self.runtime.ask(PeerByName { name: name.to_owned() })).await {
            Ok(Ok(node)) => Asked::Said(node),
            Ok(Err(_)) => Asked::Gone,
            Err(_) => Asked::NotYet,
        }
    }

    /// Take the sockets for probes on these addresses, and answer pings there.
    pub async fn open(&self, addresses: [IpAddr; 2]) -> Result<(), Error> {
        for own in addresses {
            let protocol = if own.is_ipv4() { IpProtocol::Icmp } else { IpProtocol::Icmpv6 };
            let udp = Arc::new(self.channel.udp_bind((own, PROBE_PORT).into()).await?);
            let raw = Arc::new(self.channel.raw_open(own.is_ipv4(), protocol).await?);
            tokio::spawn(read_answers(udp.clone(), self.waiting.clone()));
            tokio::spawn(read_pings(raw.clone(), own, self.waiting.clone()));
            self.probing.lock().unwrap().push(Probing { own, udp, raw });
        }
        Ok(())
    }

    /// Answer echoes on this port of these addresses.
    pub async fn listen(
        &self,
        addresses: [IpAddr; 2],
        port: u16,
        identity: &Arc<Identity>,
    ) -> Result<(), Error> {
        for own in addresses {
            let packets = self.channel.udp_bind((own, port).into()).await?;
            let streams = self.channel.tcp_listen((own, port).into()).await?;
            tokio::spawn(serve_udp(packets, identity.clone()));
            tokio::spawn(serve_tcp(streams, identity.clone()));
        }
        Ok(())
    }

    /// Connect from our own address of the target's family.
    pub async fn connect(&self, target: SocketAddr) -> Result<TcpStream, String> {
        let own = self.probing(target.ip())?.own;
        let port = rand::random_range(FIRST_EPHEMERAL_PORT..=u16::MAX);
        self.channel.tcp_connect((own, port).into(), target).await.map_err(|error| error.to_string())
    }

    /// Send one datagram from the port that answers are read from.
    pub async fn send(&self, target: SocketAddr, data: &[u8]) -> Result<(), String> {
        let udp = self.probing(target.ip())?.udp;
        udp.send_to(target, data).await.map_err(|error| error.to_string())
    }

    /// Send one ICMP echo request of this number.
    pub async fn ping(&self, target: IpAddr, number: u32) -> Result<(), String> {
        let probing = self.probing(target)?;
        let packet = Echo::request(probing.own, target, number).packet().ok_or("families differ")?;
        probing.raw.send(&packet).await.map_err(|error| error.to_string())
    }

    fn probing(&self, target: IpAddr) -> Result<Probing, String> {
        let probing = self.probing.lock().unwrap();
        let found = probing.iter().find(|p| p.own.is_ipv4() == target.is_ipv4());
        found.cloned().ok_or("we have no address of that family yet".to_owned())
    }
}

async fn read_answers(socket: Arc<UdpSocket>, waiting: Arc<Waiting>) {
    while let Ok((_, raw)) = socket.recv_from_bytes().await {
        if let Ok(answer) = serde_json::from_slice::<Answer>(&raw)
            && let Some(waiter) = waiting.nonces.lock().unwrap().remove(&answer.nonce)
        {
            let _ = waiter.send(answer);
        }
    }
}

async fn read_pings(socket: Arc<RawSocket>, own: IpAddr, waiting: Arc<Waiting>) {
    while let Ok(packet) = socket.recv_bytes().await {
        match icmp::parse(&packet) {
            Some(echo) if echo.target != own => {}
            Some(echo) if echo.kind == Kind::Request => {
                if let Some(reply) = echo.reply().packet() {
                    let _ = socket.send(&reply).await;
                }
            }
            Some(echo) => {
                if let Some(waiter) = waiting.pings.lock().unwrap().remove(&echo.number()) {
                    let _ = waiter.send(echo.source);
                }
            }
            None => {}
        }
    }
}
