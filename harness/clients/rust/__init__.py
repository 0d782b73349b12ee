"""The official Rust client (tailscale-rs): a small program around its crates, and the harness's side of it."""
