//! Answers echoes on the tailnet addresses with our identity, the question's nonce and the source that we saw;
//! the format is that of harness/agent/echo.go.

use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ts_netstack_smoltcp::netsock::{TcpListener, TcpStream, UdpSocket};

/// Bounds one question or answer, which must fit one datagram inside a tunnel of 1280 bytes.
pub const MAX_ECHO: usize = 1200;

/// Who answers: the name we were given and a number drawn at start, so that an answer from an earlier life is
/// told apart.
#[derive(Clone, Serialize)]
pub struct Identity {
    pub name: String,
    pub instance: String,
}

impl Identity {
    pub fn new(name: String) -> Self {
        Identity { name, instance: format!("{:016x}", rand::random::<u64>()) }
    }
}

#[derive(Deserialize, Serialize)]
pub struct Question {
    pub nonce: String,
}

#[derive(Serialize, Deserialize, Clone)]
pub struct Answer {
    pub name: String,
    pub instance: String,
    pub nonce: String,
    /// Where the question came from, as `address:port`.
    pub source: String,
    /// The tailnet addresses of whoever tailscaled says is behind it; empty when the agent did not need to ask.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub peer: Vec<String>,
}

fn reply(identity: &Identity, raw: &[u8], source: SocketAddr) -> Option<Vec<u8>> {
    let question: Question = serde_json::from_slice(raw).ok()?;
    let answer = Answer {
        name: identity.name.clone(),
        instance: identity.instance.clone(),
        nonce: question.nonce,
        source: source.to_string(),
        peer: Vec::new(),
    };
    let mut line = serde_json::to_vec(&answer).ok()?;
    line.push(b'\n');
    Some(line)
}

/// Answer over UDP until the network stack ends.
pub async fn serve_udp(socket: UdpSocket, identity: Arc<Identity>) {
    while let Ok((source, raw)) = socket.recv_from_bytes().await {
        if let Some(line) = reply(&identity, &raw, source) {
            let _ = socket.send_to(source, &line).await;
        }
    }
}

/// Answer over TCP, one question a connection, until the network stack ends.
pub async fn serve_tcp(listener: TcpListener, identity: Arc<Identity>) {
    while let Ok(stream) = listener.accept().await {
        let identity = identity.clone();
        tokio::spawn(async move {
            if let Some(line) = read_line(&stream).await
                && let Some(line) = reply(&identity, &line, stream.remote_addr())
            {
                let _ = send_all(&stream, &line).await;
            }
        });
    }
}

/// Read up to a newline; None at the end of the stream or when there is none in MAX_ECHO bytes.
///
/// Never to be cut short from outside: the stack panics when a socket goes while it still owes it a read.
pub async fn read_line(stream: &TcpStream) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    while line.len() < MAX_ECHO {
        let bytes = stream.recv_bytes().await.ok()?;
        if bytes.is_empty() {
            return None;
        }
        line.extend_from_slice(&bytes);
        if line.contains(&b'\n') {
            return Some(line);
        }
    }
    None
}

/// Send all of it.
pub async fn send_all(stream: &TcpStream, mut data: &[u8]) -> Option<()> {
    while !data.is_empty() {
        let sent = stream.send(data).await.ok()?;
        data = &data[sent..];
    }
    Some(())
}
