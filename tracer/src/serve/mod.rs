//! The profile of a running recording over HTTP, as a Go service with `net/http/pprof` shows its own.
//!
//! Closed until opened: on this machine only, unless somebody gives a token (`docs/design/0037-serving.md`). The server
//! has a thread of its own without any privilege, and asks the session's owner for whole profiles.

mod address;
mod connections;
mod encoded;
mod error;
mod guard;
mod listener;
mod metrics;
mod pprof;
mod text;
mod tls;
mod token;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use tokio::sync::oneshot;

pub use address::Address;
pub use error::ServeError;
pub use listener::Bound;
pub use tls::Tls;
pub use token::Token;

use crate::process::spawn_unprivileged;
use crate::profile::Labels;
use crate::push::Counts;
use crate::session::Asking;

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
        mut access: Access,
        subject: Subject,
        asking: Asking,
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
        let app = pprof::Service::new(subject, asking);
        let thread = spawn_unprivileged("serve", move || {
            let router = guard::guarded(pprof::router(Arc::new(app)), &mut access, &listener);
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

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.end.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
