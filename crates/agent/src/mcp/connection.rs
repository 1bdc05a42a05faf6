//! A running server: its process, its session, and the runtime that both live on.
//!
//! The rest of the agent is made of plain threads, so the calls here block, and look at `Stop`
//! while they wait. A server has a process group of its own, which ends with the last of its tools.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rmcp::model::{
    CallToolRequestParams, CallToolResult, ContentBlock, PaginatedRequestParams, ResourceContents,
};
use rmcp::service::{Peer, RunningService, ServiceError};
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleClient, ServiceExt};
use rustix::process::{Pid, Signal};
use serde_json::{Map, Value};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::{Child, Command};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::{Config, ServerConfig};
use crate::harmless;
use crate::tools::Stop;

/// How long a server may take until it has told its tools. Some are installed at their first start.
const START_TIME_MAX: Duration = Duration::from_secs(60);
const CALL_TIME_MAX: Duration = Duration::from_secs(300);
const LOOK_EVERY: Duration = Duration::from_millis(50);
const MESSAGE_BYTES_MAX: usize = 4 << 20;
const PAGES_MAX: usize = 32;
const OFFERS_MAX: usize = 512;
/// How much is kept of what a server says on its standard error.
const WORDS_BYTES_MAX: usize = 2 << 10;

/// A tool as its server describes it.
pub struct Offer {
    pub name: String,
    pub description: Option<String>,
    pub schema: Value,
}

/// A server that runs.
pub struct Connection {
    begun: Begun,
    /// Goes last, and never on a thread of its own: tasks do not hold it.
    runtime: Arc<Runtime>,
}

/// A process that has told its tools.
struct Begun {
    peer: Peer<RoleClient>,
    /// Ends the session when it goes.
    _session: RunningService<RoleClient, ()>,
    child: Mutex<Child>,
    words: Words,
}

/// The end of what a server says on its standard error.
struct Words {
    said: Arc<Mutex<VecDeque<u8>>>,
    /// Ends when nothing comes any more.
    listening: tokio::sync::Mutex<JoinHandle<()>>,
}

type Connected = Result<(Arc<Connection>, Vec<Offer>), String>;

/// Starts all servers at the same time.
pub fn connect_all(config: &Config, folder: &Path) -> io::Result<Vec<(String, Connected)>> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = Arc::new(builder.worker_threads(1).thread_name("mcp").enable_all().build()?);
    let mut waiting = Vec::new();
    for (name, server) in &config.servers {
        let connecting = connect(server.clone(), folder.to_owned());
        waiting.push((name.clone(), runtime.spawn(connecting)));
    }
    let mut connected = Vec::new();
    for (name, handle) in waiting {
        let result = runtime.block_on(handle);
        let result = result.unwrap_or_else(|error| Err(error.to_string()));
        let result = result.map(|(begun, offers)| {
            let runtime = Arc::clone(&runtime);
            (Arc::new(Connection { begun, runtime }), offers)
        });
        connected.push((name, result));
    }
    Ok(connected)
}

async fn connect(server: ServerConfig, folder: PathBuf) -> Result<(Begun, Vec<Offer>), String> {
    let mut child = Command::new(&server.command)
        .args(&server.args)
        .envs(&server.env)
        .current_dir(folder)
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("{}: {error}", server.command))?;
    let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let (Some(input), Some(output), Some(errors)) = (input, output, errors) else {
        return Err("it has no standard input and output".to_owned());
    };
    let said = Arc::new(Mutex::new(VecDeque::new()));
    let listening = tokio::sync::Mutex::new(tokio::spawn(listen(errors, Arc::clone(&said))));
    let words = Words { said, listening };
    let transport =
        AsyncRwTransport::new_client(output, input).with_max_line_length(MESSAGE_BYTES_MAX);
    let begun = tokio::time::timeout(START_TIME_MAX, async {
        let session = ().serve(transport).await.map_err(|error| error.to_string())?;
        let offers = offers(session.peer()).await.map_err(|error| error.to_string())?;
        Ok((session, offers))
    });
    let begun = begun.await.unwrap_or_else(|_| {
        Err(format!("it has not told its tools within {} s", START_TIME_MAX.as_secs()))
    });
    match begun {
        Ok((session, offers)) => {
            let (peer, child) = (session.peer().clone(), Mutex::new(child));
            Ok((Begun { peer, _session: session, child, words }, offers))
        }
        Err(why) => {
            end(&mut child);
            Err(format!("{why}{}", words.last().await))
        }
    }
}

/// Keeps the end of what a server says aside.
async fn listen(mut errors: impl AsyncRead + Unpin, words: Arc<Mutex<VecDeque<u8>>>) {
    let mut piece = [0; 1024];
    while let Ok(count @ 1..) = errors.read(&mut piece).await {
        let mut words = words.lock().unwrap_or_else(PoisonError::into_inner);
        words.extend(&piece[..count]);
        let surplus = words.len().saturating_sub(WORDS_BYTES_MAX);
        words.drain(..surplus);
    }
}

impl Words {
    /// What a server that has ended said last, if it said anything, to be put behind an error.
    async fn last(&self) -> String {
        // It has ended, so the rest comes at once, unless somebody else holds the other end.
        const REST_WITHIN: Duration = Duration::from_millis(500);
        let mut listening = self.listening.lock().await;
        if !listening.is_finished() {
            let _ = tokio::time::timeout(REST_WITHIN, &mut *listening).await;
        }
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let text = harmless::output(said.make_contiguous());
        match text.trim() {
            "" => String::new(),
            text => format!("; it said last: {text}"),
        }
    }
}

async fn offers(peer: &Peer<RoleClient>) -> Result<Vec<Offer>, ServiceError> {
    let mut offers = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES_MAX {
        let page = PaginatedRequestParams::default().with_cursor(cursor.take());
        let page = peer.list_tools(Some(page)).await?;
        offers.extend(page.tools.into_iter().map(|tool| Offer {
            name: tool.name.into_owned(),
            description: tool.description.map(|text| text.into_owned()),
            schema: Value::Object((*tool.input_schema).clone()),
        }));
        cursor = page.next_cursor;
        if cursor.is_none() || offers.len() > OFFERS_MAX {
            break;
        }
    }
    Ok(offers)
}

impl Connection {
    /// Calls a tool; what it said, and whether that is an error.
    ///
    /// # Errors
    /// There is no answer: why, for the model.
    pub fn call(
        &self,
        tool: &str,
        arguments: Map<String, Value>,
        stop: &Stop,
    ) -> Result<(String, bool), String> {
        let request = CallToolRequestParams::new(tool.to_owned()).with_arguments(arguments);
        let answered = self.runtime.block_on(async {
            tokio::select! {
                answer = self.begun.peer.call_tool(request) => Some(answer),
                () = stopped(stop) => None,
                () = tokio::time::sleep(CALL_TIME_MAX) => None,
            }
        });
        match answered {
            Some(Ok(result)) => Ok(text_of(&result)),
            Some(Err(ServiceError::TransportClosed | ServiceError::TransportSend(_))) => {
                let last = self.runtime.block_on(self.begun.words.last());
                Err(format!("the server has ended{last}"))
            }
            Some(Err(ServiceError::McpError(error))) => {
                Err(format!("the server refuses: {}", harmless::shown(&error.message)))
            }
            Some(Err(error)) => Err(format!("no answer: {error}")),
            None if stop.is_stopped() => Err("stopped".to_owned()),
            None => Err(format!("no answer within {} s", CALL_TIME_MAX.as_secs())),
        }
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        end(self.child.get_mut().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Ends a server and what it started.
fn end(child: &mut Child) {
    // Its number is its own as long as nobody has waited for it.
    let group = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(group) = group {
        let _ = rustix::process::kill_process_group(group, Signal::KILL);
    }
}

async fn stopped(stop: &Stop) {
    while !stop.is_stopped() {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// What of a result is text.
fn text_of(result: &CallToolResult) -> (String, bool) {
    let mut parts: Vec<String> = Vec::new();
    for block in &result.content {
        parts.push(match block {
            ContentBlock::Text(text) => text.text.clone(),
            ContentBlock::Image(image) => format!("[an image: {}]", image.mime_type),
            ContentBlock::Audio(audio) => format!("[a sound: {}]", audio.mime_type),
            ContentBlock::ResourceLink(link) => format!("[see {}]", link.uri),
            ContentBlock::Resource(resource) => match &resource.resource {
                ResourceContents::TextResourceContents { text, .. } => text.clone(),
                ResourceContents::BlobResourceContents { uri, .. } => format!("[see {uri}]"),
                _ => "[a resource of a kind that is not known]".to_owned(),
            },
            _ => "[a result of a kind that is not known]".to_owned(),
        });
    }
    if let (true, Some(structured)) = (parts.is_empty(), &result.structured_content) {
        parts.push(structured.to_string());
    }
    (parts.join("\n"), result.is_error.unwrap_or(false))
}
