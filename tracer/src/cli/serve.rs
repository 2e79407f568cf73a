//! `tracer serve`

use std::sync::Arc;

use anyhow::{Context as _, bail};

use super::args::{AccessArgs, PushArgs, ServeArgs};
use super::attach::{announce, runtime, start};
use super::exit::Exit;
use super::recording::tracing_options;
use super::say::{say, say_line};
use super::signals::Signals;
use super::status::farewell;
use crate::process::{Identity, check_traceable, command_line, keep_recording_capabilities};
use crate::profile::Labels;
use crate::push::{Headers, Origin, PushOptions, Pusher};
use crate::serve::{Access, Address, Bound, Server, Subject, Tls, Token};
use crate::session::{Limit, Options, asking, check_privilege};

/// What is had before privileges are given up.
pub(super) struct Prepared {
    who: Identity,
    server: Option<(Access, Bound)>,
    push: Option<PushOptions>,
}

impl Prepared {
    /// Looks for the process, reads secrets, takes the address, and gives up what is not needed any more. To be called
    /// before there are threads: each has capabilities of its own.
    pub(super) fn new(args: &ServeArgs) -> anyhow::Result<Self> {
        check_privilege()?;
        let who = check_traceable(args.target.pid()?)?;
        let push = push_options(&args.push)?;
        let listen = match (&args.listen, &push) {
            (None, Some(_)) => None,
            (listen, _) => Some(listen.clone().unwrap_or_default()),
        };
        let server = listen.map(|listen| bind(args, &listen)).transpose()?;
        keep_recording_capabilities(args.user).context("privileges could not be given up")?;
        Ok(Self { who, server, push })
    }
}

fn bind(args: &ServeArgs, listen: &Address) -> anyhow::Result<(Access, Bound)> {
    let access = access(&args.access)?;
    let bound = Bound::new(listen, &access)?;
    Ok((access, bound))
}

/// Who may ask. Reads secrets.
pub(super) fn access(args: &AccessArgs) -> anyhow::Result<Access> {
    let token = args.token_file.as_deref().map(Token::read).transpose()?;
    let files = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
    let tls = files.map(|(cert, key)| Tls::read(cert, key)).transpose()?;
    Ok(Access {
        token,
        networks: args.allow.clone(),
        hosts: args.host.clone(),
        tls,
    })
}

/// Nothing where nothing is to be sent.
fn push_options(args: &PushArgs) -> anyhow::Result<Option<PushOptions>> {
    let headers = args
        .push_headers
        .as_deref()
        .map(Headers::read)
        .transpose()?;
    if headers.is_some() && args.push.len() > 1 {
        bail!("--push-headers are for one server: give --push once, or no headers");
    }
    Ok((!args.push.is_empty()).then(|| PushOptions {
        destinations: args.push.clone(),
        headers: headers.unwrap_or_default(),
        every: args.push_every,
        buffer: args.push_buffer.0.unsigned_abs(),
        say: say_line,
    }))
}

/// Records and serves until the process ends, or somebody asks for it.
pub(super) fn serve(
    args: &ServeArgs,
    prepared: Prepared,
    signals: &Signals,
) -> anyhow::Result<Exit> {
    let Prepared { who, server, push } = prepared;
    // It serves somebody.
    let options = tracing_options(&args.tracing, &who, Some(Limit::for_live()))?;
    let name = who.name.raw().to_owned();
    let origin = Origin {
        service: options.labels.get("service").unwrap_or(&name).to_owned(),
        pid: who.pid,
        labels: with_pid(&options, who.pid),
    };
    let mut places = Vec::new();
    if let Some((access, bound)) = &server {
        places.push(describe("serving", bound, access, "/debug/pprof/"));
        places.push(format!("the page: {}", place(bound, access, "/")));
    }
    places.extend(push.as_ref().map(|push| describe_push(push, args)));
    let recording = runtime()?.block_on(async {
        let (asking, asked) = asking();
        let mut session = start(&who, &options)?.answering(asked);
        let until = signals.finish(args.end.duration);
        let pusher = push
            .map(|push| Pusher::start(push, origin, asking.clone()))
            .transpose()?;
        let subject = Subject {
            name,
            pid: who.pid,
            labels: options.labels.clone(),
            command_line: command_line(who.pid, args.show_cmdline),
            pushes: pusher.as_ref().map(|pusher| Arc::clone(pusher.counts())),
        };
        let server = server
            .map(|(access, bound)| Server::start(bound, access, subject, asking.clone()))
            .transpose()?;
        if !args.tracing.quiet {
            announce(&session, args.end.duration);
            places.iter().for_each(say);
        }
        let ended = session.record(until, None, |_| {}).await?;
        // The probes go first: the server may wait for answers that are under way.
        let recording = session.finish(ended)?;
        drop(server);
        signals.end();
        if let Some(pusher) = pusher {
            pusher.finish(Arc::new(recording.profile.clone()), recording.elapsed);
        }
        anyhow::Ok(recording)
    })?;
    if !args.tracing.quiet {
        say(farewell(&recording));
    }
    Ok(Exit::Done)
}

/// What all that is pushed is labelled with: the process, too, where that was asked for.
fn with_pid(options: &Options, pid: u32) -> Labels {
    let pid = pid.to_string();
    let pid = options.label_pids.then_some(("pid", pid.as_str()));
    options.labels.iter().chain(pid).collect()
}

fn describe_push(push: &PushOptions, args: &ServeArgs) -> String {
    let all = push.destinations.iter().map(ToString::to_string);
    let every = humantime::format_duration(push.every);
    let is_bare =
        args.push.push_headers.is_some() && push.destinations.iter().any(|one| !one.is_encrypted());
    let secret = match is_bare {
        true => "; the headers are not encrypted: https encrypts them",
        false => "",
    };
    format!(
        "pushing to {} every {every}{secret}",
        all.collect::<Vec<_>>().join(" and ")
    )
}

/// Where a path of the server is.
fn place(bound: &Bound, access: &Access, path: &str) -> String {
    let scheme = if access.tls.is_some() {
        "https"
    } else {
        "http"
    };
    match bound.address() {
        Address::Tcp(address) => format!("{scheme}://{address}{path}"),
        address @ Address::Unix(_) => format!("{address}, path {path}"),
    }
}

/// What the server does and where, and who may ask.
pub(super) fn describe(does: &str, bound: &Bound, access: &Access, path: &str) -> String {
    let address = bound.address();
    let place = place(bound, access, path);
    let who = match (access.token.is_some(), address) {
        (true, _) if address.is_open() => "reachable from other machines; asks for the token",
        (true, _) => "asks for the token",
        (false, Address::Unix(_)) => "for the socket's owner",
        (false, Address::Tcp(_)) => "for whoever is on this machine",
    };
    let secret = match (address.is_open(), access.tls.is_some()) {
        (true, false) => "; not encrypted: --tls-cert and --tls-key encrypt it",
        _ => "",
    };
    format!("{does} {place} ({who}{secret})")
}
