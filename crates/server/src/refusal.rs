//! What a client is told when it does not get an answer.
//!
//! One list of reasons for both families of APIs: each reason has a status, a type in the words of
//! OpenAI and one in those of Anthropic. Clients act on some of these texts (they shorten a
//! conversation that is too long, and try again when the server is busy), so a prompt that is too
//! long is told in the exact words that they look for.

use serde_json::{Value, json};

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The request does not make sense, or asks for what is not there.
    Invalid,
    /// The prompt does not fit into the context.
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// No key, or a wrong one.
    Key,
    /// Another origin or host than those that may ask.
    Forbidden,
    /// There is nothing at this path.
    NotFound,
    /// The path knows other methods.
    Method,
    /// The conversation that is gone on from is not in memory any more.
    Gone,
    /// The request did not arrive in time.
    Timeout,
    /// The body is too large.
    TooLarge,
    /// The body is encoded in a way that is not read here.
    Encoding,
    /// The client has too many requests under way.
    TooMany,
    /// All places are taken, or the server is about to end.
    Busy,
    /// The model is being loaded.
    Loading {
        /// Seconds after which asking again makes sense.
        seconds: u64,
    },
    /// Something failed here.
    Failed,
}

/// A reason, and a sentence about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Why.
    pub reason: Reason,
    /// For people; some clients show it.
    pub message: String,
    /// The field that it is about.
    pub field: Option<String>,
}

impl Refusal {
    /// Refuses for `reason`.
    pub fn new(reason: Reason, message: impl Into<String>) -> Refusal {
        Refusal { reason, message: message.into(), field: None }
    }

    /// Refuses the value of a field.
    pub fn of(field: impl Into<String>, message: impl AsRef<str>) -> Refusal {
        let field = field.into();
        let message = format!("{field}: {}", message.as_ref());
        Refusal { reason: Reason::Invalid, message, field: Some(field) }
    }

    /// The status of the answer.
    pub fn status(&self) -> u16 {
        match self.reason {
            Reason::Invalid | Reason::TooLong { .. } => 400,
            Reason::Key => 401,
            Reason::Forbidden => 403,
            Reason::NotFound => 404,
            Reason::Method => 405,
            Reason::Timeout => 408,
            Reason::Gone => 409,
            Reason::TooLarge => 413,
            Reason::Encoding => 415,
            Reason::TooMany => 429,
            Reason::Busy | Reason::Loading { .. } => 503,
            Reason::Failed => 500,
        }
    }

    /// Seconds after which the same request may be answered, if it may.
    pub fn retry_seconds(&self) -> Option<u64> {
        match self.reason {
            Reason::TooMany | Reason::Busy => Some(1),
            Reason::Loading { seconds } => Some(seconds),
            _ => None,
        }
    }

    /// The code by which programs know it, where there is one.
    pub fn code(&self) -> Option<&'static str> {
        match self.reason {
            Reason::TooLong { .. } => Some("context_length_exceeded"),
            Reason::Key => Some("invalid_api_key"),
            Reason::TooMany | Reason::Busy | Reason::Loading { .. } => Some("rate_limit_exceeded"),
            Reason::Failed => Some("server_error"),
            _ => None,
        }
    }

    /// The sentence, as OpenAI's clients know it.
    pub fn openai_message(&self) -> String {
        match self.reason {
            Reason::TooLong { tokens, context } => format!(
                "This model's maximum context length is {context} tokens. However, your messages \
                 resulted in {tokens} tokens. Please reduce the length of the messages."
            ),
            _ => self.message.clone(),
        }
    }

    /// The body of an answer of OpenAI's APIs.
    pub fn openai(&self) -> Value {
        let kind = match self.reason {
            Reason::TooMany | Reason::Busy | Reason::Loading { .. } | Reason::Failed => {
                "server_error"
            }
            _ => "invalid_request_error",
        };
        json!({ "error": {
            "message": self.openai_message(),
            "type": kind,
            "param": self.field.as_deref().map(top),
            "code": self.code(),
        } })
    }

    /// The sentence, as Anthropic's clients know it.
    pub fn anthropic_message(&self) -> String {
        match self.reason {
            Reason::TooLong { tokens, context } => {
                format!("prompt is too long: {tokens} tokens > {context} maximum")
            }
            _ => self.message.clone(),
        }
    }

    /// The `error` member of Anthropic's API, in bodies and streams.
    pub fn anthropic_error(&self) -> Value {
        let kind = match self.reason {
            Reason::Key => "authentication_error",
            Reason::Forbidden => "permission_error",
            Reason::NotFound | Reason::Method => "not_found_error",
            Reason::TooLarge => "request_too_large",
            Reason::TooMany => "rate_limit_error",
            Reason::Busy | Reason::Loading { .. } => "overloaded_error",
            Reason::Timeout | Reason::Failed => "api_error",
            Reason::Invalid | Reason::TooLong { .. } | Reason::Gone | Reason::Encoding => {
                "invalid_request_error"
            }
        };
        json!({ "type": kind, "message": self.anthropic_message() })
    }

    /// The body of an answer of Anthropic's API.
    pub fn anthropic(&self, request_id: &str) -> Value {
        json!({ "type": "error", "error": self.anthropic_error(), "request_id": request_id })
    }
}

/// The member of the request that a path leads into: `messages` of `messages[3].content`.
fn top(path: &str) -> &str {
    path.split(['.', '[']).next().unwrap_or(path)
}
