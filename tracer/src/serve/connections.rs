//! Connections: how many, how long, and which one goes when there are too many.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::oneshot;
use tokio::task::AbortHandle;
use tower::ServiceExt as _;

use super::Access;
use super::listener::{Listener, Stream};

/// Connections at one time: each takes some 30 KiB at most, besides its answer, which others share.
const MOST: usize = 256;
/// Time for a request's head, and for a TLS handshake.
const HEAD: Duration = Duration::from_secs(10);
/// Bytes of a request's head at most.
const HEAD_BYTES: usize = 16 << 10;
/// After an error, such as no descriptor that is free.
const REST: Duration = Duration::from_millis(50);

/// Takes connections until `ended`.
pub(super) async fn serve(
    listener: Listener,
    access: &Access,
    router: Router,
    ended: oneshot::Receiver<()>,
) {
    tokio::pin!(ended);
    let tls = access.tls.as_ref().map(super::Tls::acceptor);
    let open = Arc::new(Open::default());
    loop {
        let accepted = tokio::select! {
            _ = &mut ended => return,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, peer)) = accepted else {
            tokio::time::sleep(REST).await;
            continue;
        };
        if !may_connect(access, peer) {
            continue;
        }
        let place = open.enter();
        let (router, tls) = (router.clone(), tls.clone());
        let number = place.number;
        let task = tokio::spawn(async move {
            match tls {
                None => hold(stream, router, &place).await,
                Some(tls) => {
                    let shaken = tokio::time::timeout(HEAD, tls.accept(stream)).await;
                    if let Ok(Ok(stream)) = shaken {
                        hold(Box::new(stream), router, &place).await;
                    }
                }
            }
        });
        open.started(number, task.abort_handle());
    }
}

fn may_connect(access: &Access, peer: Option<IpAddr>) -> bool {
    let networks = &access.networks;
    networks.is_empty()
        || peer.is_none_or(|peer| networks.iter().any(|network| network.contains(&peer)))
}

/// Answers a connection's requests to its end.
async fn hold(stream: Box<dyn Stream>, router: Router, place: &Place) {
    let service = service_fn(|request: Request<Incoming>| {
        let router = router.clone();
        async move {
            let _busy = place.busy();
            let Ok(answer) = router.oneshot(request).await;
            Ok::<Response<Body>, Infallible>(answer)
        }
    });
    let mut server = http1::Builder::new();
    server
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD)
        .max_buf_size(HEAD_BYTES);
    // One that breaks off is its peer's business.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

/// The connections that are open.
#[derive(Default)]
struct Open(Mutex<Table>);

#[derive(Default)]
struct Table {
    next: u64,
    /// By age.
    connections: BTreeMap<u64, Connection>,
}

#[derive(Default)]
struct Connection {
    /// A request is answered.
    is_busy: bool,
    /// `None` until it runs.
    task: Option<AbortHandle>,
}

impl Open {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more: the oldest that asks for nothing goes, and where all do, the oldest. So many that send
    /// nothing keep nobody out.
    fn enter(self: &Arc<Self>) -> Place {
        let mut table = self.table();
        if table.connections.len() >= MOST {
            let mut all = table.connections.iter();
            let idle = all.find(|(_, one)| !one.is_busy).map(|(&number, _)| number);
            let oldest = idle.or_else(|| table.connections.keys().next().copied());
            let gone = oldest.and_then(|number| table.connections.remove(&number));
            if let Some(task) = gone.and_then(|gone| gone.task) {
                task.abort();
            }
        }
        let number = table.next;
        table.next += 1;
        table.connections.insert(number, Connection::default());
        Place {
            open: Arc::clone(self),
            number,
        }
    }

    fn started(&self, number: u64, task: AbortHandle) {
        // It may have ended already.
        if let Some(one) = self.table().connections.get_mut(&number) {
            one.task = Some(task);
        }
    }
}

/// A connection's place among the others.
struct Place {
    open: Arc<Open>,
    number: u64,
}

impl Place {
    fn set_busy(&self, is_busy: bool) {
        if let Some(one) = self.open.table().connections.get_mut(&self.number) {
            one.is_busy = is_busy;
        }
    }

    /// While this is held a request is answered.
    fn busy(&self) -> Busy<'_> {
        self.set_busy(true);
        Busy(self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.open.table().connections.remove(&self.number);
    }
}

struct Busy<'a>(&'a Place);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.set_busy(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_asks_for_nothing_goes_first() {
        let open = Arc::new(Open::default());
        let mut places: Vec<_> = (0..MOST).map(|_| open.enter()).collect();
        let _busy = places[0].busy();
        let last = open.enter();
        let is_open = |number| open.table().connections.contains_key(&number);
        assert!(is_open(0) && !is_open(1) && is_open(2) && is_open(last.number));
        drop(_busy);
        places.clear();
        assert_eq!(open.table().connections.len(), 1);
    }

    #[test]
    fn only_the_networks_that_are_named() -> Result<(), Box<dyn std::error::Error>> {
        let access = Access {
            networks: vec!["10.0.0.0/8".parse()?, "fd00::/8".parse()?],
            ..Access::default()
        };
        let may = |access: &Access, peer: &str| {
            let peer = peer.parse().map(Some);
            peer.is_ok_and(|peer| may_connect(access, peer))
        };
        assert!(may(&access, "10.1.2.3") && may(&access, "fd00::1"));
        assert!(!may(&access, "127.0.0.1") && !may(&access, "11.0.0.1"));
        assert!(may_connect(&access, None) && may(&Access::default(), "11.0.0.1"));
        Ok(())
    }
}
