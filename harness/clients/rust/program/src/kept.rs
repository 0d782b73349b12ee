//! What survives the program: the keys, in the crate's own file, and what its user wanted last.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use tailscale::config::{BadFormatBehavior, load_key_file};
use tailscale::keys::PersistState;
use url::Url;

#[derive(Clone, Deserialize, Serialize)]
pub struct Prefs {
    pub login_server: Url,
    pub hostname: String,
    pub want_running: bool,
}

/// The folder that holds it.
pub struct Kept(PathBuf);

impl Kept {
    pub fn new(folder: PathBuf) -> Self {
        Kept(folder)
    }

    /// The keys, made at first use.
    pub async fn keys(&self) -> Result<PersistState, String> {
        let file = self.0.join("keys.json");
        load_key_file(file, BadFormatBehavior::Error).await.map_err(|error| error.to_string())
    }

    pub fn prefs(&self) -> Option<Prefs> {
        let text = std::fs::read(self.0.join("prefs.json")).ok()?;
        serde_json::from_slice(&text).ok()
    }

    pub fn keep(&self, prefs: &Prefs) -> Result<(), String> {
        let text = serde_json::to_vec(prefs).map_err(|error| error.to_string())?;
        std::fs::create_dir_all(&self.0).map_err(|error| error.to_string())?;
        std::fs::write(self.0.join("prefs.json"), text).map_err(|error| error.to_string())
    }
}
