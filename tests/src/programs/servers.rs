//! Servers of Debian's, each asked by a client of its own.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use tempfile::TempDir;

use super::{NOBODY, POSTGRES, initdb, queries, settle};
use crate::process::Child;
use crate::wait::PATIENCE;
use crate::{http, wait};

const NGINX: &str = "/usr/sbin/nginx";
const REDIS: &str = "/usr/bin/redis-server";

/// nginx with a worker that lists folders and serves files, compressed.
#[derive(Debug)]
pub struct Nginx {
    master: Child,
    worker: u32,
    address: SocketAddr,
    _folder: TempDir,
}

impl Nginx {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self> {
        ensure!(
            Path::new(NGINX).is_file(),
            "no {NGINX}: `./x programs` installs it on Debian"
        );
        let folder = TempDir::new()?;
        let files = folder.path().join("files");
        fs::create_dir(&files)?;
        for number in 0..100 {
            let text = format!("line of file {number}\n").repeat(100 * (number + 1));
            fs::write(files.join(format!("file{number}.html")), text)?;
        }
        let address = free_address()?;
        let at = folder.path().display();
        let configuration = folder.path().join("nginx.conf");
        // Root's worker, which may read the folder.
        fs::write(
            &configuration,
            format!(
                "daemon off; user root; worker_processes 1; error_log {at}/error.log; pid {at}/pid;
                 events {{ worker_connections 64; }}
                 http {{
                     access_log {at}/access.log;
                     gzip on; gzip_types text/html;
                     client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;
                     fastcgi_temp_path {at}/fastcgi; uwsgi_temp_path {at}/uwsgi;
                     scgi_temp_path {at}/scgi;
                     server {{ listen {address}; root {at}/files; autoindex on; }}
                 }}\n"
            ),
        )?;
        let mut command = Command::new(NGINX);
        command
            .arg("-c")
            .arg(&configuration)
            .arg("-p")
            .arg(folder.path());
        let mut child = Child::spawn(&mut command)?;
        wait_for(&mut child, address)?;
        // The master listens before it has a worker, which alone answers.
        http::get(address, "/")?;
        let pid = child.pid();
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let worker = children.split_whitespace().next();
        let worker = worker.context("nginx has no worker")?.parse()?;
        Ok(Self {
            master: child,
            worker,
            address,
            _folder: folder,
        })
    }

    /// The worker's process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.worker
    }

    /// Asks for folders and files.
    ///
    /// # Errors
    /// It does not answer.
    pub fn work(&self, requests: u32) -> Result<()> {
        for number in 0..requests {
            let path = match number % 4 {
                0 => "/".to_owned(),
                _ => format!("/file{}.html", number % 100),
            };
            http::get(self.address, &path)?;
        }
        Ok(())
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Its worker would outlive a master that is killed. Fails only where there is none any more.
        drop(self.master.signal(Signal::TERM));
        drop(self.master.wait());
    }
}

/// A PostgreSQL server with a client, and the backend that serves it.
#[derive(Debug)]
pub struct Postgres {
    client: Child,
    backend: u32,
    _server: Child,
    _folder: TempDir,
}

impl Postgres {
    /// Starts it, and connects.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self> {
        ensure!(
            Path::new(POSTGRES).is_dir(),
            "no {POSTGRES}: `./x programs` installs it on Debian"
        );
        let folder = TempDir::new()?;
        initdb(folder.path())?;
        let at = folder.path().to_str().context("path")?;
        let mut command = Command::new(format!("{POSTGRES}/postgres"));
        command
            .args(["-D", "data", "-k", at, "-c", "listen_addresses="])
            .current_dir(folder.path())
            .uid(NOBODY)
            .gid(NOBODY);
        settle(&mut command, folder.path());
        let mut server = Child::spawn(&mut command)?;
        server.wait_line(
            |child| &child.stderr,
            "`ready to accept connections`",
            |line| line.ends_with("ready to accept connections"),
        )?;
        let mut command = Command::new(format!("{POSTGRES}/psql"));
        command.args(["-X", "-q", "-A", "-t", "-h", at, "-U", "postgres"]);
        settle(&mut command, folder.path());
        let mut client = Child::spawn(&mut command)?;
        client.write(b"select 'backend ' || pg_backend_pid();\n")?;
        let line = client.wait_line(
            |child| &child.stdout,
            "the backend",
            |line| line.starts_with("backend "),
        )?;
        let backend = line.trim_start_matches("backend ").parse()?;
        Ok(Self {
            client,
            backend,
            _server: server,
            _folder: folder,
        })
    }

    /// The backend's process id.
    #[must_use]
    pub const fn pid(&self) -> u32 {
        self.backend
    }

    /// Has it answer some queries over tables of so many rows.
    ///
    /// # Errors
    /// It does not.
    pub fn work(&mut self, rows: u32) -> Result<()> {
        self.client.write(&queries(rows))?;
        self.client.write(b"select 'all is ' || 'done';\n")?;
        self.client.wait_line(
            |child| &child.stdout,
            "the last query",
            |line| line == "all is done",
        )?;
        let complaints = self.client.stderr.text();
        ensure!(complaints.is_empty(), "psql: {complaints}");
        Ok(())
    }
}

/// Redis, which brings jemalloc along.
#[derive(Debug)]
pub struct Redis {
    child: Child,
    address: SocketAddr,
}

impl Redis {
    /// Starts it, and waits until it answers.
    ///
    /// # Errors
    /// It is not installed, or does not start.
    pub fn start() -> Result<Self> {
        ensure!(
            Path::new(REDIS).is_file(),
            "no {REDIS}: `./x programs` installs it on Debian"
        );
        let address = free_address()?;
        let mut command = Command::new(REDIS);
        command
            .args(["--bind", "127.0.0.1", "--save", "", "--port"])
            .arg(address.port().to_string());
        let mut child = Child::spawn(&mut command)?;
        wait_for(&mut child, address)?;
        Ok(Self { child, address })
    }

    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Has it carry out so many commands, on all kinds of values.
    ///
    /// # Errors
    /// It does not.
    pub fn work(&self, commands: u32) -> Result<()> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut answers = BufReader::new(stream.try_clone()?).lines();
        let value = "v".repeat(1_000);
        for number in 0..commands {
            let key = number / 10 % 700;
            let command = match number % 10 {
                0..3 => format!("SET string{key} {value}"),
                3 => format!("APPEND string{key} {number}"),
                4 => format!("RPUSH list{key} {value} {number}"),
                5 => format!("HSET hash{key} field{number} {number}"),
                6 => format!("ZADD sorted{key} {number} member{number}"),
                7 => format!("EVAL \"return #(ARGV[1] .. '{number}')\" 0 {value}"),
                8 => format!("SADD set{key} member{number}"),
                _ => format!("DEL string{key} list{key}"),
            };
            // In one piece: the next one would wait for the answer to the first.
            stream.write_all(format!("{command}\r\n").as_bytes())?;
            let answer = answers.next().context("no answer")??;
            ensure!(answer.starts_with(['+', ':']), "{command}: {answer}");
        }
        Ok(())
    }
}

/// An address that nobody listens at.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn wait_for(child: &mut Child, address: SocketAddr) -> Result<()> {
    wait::until(&format!("a server at {address}"), || {
        ensure!(
            child.is_running()?,
            "the server ended: {}{}",
            child.stdout.text(),
            child.stderr.text()
        );
        Ok(TcpStream::connect(address).ok().map(drop))
    })
}
