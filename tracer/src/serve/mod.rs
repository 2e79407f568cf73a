//! The profile of a running recording over HTTP, as a Go service with `net/http/pprof` shows its own, and a page that
//! shows it to people; the page alone for saved profiles.
//!
//! Closed until opened: on this machine only, unless somebody gives a token (`docs/design/0037-serving.md`). The server
//! has a thread of its own without any privilege, and asks the session's owner for whole profiles.

mod address;
mod connections;
mod encoded;
mod error;
mod failure;
mod guard;
mod listener;
mod metrics;
mod page;
mod past;
mod pprof;
mod text;
mod tls;
mod token;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use ipnet::IpNet;
use tokio::sync::oneshot;

pub use address::Address;
pub use error::ServeError;
pub use listener::Bound;
pub use past::Saved;
pub use tls::Tls;
pub use token::Token;

use crate::process::spawn_unprivileged;
use crate::profile::Labels;
use crate::push::Counts;
use crate::session::Asking;
use past::Past;

/// How long answers that are under way have when the server ends.
const GRACE: Duration = Duration::from_secs(2);

/// Who may ask, and for what.
#[derive(Debug, Default)]
pub struct Access {
    /// What they have to know; nothing, where there is none.
    pub token: Option<Token>,
    /// Where they may come from; anywhere, where there is none.
    pub networks: Vec<IpNet>,
    /// Names under which the server is asked for, beside addresses and `localhost`.
    pub hosts: Vec<String>,
    /// How the connection is kept secret.
    pub tls: Option<Tls>,
}

/// The process that is recorded, as it is shown.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name.
    pub name: String,
    /// Its pid.
    pub pid: u32,
    /// What all that is told of it is labelled with.
    pub labels: Labels,
    /// Its arguments, with a zero byte between two; the program alone where they are nobody's business.
    pub command_line: Vec<u8>,
    /// What is pushed elsewhere, where something is.
    pub pushes: Option<Arc<Counts>>,
}

/// A server that runs until this is dropped.
#[derive(Debug)]
pub struct Server {
    end: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves what a session answers.
    ///
    /// # Errors
    ///
    /// The thread could not be started.
    pub fn start(
        bound: Bound,
        access: Access,
        subject: Subject,
        asking: Asking,
    ) -> Result<Self, ServeError> {
        let past = Arc::new(Past::of_recording(&subject, asking.clone()));
        let router = page::router(Arc::clone(&past)).merge(pprof::router(Arc::new(
            pprof::Service::new(subject, asking),
        )));
        let router = with_errors(
            router,
            "there is nothing here: /debug/pprof/ lists what there is",
        );
        Self::run(bound, access, router, async move { past.keep().await })
    }

    /// Serves the page on saved profiles.
    ///
    /// # Errors
    ///
    /// As for [`Self::start`].
    pub fn view(bound: Bound, access: Access, saved: Saved) -> Result<Self, ServeError> {
        let router = page::router(Arc::new(Past::of_saved(saved)));
        let router = with_errors(router, "there is nothing here: the page is at /");
        Self::run(bound, access, router, std::future::ready(()))
    }

    /// Answers by a router, and does something else besides.
    fn run(
        bound: Bound,
        mut access: Access,
        router: Router,
        besides: impl Future<Output = ()> + Send + 'static,
    ) -> Result<Self, ServeError> {
        let (end, ended) = oneshot::channel();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            // Answers are compressed there: two at one time, and no more.
            .max_blocking_threads(2)
            .build()
            .map_err(ServeError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            bound.listen().map_err(ServeError::Thread)?
        };
        let thread = spawn_unprivileged("serve", move || {
            let router = guard::guarded(router, &mut access, &listener);
            runtime.spawn(besides);
            runtime.block_on(connections::serve(listener, &access, router, ended));
            runtime.shutdown_timeout(GRACE);
        })
        .map_err(ServeError::Thread)?;
        Ok(Self {
            end: Some(end),
            thread: Some(thread),
        })
    }
}

/// Answers what nothing else does with an error.
fn with_errors(router: Router, hint: &'static str) -> Router {
    router
        .fallback(move || async move { text::error(StatusCode::NOT_FOUND, hint) })
        .method_not_allowed_fallback(|| async {
            text::error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
        })
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
