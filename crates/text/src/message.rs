//! The vocabulary of a conversation: what callers hand to the renderer.
//!
//! Servers of every dialect and the agent turn their own requests into these types. They say
//! what was said, by whom, with which tools; how it looks in the prompt is the business of
//! `render`, and where it came from is nobody's business here. Start at [`Conversation`], then
//! [`RenderOptions`].

use std::str::FromStr;

use serde_json::{Value, json};

use crate::{Error, Prompt, json};

/// What was said so far, oldest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Conversation {
    /// Oldest first.
    pub messages: Vec<Message>,
}

/// One message, in the roles that the model was trained with.
#[derive(Clone, Debug, PartialEq)]
pub enum Message {
    /// Instructions; rendered without a marker, wherever they stand. Not usable as the last
    /// message of a prompt that is to be continued: no assistant turn is opened after it.
    System(Instructions),
    /// The search pipeline's own role, rendered as a user turn. The `developer` messages of chat
    /// clients are meant as system material and should be given as such.
    Developer(Instructions),
    /// A line of circumstances (date, place) under its own marker.
    LatestReminder(String),
    /// A user's message; neighbours become one turn.
    User(User),
    /// A tool's answer as a message of its own; it becomes part of a user turn.
    Tool(ToolResult),
    /// A turn of the model.
    Assistant(Assistant),
}

impl Message {
    /// A system message of plain text.
    pub fn system(text: impl Into<String>) -> Message {
        Message::System(Instructions { text: text.into(), ..Instructions::default() })
    }

    /// A user message of plain text.
    pub fn user(text: impl Into<String>) -> Message {
        Message::User(User { blocks: vec![Block::Text(text.into())], task: None })
    }

    /// A tool's answer of plain text.
    pub fn tool(call_id: impl Into<String>, text: impl Into<String>) -> Message {
        Message::Tool(ToolResult::text(call_id, text))
    }

    /// An assistant turn of plain text.
    pub fn assistant(text: impl Into<String>) -> Message {
        Message::Assistant(Assistant { text: text.into(), ..Assistant::default() })
    }

    /// Who speaks.
    pub fn role(&self) -> Role {
        match self {
            Message::System(_) => Role::System,
            Message::Developer(_) => Role::Developer,
            Message::LatestReminder(_) => Role::LatestReminder,
            Message::User(_) => Role::User,
            Message::Tool(_) => Role::Tool,
            Message::Assistant(_) => Role::Assistant,
        }
    }

    /// The tools that hang on this message.
    pub fn tools(&self) -> &[ToolSpec] {
        match self {
            Message::System(instructions) | Message::Developer(instructions) => &instructions.tools,
            _ => &[],
        }
    }
}

/// Who speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// See [`Message::System`].
    System,
    /// See [`Message::Developer`].
    Developer,
    /// See [`Message::LatestReminder`].
    LatestReminder,
    /// See [`Message::User`].
    User,
    /// See [`Message::Tool`].
    Tool,
    /// See [`Message::Assistant`].
    Assistant,
}

/// A system or developer message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Instructions {
    /// May be empty when only the tools matter.
    pub text: String,
    /// Tools on offer, in the order in which the model reads them.
    pub tools: Vec<ToolSpec>,
    /// JSON schema that the answer must follow.
    pub response_format: Option<Value>,
}

/// A user message.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct User {
    /// Joined by blank lines in the prompt.
    pub blocks: Vec<Block>,
    /// A quick task asked about this message. It closes the turn.
    pub task: Option<Task>,
}

/// One block of a user turn.
#[derive(Clone, Debug, PartialEq)]
pub enum Block {
    /// Text, rendered as it is.
    Text(String),
    /// A tool's answer.
    ToolResult(ToolResult),
    /// Anything that the model cannot read, by type name (`image`): `[Unsupported image]`.
    Other(String),
}

/// A tool's answer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ToolResult {
    /// Id of the call it answers; may be empty or unknown.
    pub call_id: String,
    /// Joined by blank lines in the prompt.
    pub parts: Vec<Part>,
}

impl ToolResult {
    /// An answer of plain text.
    pub fn text(call_id: impl Into<String>, text: impl Into<String>) -> ToolResult {
        ToolResult { call_id: call_id.into(), parts: vec![Part::Text(text.into())] }
    }
}

/// One part of a tool's answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Part {
    /// Text, rendered as it is.
    Text(String),
    /// Anything else, by type name.
    Other(String),
}

/// A turn of the model.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assistant {
    /// What stood between `<think>` and `</think>`.
    pub reasoning: Option<String>,
    /// The visible answer.
    pub text: String,
    /// Calls after the answer.
    pub calls: Vec<ToolCall>,
    /// The tool block exactly as it was sampled, from the white space before the opener to the
    /// closing tag (see [`crate::Event::CallsEnd`]). Rendered verbatim in place of the canonical
    /// form of `calls`, so that the cached state of the turn still fits. The caller vouches that
    /// both say the same.
    pub sampled_calls: Option<Prompt>,
    /// A quick task asked about this turn; its token follows the turn.
    pub task: Option<Task>,
    /// The turn goes on: no end marker is written, and the model continues the text (prefill).
    pub unfinished: bool,
}

/// One call of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToolCall {
    /// The id under which its result comes back.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// JSON text of the arguments object, as the client has it. Text that is not a JSON object
    /// becomes one string parameter named `arguments`.
    pub arguments: String,
}

/// A tool on offer.
#[derive(Clone, Debug, PartialEq)]
pub struct ToolSpec {
    /// The name under which the model calls it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// JSON schema of the arguments, key order as the client sent it.
    pub parameters: Value,
}

impl ToolSpec {
    /// A tool; without parameters it takes an empty object.
    pub fn new(
        name: impl Into<String>,
        description: Option<String>,
        parameters: Option<Value>,
    ) -> ToolSpec {
        let parameters = parameters.unwrap_or_else(|| json!({"type": "object", "properties": {}}));
        ToolSpec { name: name.into(), description, parameters }
    }

    /// The tool as one line of JSON, as it stands in the tools block and, for tools that are
    /// loaded later, in the tool result that brings them.
    pub fn schema_line(&self) -> String {
        let mut line = String::from("{\"name\": ");
        json::write_string(&self.name, &mut line);
        if let Some(description) = &self.description {
            line.push_str(", \"description\": ");
            json::write_string(description, &mut line);
        }
        line.push_str(", \"parameters\": ");
        line.push_str(&json::to_text(&self.parameters));
        line.push('}');
        line
    }
}

/// A small question about a message that the model answers after a token of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// What to do next.
    Action,
    /// Which search query to use.
    Query,
    /// How authoritative the sources must be.
    Authority,
    /// Which domain the question belongs to.
    Domain,
    /// A title for the conversation.
    Title,
    /// Whether to read a URL.
    ReadUrl,
}

/// Whether the model reasons before it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ThinkMode {
    /// Answers at once.
    Chat,
    /// Reasons first.
    #[default]
    Thinking,
}

/// How hard the model is asked to reason. The text for it depends on the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effort {
    /// The least.
    Low,
    /// What the service documents as its default.
    High,
    /// The most; the model card asks for a context of 384K tokens.
    Max,
}

impl FromStr for Effort {
    type Err = Error;

    /// Reads the names that clients of all dialects use. `none` is not an effort: it asks for
    /// [`ThinkMode::Chat`], and the caller decides that first.
    fn from_str(name: &str) -> Result<Effort, Error> {
        match name {
            "minimal" | "low" => Ok(Effort::Low),
            "medium" | "high" => Ok(Effort::High),
            "xhigh" | "max" => Ok(Effort::Max),
            _ => Err(Error::UnknownEffort(name.to_owned())),
        }
    }
}

/// Which release of the weights renders the prompt; a property of the model file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Checkpoint {
    /// The preview of April 2026.
    #[default]
    Preview,
    /// The refresh of 2026-07-31.
    V0731,
}

/// Where the tools block stands in the message that carries it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ToolsPlace {
    /// After the text, as trained.
    #[default]
    AfterText,
    /// Before the text: the large schemas stay cached when the text behind them changes.
    BeforeText,
}

/// How a conversation becomes a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RenderOptions {
    /// Whether the model reasons.
    pub mode: ThinkMode,
    /// How hard; heard in thinking mode only.
    pub effort: Option<Effort>,
    /// Which effort texts the weights were trained with.
    pub checkpoint: Checkpoint,
    /// Forget the reasoning of turns before the last user turn. Has no effect when any message
    /// carries tools, nor in chat mode.
    pub drop_thinking: bool,
    /// Start with the begin-of-sentence token (never when `context` is not 0).
    pub bos: bool,
    /// Leading messages that an earlier prompt has rendered already: they decide about order and
    /// reasoning but are not written again.
    pub context: usize,
    /// Where the tools block stands.
    pub tools_place: ToolsPlace,
}

impl Default for RenderOptions {
    fn default() -> RenderOptions {
        RenderOptions {
            mode: ThinkMode::default(),
            effort: None,
            checkpoint: Checkpoint::default(),
            drop_thinking: true,
            bos: true,
            context: 0,
            tools_place: ToolsPlace::default(),
        }
    }
}
