//! tailscale-rs as a client that the harness drives: it joins a tailnet on command, answers echoes there, and
//! probes others through its tunnel.
//!
//! Commands are JSON lines on a Unix socket, as the harness's agent has them (harness/agent/main.go): a request
//! is `{"id": n, "op": "...", ...}`, its answer has the same id and `result` or `error`, and a line with
//! `event` instead of `id` says that the status may have changed. SIGTERM ends the program.

mod device;
mod echo;
mod heard;
mod icmp;
mod kept;
mod node;
mod probe;
mod status;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use node::Node;

const USAGE: &str = "usage: harness-rust-client --name NAME --socket PATH --state FOLDER --echo-port PORT";

#[derive(Deserialize)]
struct Head {
    id: u64,
    op: String,
}

struct Options {
    name: String,
    socket: PathBuf,
    state: PathBuf,
    echo_port: u16,
}

#[tokio::main]
async fn main() {
    let options = options(std::env::args().skip(1)).unwrap_or_else(|complaint| {
        eprintln!("{complaint}\n{USAGE}");
        std::process::exit(2);
    });
    let heard = heard::install();
    let node = Node::open(options.name, options.state, options.echo_port, heard).await;
    let listener = listen(&options.socket).unwrap_or_else(|error| {
        eprintln!("{}: {error}", options.socket.display());
        std::process::exit(1);
    });
    let mut terminated = signal(SignalKind::terminate()).expect("SIGTERM can be handled");
    loop {
        tokio::select! {
            _ = terminated.recv() => break,
            accepted = listener.accept() => if let Ok((stream, _)) = accepted {
                tokio::spawn(serve(node.clone(), stream));
            },
        }
    }
    node.close().await;
}

fn options(mut words: impl Iterator<Item = String>) -> Result<Options, String> {
    let (mut name, mut socket, mut state, mut echo_port) = (None, None, None, None);
    while let Some(word) = words.next() {
        let value = words.next().ok_or(format!("{word} needs a value"))?;
        match word.as_str() {
            "--name" => name = Some(value),
            "--socket" => socket = Some(PathBuf::from(value)),
            "--state" => state = Some(PathBuf::from(value)),
            "--echo-port" => echo_port = Some(value.parse().map_err(|_| format!("port {value}"))?),
            _ => return Err(format!("unknown option {word}")),
        }
    }
    Ok(Options {
        name: name.ok_or("--name is missing")?,
        socket: socket.ok_or("--socket is missing")?,
        state: state.ok_or("--state is missing")?,
        echo_port: echo_port.ok_or("--echo-port is missing")?,
    })
}

/// Replaces a socket that an earlier run left. Every user of the machine may connect: the directory's own
/// permissions say who gets that far.
fn listen(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::remove_file(path);
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    Ok(listener)
}

async fn serve(node: Arc<Node>, stream: UnixStream) {
    let (reader, mut writer) = stream.into_split();
    let (lines, mut outgoing) = mpsc::channel::<Value>(64);
    tokio::spawn(async move {
        while let Some(value) = outgoing.recv().await {
            if writer.write_all(format!("{value}\n").as_bytes()).await.is_err() {
                return;
            }
        }
    });
    let telling = tokio::spawn(tell_changes(node.clone(), lines.clone()));
    let mut requests = BufReader::new(reader).lines();
    while let Ok(Some(line)) = requests.next_line().await {
        tokio::spawn(answer(node.clone(), line, lines.clone()));
    }
    telling.abort();
}

async fn tell_changes(node: Arc<Node>, lines: mpsc::Sender<Value>) {
    let mut changes = node.changes();
    while changes.changed().await.is_ok() {
        if lines.send(json!({"event": "changed"})).await.is_err() {
            return;
        }
    }
}

async fn answer(node: Arc<Node>, line: String, lines: mpsc::Sender<Value>) {
    let head: Head = match serde_json::from_str(&line) {
        Ok(head) => head,
        Err(error) => {
            let _ = lines.send(json!({"error": format!("not a request: {error}")})).await;
            return;
        }
    };
    let reply = match handle(&node, &head.op, &line).await {
        Ok(result) => json!({"id": head.id, "result": result}),
        Err(error) => json!({"id": head.id, "error": error}),
    };
    let _ = lines.send(reply).await;
}

async fn handle(node: &Arc<Node>, op: &str, line: &str) -> Result<Value, String> {
    match op {
        "hello" => Ok(json!(node.identity())),
        "up" => node.up(decode(line)?).await.map(|outcome| json!(outcome)),
        "down" => node.down().await.map(|()| json!({})),
        "status" => Ok(node.status().await),
        "listen" => node.listen(decode(line)?).await.map(|()| json!({})),
        "resolve" => Ok(json!(node.resolve(decode(line)?).await)),
        "probe" => node.probe(decode(line)?).await.map(|probed| json!(probed)),
        _ => Err(format!("unknown op {op:?}")),
    }
}

fn decode<'a, T: Deserialize<'a>>(line: &'a str) -> Result<T, String> {
    serde_json::from_str(line).map_err(|error| error.to_string())
}
