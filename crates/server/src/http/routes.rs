//! What is at which path.
//!
//! Every path of the APIs is there with and without `/v1`. Answers are begun in `reply.rs`; here
//! are only those that need no model: lists, states, figures, the page.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Extension, Path, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::from_fn_with_state;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use serde_json::{Value, json};

use super::guard::guard;
use super::listen::Peer;
use super::reply::{self, json_response, refuse, request_id, with_status};
use crate::app::App;
use crate::dialect::Dialect;
use crate::log::Line;
use crate::metrics::Now;
use crate::refusal::{Reason, Refusal};

/// Names that clients are used to; any other is served as well.
const ALIASES: [&str; 2] = ["deepseek-chat", "deepseek-reasoner"];

/// The whole server.
pub fn router(app: Arc<App>) -> Router {
    let mut router = Router::new()
        .route("/", get(page))
        .route("/health", get(health))
        .route("/metrics", get(metrics))
        .route("/api/hello", get(hello));
    for base in ["", "/v1"] {
        let ask = |dialect: Dialect| {
            post(move |app: State<Arc<App>>, peer: Extension<Peer>, request: Request| {
                reply::reply(app.0, dialect, peer.0, request)
            })
        };
        router = router
            .route(&format!("{base}/chat/completions"), ask(Dialect::Chat))
            .route(&format!("{base}/completions"), ask(Dialect::Completions))
            .route(&format!("{base}/responses"), ask(Dialect::Responses))
            .route(&format!("{base}/messages"), ask(Dialect::Messages))
            .route(&format!("{base}/messages/count_tokens"), post(count))
            .route(&format!("{base}/models"), get(models))
            .route(&format!("{base}/models/{{*id}}"), get(model));
    }
    router
        .fallback(nothing)
        .method_not_allowed_fallback(wrong_method)
        .layer(from_fn_with_state(app.clone(), guard))
        .with_state(app)
}

async fn nothing(app: State<Arc<App>>, peer: Extension<Peer>, request: Request) -> Response {
    let path: String = request.uri().path().chars().take(200).collect();
    let refusal = Refusal::new(Reason::NotFound, format!("there is nothing at {path}"));
    astray(app.0, peer.0, &request, &refusal)
}

async fn wrong_method(app: State<Arc<App>>, peer: Extension<Peer>, request: Request) -> Response {
    let message = format!("{} is not for this path", request.method());
    astray(app.0, peer.0, &request, &Refusal::new(Reason::Method, message))
}

/// Who asks for what is not there should see it, and whoever runs the server too.
fn astray(app: Arc<App>, peer: Peer, request: &Request, refusal: &Refusal) -> Response {
    let (path, id) = (request.uri().path(), request_id());
    Line::new(app, None, (&id, path), peer).refused(refusal);
    refuse(path, request.headers(), refusal)
}

async fn hello() -> Response {
    json_response(&json!({"status": "ok"}))
}

/// The page is one file, and may load nothing from anywhere else.
async fn page() -> Response {
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; \
                  img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; \
                  frame-ancestors 'none'";
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, policy),
        (header::REFERRER_POLICY, "no-referrer"),
    ];
    (headers, include_str!("../page.html")).into_response()
}

/// 200 when the model is there; 503 while it is being loaded, with how far that is, and when the
/// server ends.
async fn health(State(app): State<Arc<App>>) -> Response {
    let loaded = app.model.get();
    let status = match (app.is_ending(), loaded) {
        (true, _) => "ending",
        (false, Some(_)) => "ok",
        (false, None) => "loading",
    };
    let mut body = json!({
        "status": status,
        "model": app.settings.model,
        "seconds": app.started.elapsed().as_secs(),
        "running": app.running(),
    });
    if status == "loading" {
        let (bytes, bytes_expected) = app.loading.bytes();
        body["loading"] = json!({
            "fraction": app.loading.fraction(),
            "bytes": bytes,
            "bytes_expected": bytes_expected,
        });
    }
    if let Some(model) = loaded {
        let info = model.handle.info();
        body["context"] = model.context().into();
        body["device"] = info.device.as_str().into();
        body["sessions"] = info.options.sessions.into();
    }
    let code = if status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let mut response = with_status(json_response(&body), code);
    if status == "loading" {
        response.headers_mut().insert(header::RETRY_AFTER, app.loading.again().into());
    }
    response
}

async fn metrics(State(app): State<Arc<App>>) -> Response {
    let handle = app.model.get().map(|model| model.handle.clone());
    // The worker answers between two steps.
    let report = tokio::task::spawn_blocking(move || handle?.report().ok()).await;
    let report = report.ok().flatten();
    let remembered = app.replay.lock().map_or(0, |replay| replay.len());
    let now = Now {
        running: app.running(),
        connections: app.connections(),
        remembered,
        loaded: app.loading.bytes(),
        ready: app.model.get().is_some(),
    };
    let text = app.metrics.write(&now, report.as_ref());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// One model in the words of both families.
fn described(app: &App, id: &str) -> Value {
    let mut model = json!({
        "id": id,
        "object": "model",
        "type": "model",
        "created": app.created,
        "created_at": "2026-04-24T00:00:00Z",
        "owned_by": "dwarfstar",
        "display_name": id,
        "name": id,
    });
    if let Some(loaded) = app.model.get() {
        model["context_length"] = loaded.context().into();
        model["max_model_len"] = loaded.context().into();
    }
    model
}

async fn models(State(app): State<Arc<App>>) -> Response {
    let own = app.settings.model.as_str();
    let names = std::iter::once(own).chain(ALIASES);
    let list: Vec<Value> = names.map(|name| described(&app, name)).collect();
    json_response(&json!({
        "object": "list",
        "data": list,
        "first_id": own,
        "last_id": ALIASES[1],
        "has_more": false,
    }))
}

/// Whatever it is called, it is the model that is loaded.
async fn model(State(app): State<Arc<App>>, Path(id): Path<String>) -> Response {
    json_response(&described(&app, &id))
}

async fn count(app: State<Arc<App>>, peer: Extension<Peer>, request: Request) -> Response {
    reply::count(app.0, peer.0, request).await
}
