//! The flags of `dwarfstar serve`, and the configuration of clients that its help tells.
//!
//! As in `typed.rs`, only the form is decided here.

use std::path::PathBuf;

use clap::Args;

use super::steer::Steer;
use super::{Compute, Model, Sampling};

/// Serve coding agents: the APIs of OpenAI and Anthropic, on this machine.
#[derive(Debug, Args)]
#[command(after_help = HELP)]
pub struct Serve {
    #[command(flatten)]
    pub model: Model,

    /// Listen here: ADDRESS:PORT, IPv6 addresses in brackets, or unix:PATH; may be said several
    /// times
    #[arg(long, value_name = "PLACE", default_value = "127.0.0.1:8000", help_heading = "Network")]
    pub listen: Vec<String>,

    /// Answer only who sends this key; may be said several times. Needed where others than this
    /// machine can reach the server
    #[arg(long, value_name = "KEY", help_heading = "Network")]
    pub api_key: Vec<String>,

    /// Keys from a file, one per line: they are not in the list of processes then
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    pub api_key_file: Option<PathBuf>,

    /// Encrypt, with this certificate chain (PEM); needs --tls-key
    #[arg(long, value_name = "FILE", requires = "tls_key", help_heading = "Network")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of that certificate (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert", help_heading = "Network")]
    pub tls_key: Option<PathBuf>,

    /// Let pages of this origin ask (`https://example.org`, or `*` for all); may be said several
    /// times
    #[arg(long, value_name = "ORIGIN", help_heading = "Network")]
    pub cors: Vec<String>,

    /// Answer on loopback under this name too; may be said several times
    #[arg(long, value_name = "NAME", help_heading = "Network")]
    pub host_name: Vec<String>,

    /// Answer so many requests of one client address at once, and refuse more
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Network")]
    pub client_requests: usize,

    /// Reserve room for N tokens in each conversation [default: 65536, or the model's own if
    /// smaller]
    #[arg(short, long, value_name = "N", help_heading = "Conversations")]
    pub ctx: Option<usize>,

    /// Answer N requests at once; more wait
    #[arg(long, value_name = "N", default_value_t = 4, help_heading = "Conversations")]
    pub sessions: usize,

    /// Let N requests wait, and refuse more
    #[arg(long, value_name = "N", default_value_t = 64, help_heading = "Conversations")]
    pub queue: usize,

    /// Keep states of earlier conversations in N GB of memory, to go on from
    #[arg(long, value_name = "N", default_value_t = 2, help_heading = "Conversations")]
    pub state_memory: usize,

    /// Keep states of long conversations in this folder, also for the next start
    #[arg(long, value_name = "DIR", help_heading = "Conversations")]
    pub kv_dir: Option<PathBuf>,

    /// Let that folder take N GB at most; what was not used for long goes first
    #[arg(long, value_name = "N", default_value_t = 16, requires = "kv_dir")]
    #[arg(help_heading = "Conversations")]
    pub kv_disk_space: u64,

    /// Guess up to N tokens from what was said before, and let the model verify them together
    #[arg(long, value_name = "N", default_value_t = 0, help_heading = "Conversations")]
    pub drafts: usize,

    #[command(flatten)]
    pub sampling: Sampling,

    #[command(flatten)]
    pub steer: Steer,

    /// Let requests choose temperature, top-p and penalties while the model reasons too, for which
    /// it was trained with one setting
    #[arg(long, help_heading = "Sampling")]
    pub honour_sampling: bool,

    /// Call the model so in lists and states; requests may use any name
    #[arg(
        long,
        value_name = "NAME",
        default_value = "deepseek-v4-flash",
        help_heading = "Requests"
    )]
    pub name: String,

    /// Put the tools before the system text: they stay cached when that text changes
    #[arg(long, help_heading = "Requests")]
    pub tools_first: bool,

    /// Pass over members of requests that are not known, instead of refusing them
    #[arg(long, help_heading = "Requests")]
    pub ignore_unknown: bool,

    /// Remember the last N tool calls as they were written; 0 remembers none
    #[arg(long, value_name = "N", default_value_t = 100_000, help_heading = "Requests")]
    pub replay_calls: usize,

    /// Write requests and answers in full to this file. Nothing else shows what was said
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub trace: Option<PathBuf>,

    /// No line per request
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,

    #[command(flatten)]
    pub compute: Compute,
}

const HELP: &str = r#"What is served:
  POST /v1/chat/completions  /v1/completions  /v1/responses  /v1/models          (OpenAI)
  POST /v1/messages  /v1/messages/count_tokens                                   (Anthropic)
  GET  /health  /metrics                                    state, and figures for Prometheus
  GET  /                                                    a page: a chat, and what is held where
  Ctrl+C gives running answers ten seconds and saves conversations; a second one ends at once.

Who may ask: on 127.0.0.1 every program of this machine, and no page of a browser unless --cors
names it. Elsewhere --api-key or --api-key-file is needed; without --tls-cert keys and conversations
can be read along on the network.

Besides what these APIs have, a request may say how it is steered, where --steer is given; what it
does not say is as the flags say: {"steer": {"ffn": 1.5, "attn": 0}}

Clients, each with any key unless you have set one:

  Claude Code
    ANTHROPIC_BASE_URL=http://127.0.0.1:8000 ANTHROPIC_AUTH_TOKEN=local \
    ANTHROPIC_MODEL=deepseek-v4-flash ANTHROPIC_DEFAULT_HAIKU_MODEL=deepseek-v4-flash \
    CLAUDE_CODE_SUBAGENT_MODEL=deepseek-v4-flash CLAUDE_CODE_MAX_CONTEXT_TOKENS=65536 \
    CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1 API_TIMEOUT_MS=600000 claude

  Codex, in ~/.codex/config.toml, with LOCAL_KEY=local in the environment
    model = "deepseek-v4-flash"
    model_provider = "local"
    [model_providers.local]
    name = "local"
    base_url = "http://127.0.0.1:8000/v1"
    wire_api = "responses"
    env_key = "LOCAL_KEY"

  OpenCode, in ~/.config/opencode/opencode.json
    {"model": "local/deepseek-v4-flash", "small_model": "local/deepseek-v4-flash",
     "provider": {"local": {"npm": "@ai-sdk/openai-compatible",
      "options": {"baseURL": "http://127.0.0.1:8000/v1", "apiKey": "local"},
      "models": {"deepseek-v4-flash": {"limit": {"context": 65536, "output": 32000}}}}}}

  Pi, in ~/.pi/agent/models.json, then: pi --provider local --model deepseek-v4-flash
    {"providers": {"local": {"baseUrl": "http://127.0.0.1:8000/v1", "apiKey": "local",
     "api": "openai-completions", "models": [{"id": "deepseek-v4-flash", "reasoning": true,
      "contextWindow": 65536, "maxTokens": 32000}]}}}

  OpenClaw, in ~/.openclaw/openclaw.json
    {"models": {"mode": "replace", "providers": {"local": {"baseUrl": "http://127.0.0.1:8000/v1",
     "apiKey": "local", "api": "openai-completions", "models": [{"id": "deepseek-v4-flash",
      "name": "deepseek-v4-flash", "reasoning": true, "contextWindow": 65536,
      "maxTokens": 32000}]}}},
     "agents": {"defaults": {"model": {"primary": "local/deepseek-v4-flash"}}}}

  SDKs
    OpenAI(base_url="http://127.0.0.1:8000/v1", api_key="local")
    Anthropic(base_url="http://127.0.0.1:8000", api_key="local")

Examples:
  dwarfstar serve -m model.gguf --ctx 131072 --kv-dir conversations
  dwarfstar serve -m model.gguf --listen 0.0.0.0:8000 --api-key-file keys \
    --tls-cert cert.pem --tls-key key.pem
  dwarfstar serve -m model.gguf --listen unix:model.sock"#;
