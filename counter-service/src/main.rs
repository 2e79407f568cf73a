//! A small HTTP service that counts: what the tracer is demonstrated and measured on.
//!
//! It stands for any service in production, so nothing in it may know that it is traced.
//!
//! - `GET /health` answers `OK`.
//! - `GET /count` adds one to the counter and answers `{"count": N}`.

use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::Context as _;
use axum::Json;
use axum::Router;
use axum::extract::State;
use axum::routing::get;
use clap::Parser;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::oneshot;

/// How long open requests may take to finish once the service was told to stop.
const GRACE_PERIOD: Duration = Duration::from_secs(5);

/// Counts requests over HTTP.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Address and port to listen on; port 0 picks a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:8080")]
    listen: String,
}

/// The answer of `GET /count`.
#[derive(Serialize)]
struct Count {
    count: u64,
}

async fn count(State(counter): State<Arc<AtomicU64>>) -> Json<Count> {
    // Relaxed: the counter orders nothing but itself.
    let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
    Json(Count { count })
}

fn router() -> Router {
    Router::new()
        .route("/health", get(async || "OK"))
        .route("/count", get(count))
        .with_state(Arc::new(AtomicU64::new(0)))
}

/// Serves until SIGINT or SIGTERM, then lets open requests finish for [`GRACE_PERIOD`].
async fn serve(arguments: &Arguments) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot handle SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot handle SIGTERM")?;
    let listener = TcpListener::bind(&arguments.listen)
        .await
        .with_context(|| format!("cannot listen on {}", arguments.listen))?;
    let address = listener.local_addr().context("cannot tell the address")?;
    // A closed standard output is no reason not to serve.
    let _ = writeln!(std::io::stdout(), "listening on {address}");

    let (stopping, stop_seen) = oneshot::channel();
    let stop = async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        let _ = stopping.send(());
    };
    let server = axum::serve(listener, router()).with_graceful_shutdown(stop);
    tokio::select! {
        served = server => served.context("cannot serve"),
        // Without this a client that never finishes its request would keep the service alive.
        () = async {
            let _ = stop_seen.await;
            tokio::time::sleep(GRACE_PERIOD).await;
        } => Ok(()),
    }
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(&Arguments::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("counter-service: {error:#}");
            ExitCode::from(2)
        }
    }
}
