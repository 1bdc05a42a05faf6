//! Which servers there are: a JSON file in the form that other agents use too.
//!
//! `{"mcpServers": {"NAME": {"command": "...", "args": ["..."], "env": {"KEY": "VALUE"}}}}`. Keys
//! that are not known here are left alone, since the file may be shared; servers that are not
//! reached over standard input and output are an error that says so.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use serde::Deserialize;

const FILE_BYTES_MAX: u64 = 1 << 20;
const SERVERS_MAX: usize = 32;
const NAME_BYTES_MAX: usize = 32;

/// The servers of a file, by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Config {
    /// How each is started.
    pub servers: BTreeMap<String, ServerConfig>,
}

/// How a server is started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ServerConfig {
    /// The program.
    pub command: String,
    /// Its arguments.
    pub args: Vec<String>,
    /// Variables beside those of this process.
    pub env: BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Stored {
    #[serde(rename = "mcpServers")]
    servers: BTreeMap<String, StoredServer>,
}

#[derive(Deserialize)]
struct StoredServer {
    command: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
}

impl Config {
    /// Reads a file.
    ///
    /// # Errors
    /// It is not there or not understood; the message names it.
    pub fn open(path: &Path) -> io::Result<Config> {
        let named =
            |kind, what: String| io::Error::new(kind, format!("{}: {what}", path.display()));
        // The path is the person's own, so links in it are meant.
        let size = std::fs::metadata(path).map_err(|e| named(e.kind(), e.to_string()))?.len();
        if size > FILE_BYTES_MAX {
            let what = format!("{size} bytes, at most {FILE_BYTES_MAX} are read");
            return Err(named(io::ErrorKind::FileTooLarge, what));
        }
        let text = std::fs::read_to_string(path).map_err(|e| named(e.kind(), e.to_string()))?;
        Config::parse(&text).map_err(|what| named(io::ErrorKind::InvalidData, what))
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong, and with which server.
    pub fn parse(text: &str) -> Result<Config, String> {
        let stored: Stored = serde_json::from_str(text).map_err(|e| e.to_string())?;
        if stored.servers.len() > SERVERS_MAX {
            return Err(format!("{} servers, at most {SERVERS_MAX}", stored.servers.len()));
        }
        let mut servers = BTreeMap::new();
        for (name, server) in stored.servers {
            let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
            if name.is_empty()
                || name.len() > NAME_BYTES_MAX
                || !name.chars().all(plain)
                || name.contains("__")
            {
                return Err(format!(
                    "{name:?} cannot be a server's name: use up to {NAME_BYTES_MAX} letters, \
                     digits, - and single _"
                ));
            }
            let command = server.command.filter(|command| !command.is_empty());
            let command = command.ok_or_else(|| {
                format!("the server {name} has no command; only servers over stdio can be used")
            })?;
            let (args, env) = (server.args, server.env);
            servers.insert(name, ServerConfig { command, args, env });
        }
        Ok(Config { servers })
    }
}
