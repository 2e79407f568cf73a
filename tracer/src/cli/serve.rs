//! `tracer serve`

use anyhow::Context as _;

use super::args::ServeArgs;
use super::attach::{announce, or_has_ended, runtime};
use super::exit::Exit;
use super::recording::tracing_options;
use super::say::say;
use super::signals::Signals;
use super::status::farewell;
use crate::process::{Identity, check_traceable, command_line, keep_recording_capabilities};
use crate::serve::{Access, Address, Bound, Server, Subject, Tls, Token};
use crate::session::{Limit, Session, Target, asking, check_privilege};

/// What is had before privileges are given up.
pub(super) struct Prepared {
    who: Identity,
    access: Access,
    bound: Bound,
}

impl Prepared {
    /// Looks for the process, reads secrets, takes the address, and gives up what is not needed any more. To be called
    /// before there are threads: each has capabilities of its own.
    pub(super) fn new(args: &ServeArgs) -> anyhow::Result<Self> {
        check_privilege()?;
        let who = check_traceable(args.target.pid()?)?;
        let token = args.token_file.as_deref().map(Token::read).transpose()?;
        let files = args.tls_cert.as_deref().zip(args.tls_key.as_deref());
        let tls = files.map(|(cert, key)| Tls::read(cert, key)).transpose()?;
        let access = Access {
            token,
            networks: args.allow.clone(),
            hosts: args.host.clone(),
            tls,
        };
        let bound = Bound::new(&args.listen, &access)?;
        keep_recording_capabilities().context("capabilities could not be given up")?;
        Ok(Self { who, access, bound })
    }
}

/// Records and serves until the process ends, or somebody asks for it.
pub(super) fn serve(
    args: &ServeArgs,
    prepared: Prepared,
    signals: &Signals,
) -> anyhow::Result<Exit> {
    let Prepared { who, access, bound } = prepared;
    // It serves somebody.
    let options = tracing_options(&args.tracing, &who, Some(Limit::for_live()))?;
    let subject = Subject {
        name: who.name.raw().to_owned(),
        pid: who.pid,
        labels: options.labels.clone(),
        command_line: command_line(who.pid, args.show_cmdline),
    };
    let where_it_is = describe(&bound, &access);
    let recording = runtime()?.block_on(async {
        let (asking, asked) = asking();
        let session = Session::start(Target::Running(who.clone()), &options)
            .map_err(|error| or_has_ended(&who, error))?;
        let mut session = session.answering(asked);
        let until = signals.finish(args.duration);
        let server = Server::start(bound, access, subject, asking.clone())?;
        if !args.tracing.quiet {
            announce(&session, args.duration);
            say(where_it_is);
        }
        let ended = session.record(until, None, |_| {}).await?;
        // The probes go first: the server may wait for answers that are under way.
        let recording = session.finish(ended)?;
        drop(server);
        anyhow::Ok(recording)
    })?;
    if !args.tracing.quiet {
        say(farewell(&recording));
    }
    Ok(Exit::Done)
}

/// Where the server is, and who may ask.
fn describe(bound: &Bound, access: &Access) -> String {
    let address = bound.address();
    let scheme = if access.tls.is_some() {
        "https"
    } else {
        "http"
    };
    let place = match address {
        Address::Tcp(address) => format!("{scheme}://{address}/debug/pprof/"),
        Address::Unix(_) => format!("{address}, path /debug/pprof/"),
    };
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
    format!("serving {place} ({who}{secret})")
}
