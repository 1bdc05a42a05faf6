//! What a request comes to, whatever dialect it was in.
//!
//! Readers fill an [`Ask`]; whoever answers it knows nothing of dialects. The fields that several
//! dialects share under the same names (sampling, lengths, thinking) are read here.

use engine::STEER_MAX;
use serde_json::{Value, json};
use text::{Effort, ThinkMode};

use crate::body::{Object, ReadOptions, kind};
use crate::dialogue::Dialogue;
use crate::refusal::Refusal;

/// Texts that may end an answer, and their bytes.
const STOPS_MAX: usize = 64;
const STOP_BYTES_MAX: usize = 4096;

/// Answers to one prompt.
const ANSWERS_MAX: usize = 16;

/// Alternatives that are told with each token.
const TOP_LOGPROBS_MAX: usize = 20;

/// Tokens that may be biased.
const BIASES_MAX: usize = 1024;

/// A request.
#[derive(Clone, Debug)]
pub struct Ask {
    /// The model that was named; any name is served, and said again in the answer.
    pub model: String,
    /// Whether the answer is to come in pieces.
    pub stream: bool,
    /// What is to be continued.
    pub what: What,
    /// Whether and how hard to reason.
    pub thinking: Thinking,
    /// How to choose tokens, as far as it was said.
    pub wishes: Wishes,
    /// Tokens of the answer at most.
    pub tokens_max: Option<usize>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
    /// What form the answer must have.
    pub format: Format,
    /// Whether tools are to be called.
    pub choice: Choice,
    /// How many answers.
    pub answers: usize,
    /// Wanted with each token: its log-probability and those of so many others.
    pub logprobs: Option<usize>,
    /// Members that were passed over.
    pub ignored: Vec<String>,
}

/// What is to be continued.
#[derive(Clone, Debug)]
pub enum What {
    /// A conversation.
    Dialogue(Dialogue),
    /// A text, as it is.
    Raw(String),
}

/// Whether and how hard to reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Thinking {
    /// Whether.
    pub mode: ThinkMode,
    /// How hard, if it was said.
    pub effort: Option<Effort>,
}

/// How to choose tokens; `None` is the server's own way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wishes {
    /// 0 to 2.
    pub temperature: Option<f32>,
    /// 0 to 1.
    pub top_p: Option<f32>,
    /// 0 is all.
    pub top_k: Option<usize>,
    /// 0 to 1.
    pub min_p: Option<f32>,
    /// -2 to 2.
    pub presence: Option<f32>,
    /// -2 to 2.
    pub frequency: Option<f32>,
    /// Above 0.
    pub repetition: Option<f32>,
    /// By token id.
    pub bias: Vec<(u32, f32)>,
    /// The same choices for the same request.
    pub seed: Option<u64>,
    /// How strongly the model is steered.
    pub steer: Option<Steering>,
}

/// How strongly the model is steered; what is not said is the server's own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Steering {
    /// What experts write.
    pub ffn: Option<f32>,
    /// What attention writes.
    pub attention: Option<f32>,
}

/// What form an answer must have.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Format {
    /// Any.
    #[default]
    Text,
    /// JSON.
    Json {
        /// Its schema.
        schema: Value,
        /// Where that stands in the request.
        at: &'static str,
    },
}

/// Whether tools are to be called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The model decides.
    #[default]
    Auto,
    /// No tools are on offer.
    Never,
    /// At least one call.
    Required,
    /// This one, by the name that the model knows it by.
    Named(String),
}

/// The controls of reasoning that a request may have, before they are weighed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Controls<'a> {
    /// On or off, in so many words.
    pub switch: Option<bool>,
    /// The name of an effort; `none` is off.
    pub effort: Option<(&'a str, &'a str)>,
}

impl Choice {
    /// The words that OpenAI's dialects have for a choice without a name.
    pub fn of_word(word: &str) -> Option<Choice> {
        match word {
            "auto" => Some(Choice::Auto),
            "none" => Some(Choice::Never),
            "required" => Some(Choice::Required),
            _ => None,
        }
    }
}

impl Thinking {
    /// What `controls` come to. A model's name may say it where nothing else does.
    ///
    /// # Errors
    /// An effort that nobody knows.
    pub fn weigh(model: &str, controls: Controls<'_>) -> Result<Thinking, Refusal> {
        let by_name = match model {
            "deepseek-chat" => Some(false),
            "deepseek-reasoner" => Some(true),
            _ => None,
        };
        let (mut off, mut effort) = (None, None);
        if let Some((field, name)) = controls.effort {
            off = Some(name == "none");
            if name != "none" {
                let known = name.parse::<Effort>();
                effort = Some(known.map_err(|error| Refusal::of(field, error.to_string()))?);
            }
        }
        let on = controls.switch.or(off.map(|off| !off)).or(by_name).unwrap_or(true);
        let mode = if on { ThinkMode::Thinking } else { ThinkMode::Chat };
        Ok(Thinking { mode, effort: effort.filter(|_| on) })
    }
}

impl Wishes {
    /// Reads the members that all dialects name alike.
    ///
    /// # Errors
    /// One that is out of its range.
    pub fn read(body: &Object<'_>) -> Result<Wishes, Refusal> {
        Ok(Wishes {
            temperature: body.number("temperature", 0.0, 2.0)?,
            top_p: body.number("top_p", 0.0, 1.0)?,
            top_k: body.count("top_k", 0, usize::MAX)?,
            min_p: body.number("min_p", 0.0, 1.0)?,
            presence: body.number("presence_penalty", -2.0, 2.0)?,
            frequency: body.number("frequency_penalty", -2.0, 2.0)?,
            repetition: body.number("repetition_penalty", 0.01, 100.0)?,
            bias: bias(body)?,
            seed: seed(body)?,
            steer: steer(body)?,
        })
    }
}

/// Any integer is a seed; negative ones too.
fn seed(body: &Object<'_>) -> Result<Option<u64>, Refusal> {
    let Some(value) = body.get("seed") else { return Ok(None) };
    let seed = value.as_u64().or(value.as_i64().map(|seed| seed as u64));
    let wrong = || body.refuse("seed", format!("expected an integer, found {}", kind(value)));
    seed.map(Some).ok_or_else(wrong)
}

/// `{"ffn": 1, "attn": 0.5}`, our own member in every dialect.
fn steer(body: &Object<'_>) -> Result<Option<Steering>, Refusal> {
    let Some(steer) = body.object("steer")? else { return Ok(None) };
    // Who steers wants nothing to be passed over.
    steer.only(&["ffn", "attn"], &[], ReadOptions::default())?;
    let most = f64::from(STEER_MAX);
    let (ffn, attention) = (steer.number("ffn", -most, most)?, steer.number("attn", -most, most)?);
    Ok(Some(Steering { ffn, attention }))
}

fn bias(body: &Object<'_>) -> Result<Vec<(u32, f32)>, Refusal> {
    let Some(members) = body.get("logit_bias") else { return Ok(Vec::new()) };
    let wrong = || body.refuse("logit_bias", "expected an object of token ids and biases");
    let members = members.as_object().filter(|all| all.len() <= BIASES_MAX).ok_or_else(wrong)?;
    let biases = body.object("logit_bias")?.ok_or_else(wrong)?;
    let one = |id: &String| {
        let bias = biases.number(id, -100.0, 100.0)?.unwrap_or(0.0);
        Ok((id.parse().map_err(|_| wrong())?, bias))
    };
    members.keys().map(one).collect()
}

/// Texts that end the answer: a string or a list of strings.
///
/// # Errors
/// Something else, an empty text, or too much of it.
pub fn stop(body: &Object<'_>, name: &str) -> Result<Vec<String>, Refusal> {
    let texts: Vec<&str> = match body.get(name) {
        Some(Value::String(text)) => vec![text],
        _ => {
            let list = body.list(name, STOPS_MAX)?.unwrap_or_default();
            let wrong = || body.refuse(name, "expected strings");
            list.iter().map(|text| text.as_str().ok_or_else(wrong)).collect::<Result<_, _>>()?
        }
    };
    match texts.iter().find(|text| text.is_empty() || text.len() > STOP_BYTES_MAX) {
        Some(text) => {
            let bytes = text.len();
            Err(body
                .refuse(name, format!("a text of {bytes} bytes, expected 1 to {STOP_BYTES_MAX}")))
        }
        None => Ok(texts.into_iter().map(str::to_owned).collect()),
    }
}

/// Whether a stream ends with what it took.
///
/// # Errors
/// Other options of streams than those that are known.
pub fn include_usage(body: &Object<'_>, options: ReadOptions) -> Result<bool, Refusal> {
    let Some(stream) = body.object("stream_options")? else { return Ok(false) };
    // Padding against listeners on the network is for networks.
    stream.only(&["include_usage"], &["include_obfuscation"], options)?;
    Ok(stream.flag("include_usage")?.unwrap_or(false))
}

/// How many answers: `n`.
///
/// # Errors
/// None, or too many.
pub fn answers(body: &Object<'_>) -> Result<usize, Refusal> {
    let answers = body.count("n", 1, usize::MAX)?.unwrap_or(1);
    if answers > ANSWERS_MAX {
        return Err(body.refuse("n", format!("{answers} answers, {ANSWERS_MAX} at most are given")));
    }
    Ok(answers)
}

/// How many alternatives are told with each token.
///
/// # Errors
/// Too many.
pub fn alternatives(body: &Object<'_>, name: &str) -> Result<Option<usize>, Refusal> {
    let top = body.count(name, 0, usize::MAX)?;
    match top {
        Some(top) if top > TOP_LOGPROBS_MAX => {
            Err(body.refuse(name, format!("expected 0 to {TOP_LOGPROBS_MAX}, found {top}")))
        }
        top => Ok(top),
    }
}

impl Format {
    /// Reads a format, which stands `at`: its `type`, and the schema where `schema` finds it.
    ///
    /// # Errors
    /// A type that is not known, or no schema.
    pub fn read<'a>(
        format: &Object<'a>,
        at: &'static str,
        schema: impl Fn(&Object<'a>) -> Result<Option<&'a Value>, Refusal>,
    ) -> Result<Format, Refusal> {
        match format.need_text("type")? {
            "text" => Ok(Format::Text),
            "json_object" => Ok(Format::Json { schema: json!({"type": "object"}), at }),
            "json_schema" => match schema(format)? {
                Some(schema @ Value::Object(_)) => Ok(Format::Json { schema: schema.clone(), at }),
                Some(other) => {
                    let found = kind(other);
                    Err(format.refuse("schema", format!("expected an object, found {found}")))
                }
                None => Err(format.refuse("schema", "missing, expected a JSON schema")),
            },
            other => {
                let other: String = other.chars().take(80).collect();
                let expected = "expected text, json_object or json_schema";
                Err(format.refuse("type", format!("{expected}, found {other:?}")))
            }
        }
    }

    /// The schema, where there is one.
    pub fn schema(&self) -> Option<&Value> {
        match self {
            Format::Text => None,
            Format::Json { schema, .. } => Some(schema),
        }
    }
}
