//! The wire: sockets, routes, and the way of one request through them.
//!
//! `listen.rs` takes connections, `guard.rs` decides who may ask, `routes.rs` says what is at which
//! path, `reply.rs` answers. [`serve`] is the life of a server: listen, load, answer, end.

mod guard;
mod listen;
mod reply;
mod routes;

use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use engine::serve::{ServeOptions, Service};
use engine::{Engine, Notice};
use tokio::sync::watch;

use crate::answer::prepare::{Choosing, Model};
use crate::app::App;
use crate::loading::Loading;
use crate::prompt::Form;
use crate::settings::{Error, Listen, Settings};
use listen::Listener;
pub use listen::Peer;

/// Between two looks at whether to stop.
const LOOK: Duration = Duration::from_millis(50);

/// How long clients may take for the last of it.
const PARTING: Duration = Duration::from_millis(500);

/// Threads for sockets and texts; the device has its own.
const THREADS: usize = 4;

/// Serves until `stop` says so: opens the sockets, tells `started` where, loads the model that
/// `open` opens and tells how far it is, answers, and ends in good order, with what conversations
/// hold saved.
///
/// # Errors
/// A place to listen that cannot be had, a model that cannot be opened.
pub fn serve(
    settings: Settings,
    options: ServeOptions,
    open: impl FnOnce(&Loading) -> Result<Engine, engine::Error> + Send + 'static,
    started: impl FnOnce(&[Listen]),
    stop: impl Fn() -> bool,
) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("http")
        .enable_io()
        .enable_time()
        .build()
        .map_err(Error::Start)?;
    let (form, choosing) = (settings.form, settings.choosing);
    let (tls, grace) = (listen::acceptor(settings.tls.as_ref())?, settings.limits.grace);
    let listeners: Vec<Listener> = {
        let _inside = runtime.enter();
        settings
            .listen
            .iter()
            .map(|place| Listener::bind(place, tls.clone()))
            .collect::<Result<_, _>>()?
    };
    started(&listeners.iter().map(Listener::place).collect::<Vec<_>>());
    let app = Arc::new(App::new(settings));
    let (end, ended) = watch::channel(false);
    for listener in listeners {
        runtime.spawn(listener.run(app.clone(), ended.clone()));
    }
    let (loaded, hear) = sync_channel(1);
    let load = {
        let app = app.clone();
        move || load(&app, open, options, (form, choosing))
    };
    let thread = std::thread::Builder::new().name("load".to_owned());
    let work = move || drop(loaded.send(load()));
    let thread = thread.spawn(work).map_err(Error::Start)?;
    let (mut service, mut notices) = (None, None);
    while !stop() {
        if let Ok(done) = hear.try_recv() {
            let done: Service = done?;
            notices = done.notices();
            service = Some(done);
        }
        tell(&app, notices.as_ref());
        std::thread::sleep(LOOK);
    }
    // A model that is still being loaded is waited for: its thread holds the device.
    app.end();
    let until = Instant::now() + grace;
    while app.running() > 0 && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    let _ = end.send(true);
    let _ = thread.join();
    // What conversations hold is saved as the service ends, and that may fail too.
    let service = service.or_else(|| hear.try_recv().ok()?.ok());
    let notices = notices.or_else(|| service.as_ref()?.notices());
    drop(service);
    tell(&app, notices.as_ref());
    // Answers that were cut say so: that is on its way to their clients.
    let until = Instant::now() + PARTING;
    while app.connections() > 0 && Instant::now() < until {
        std::thread::sleep(LOOK);
    }
    runtime.shutdown_timeout(Duration::from_secs(1));
    Ok(())
}

/// Tells what has come meanwhile.
fn tell(app: &App, notices: Option<&Receiver<Notice>>) {
    let notices = notices.into_iter().flat_map(Receiver::try_iter);
    notices.for_each(|notice| app.settings.notices.say(&notice.to_string()));
}

/// Opens the model: what was kept with its conversations is known when the first request comes.
fn load(
    app: &Arc<App>,
    open: impl FnOnce(&Loading) -> Result<Engine, engine::Error> + Send + 'static,
    options: ServeOptions,
    (form, choosing): (Form, Choosing),
) -> Result<Service, Error> {
    let remembered = app.clone();
    let open = move || {
        let engine = open(&remembered.loading)?;
        let notes = engine.kept_notes();
        let mut replay = remembered.replay.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().for_each(|notes| replay.read(notes));
        drop(replay);
        Ok(engine)
    };
    let service = Service::start(open, options)?;
    let model = Model::new(service.handle(), form, choosing)?;
    // Nobody else sets it.
    let _ = app.model.set(Arc::new(model));
    Ok(service)
}
