//! Tools of MCP servers: programs that a person has configured and that offer tools over their
//! standard input and output.
//!
//! The protocol is `rmcp`'s, on a small runtime of its own that nobody else sees. A tool is called
//! `SERVER__TOOL` and has the server's schema; its calls need consent, have a time limit, and give
//! bounded results. Servers are a person's own programs: they run without a sandbox, as they are
//! started, and what they do is theirs. What they say is bytes from outside like any other.

mod config;
mod connection;

pub use config::{Config, ServerConfig};

use std::collections::HashSet;
use std::io;
use std::sync::Arc;

use serde_json::Value;
use text::ToolSpec;

use crate::event::Shown;
use crate::harmless;
use crate::tools::{Arguments, Need, Outcome, Plan, Stop, Tool, bounded, done, failed, head};
use crate::workplace::Workplace;

use connection::{Connection, Offer};

const TOOLS_MAX: usize = 128;
const NAME_BYTES_MAX: usize = 64;
const DESCRIPTION_BYTES_MAX: usize = 2 << 10;
const SCHEMA_BYTES_MAX: usize = 16 << 10;

/// What came of starting servers.
#[derive(Default)]
pub struct Started {
    /// Their tools.
    pub tools: Vec<Box<dyn Tool>>,
    /// What went wrong, in lines for people; the rest works.
    pub notices: Vec<String>,
}

/// Starts the servers of a configuration in a tree, and asks them for their tools. `taken` are
/// names that other tools have.
///
/// # Errors
/// The runtime cannot be started. A server that fails is a notice.
pub fn start(config: &Config, place: &Arc<Workplace>, taken: &[String]) -> io::Result<Started> {
    let mut started = Started::default();
    if config.servers.is_empty() {
        return Ok(started);
    }
    let mut names: HashSet<String> = taken.iter().cloned().collect();
    for (server, connected) in connection::connect_all(config, place.tree())? {
        let (connection, offers) = match connected {
            Ok(connected) => connected,
            Err(why) => {
                let why = harmless::shown_in_line(&why);
                started.notices.push(format!("the MCP server {server} cannot be used: {why}"));
                continue;
            }
        };
        for offer in offers {
            let room = started.tools.len() < TOOLS_MAX;
            match ServerTool::new(&server, offer, &connection, place) {
                Ok(_) if !room => {
                    started.notices.push(format!("tools after the first {TOOLS_MAX} are left out"));
                    return Ok(started);
                }
                Ok(tool) if names.insert(tool.spec.name.clone()) => {
                    started.tools.push(Box::new(tool));
                }
                Ok(tool) => started.notices.push(format!(
                    "the MCP server {server} has a tool {}, but there is one of this name already",
                    tool.spec.name
                )),
                Err(why) => started.notices.push(why),
            }
        }
    }
    Ok(started)
}

struct ServerTool {
    spec: ToolSpec,
    /// What the server calls it.
    name: String,
    server: String,
    connection: Arc<Connection>,
    place: Arc<Workplace>,
}

impl ServerTool {
    fn new(
        server: &str,
        offer: Offer,
        connection: &Arc<Connection>,
        place: &Arc<Workplace>,
    ) -> Result<ServerTool, String> {
        let full = format!("{server}__{}", offer.name);
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        let schema_bytes = offer.schema.to_string().len();
        if offer.name.is_empty()
            || full.len() > NAME_BYTES_MAX
            || !offer.name.chars().all(plain)
            || schema_bytes > SCHEMA_BYTES_MAX
            || !matches!(offer.schema, Value::Object(_))
        {
            return Err(format!(
                "a tool of the MCP server {server} is left out: {} with a schema of {schema_bytes} \
                 bytes (names have at most {NAME_BYTES_MAX} letters, schemas {SCHEMA_BYTES_MAX} \
                 bytes)",
                harmless::shown_in_line(head(&full, NAME_BYTES_MAX))
            ));
        }
        let description =
            offer.description.map(|text| harmless::shown(head(&text, DESCRIPTION_BYTES_MAX)));
        Ok(ServerTool {
            spec: ToolSpec::new(full, description, Some(offer.schema)),
            name: offer.name,
            server: server.to_owned(),
            connection: Arc::clone(connection),
            place: Arc::clone(place),
        })
    }
}

impl Tool for ServerTool {
    fn spec(&self) -> ToolSpec {
        self.spec.clone()
    }

    fn plan(&self, arguments: &Arguments) -> Result<Plan, String> {
        let given = serde_json::to_string_pretty(arguments).map_err(|error| error.to_string())?;
        Ok(Plan {
            title: format!("{} of {}", self.name, self.server),
            needs: vec![Need::Ask(self.server.clone(), self.name.clone())],
            detail: Shown::Text(harmless::shown(&given)),
        })
    }

    fn run(
        &self,
        arguments: &Arguments,
        _: &Plan,
        _: &mut dyn FnMut(&str),
        stop: &Stop,
    ) -> Outcome {
        let said = self.connection.call(&self.name, arguments.clone(), stop);
        let (text, is_error) = match said {
            Ok(said) => said,
            Err(why) => return failed(format!("{}: {why}", self.server)),
        };
        let text = if text.is_empty() { "[the tool says nothing]".to_owned() } else { text };
        Outcome { failed: is_error, ..done(bounded(&self.place, "result", text)) }
    }
}
