//! Probes through the tunnel; requests and results are those of harness/agent/probe.go.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};

use crate::device::Device;
use crate::echo::{Answer, Question, read_line, send_all};

/// How often an unanswered datagram goes out again, as in the agent.
const RESEND: Duration = Duration::from_millis(300);

#[derive(Deserialize)]
pub struct Request {
    /// tcp, udp or icmp.
    pub network: String,
    /// An IP address or the name of a peer.
    pub address: String,
    #[serde(default)]
    pub port: u16,
    pub timeout_ms: u64,
    #[serde(default)]
    pub nonce: String,
}

/// `kind` is empty when it was answered, else refused, timeout, wrong or error.
#[derive(Serialize)]
pub struct Probed {
    pub reached: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    pub elapsed_ms: f64,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub error: String,
}

enum Outcome {
    Answered(Answer),
    Pinged,
    Wrong(String),
    Refused(String),
    Failed(String),
}

/// Try once, for the time that the request gives.
pub async fn run(device: Arc<Device>, target: IpAddr, request: &Request) -> Result<Probed, String> {
    let start = Instant::now();
    let limit = Duration::from_millis(request.timeout_ms);
    let address = SocketAddr::new(target, request.port);
    let outcome = match request.network.as_str() {
        "tcp" => timeout(limit, tcp(device, address, request.nonce.clone())).await,
        "udp" => timeout(limit, udp(&device, address, &request.nonce)).await,
        "icmp" => timeout(limit, ping(&device, target)).await,
        other => return Err(format!("network {other:?} is not tcp, udp or icmp")),
    };
    let elapsed_ms = start.elapsed().as_secs_f64() * 1000.0;
    let (answer, kind, error) = match outcome {
        Ok(Outcome::Answered(answer)) => (Some(answer), "", String::new()),
        Ok(Outcome::Pinged) => (None, "", String::new()),
        Ok(Outcome::Wrong(what)) => (None, "wrong", what),
        Ok(Outcome::Refused(what)) => (None, "refused", what),
        Ok(Outcome::Failed(what)) => (None, "error", what),
        Err(_) => (None, "timeout", format!("no answer within {} ms", request.timeout_ms)),
    };
    Ok(Probed { reached: kind.is_empty(), answer, elapsed_ms, kind, error })
}

/// In a task of its own, which outlives a timeout: see device.rs on dropped streams.
async fn tcp(device: Arc<Device>, target: SocketAddr, nonce: String) -> Outcome {
    let dialogue = tokio::spawn(async move {
        let stream = match device.connect(target).await {
            Ok(stream) => stream,
            Err(error) if error.contains("reset") => return Outcome::Refused(error),
            Err(error) => return Outcome::Failed(error),
        };
        let question = question(&nonce);
        if send_all(&stream, &question).await.is_none() {
            return Outcome::Failed("the connection ended while we asked".to_owned());
        }
        match read_line(&stream).await {
            Some(line) => judge(&line, &nonce),
            None => Outcome::Failed("the connection ended without an answer".to_owned()),
        }
    });
    dialogue.await.unwrap_or_else(|error| Outcome::Failed(error.to_string()))
}

async fn udp(device: &Device, target: SocketAddr, nonce: &str) -> Outcome {
    let (sender, answered) = oneshot::channel();
    device.waiting.nonces.lock().unwrap().insert(nonce.to_owned(), sender);
    let question = question(nonce);
    let asking = async {
        loop {
            if let Err(error) = device.send(target, &question).await {
                return error;
            }
            sleep(RESEND).await;
        }
    };
    tokio::select! {
        Ok(answer) = answered => Outcome::Answered(answer),
        error = asking => Outcome::Failed(error),
    }
}

async fn ping(device: &Device, target: IpAddr) -> Outcome {
    let number = rand::random::<u32>();
    let (sender, mut answered) = oneshot::channel();
    device.waiting.pings.lock().unwrap().insert(number, sender);
    loop {
        if let Err(error) = device.ping(target, number).await {
            return Outcome::Failed(error);
        }
        match timeout(RESEND, &mut answered).await {
            Ok(Ok(source)) if source == target => return Outcome::Pinged,
            Ok(Ok(source)) => return Outcome::Wrong(format!("{source} answered")),
            Ok(Err(_)) => return Outcome::Failed("the device is gone".to_owned()),
            Err(_) => {}
        }
    }
}

fn question(nonce: &str) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Question { nonce: nonce.to_owned() }).expect("a string is JSON");
    line.push(b'\n');
    line
}

fn judge(raw: &[u8], nonce: &str) -> Outcome {
    match serde_json::from_slice::<Answer>(raw) {
        Ok(answer) if answer.nonce == nonce => Outcome::Answered(answer),
        _ => Outcome::Wrong(format!("the answer is to another question: {}", String::from_utf8_lossy(raw))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_counts_only_with_the_nonce_of_its_question() {
        let line = br#"{"name":"a","instance":"1","nonce":"n","source":"100.64.0.1:5"}"#;
        assert!(matches!(judge(line, "n"), Outcome::Answered(_)));
        assert!(matches!(judge(line, "m"), Outcome::Wrong(_)));
    }
}
