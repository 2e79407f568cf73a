//! Programs of Debian's own, and work for them: what their packages hold is built without frame pointers,
//! stripped, and not made for tests.

mod servers;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use crate::process::{self, Child, Ended};
use crate::tracing::tracer;
use crate::wait;

pub use servers::{Nginx, Postgres, Redis};

/// Whoever runs what refuses to be root's; there on every machine.
const NOBODY: u32 = 65_534;

/// Where Debian's PostgreSQL is.
const POSTGRES: &str = "/usr/lib/postgresql/15/bin";

/// A program that waits at its standard input for work, and ends with it.
#[derive(Clone, Copy, Debug)]
pub struct Scripted {
    /// A name for people.
    pub name: &'static str,
    program: &'static str,
    arguments: &'static [&'static str],
    prepare: fn(&Path, u32) -> Result<()>,
    work: fn(u32) -> Vec<u8>,
    /// Rounds that make some hundred allocations.
    few: u32,
    /// Rounds that take a second or more.
    many: u32,
}

/// How much work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Some hundred allocations: each can be looked at.
    Few,
    /// A second or more.
    Many,
}

/// All of them, those that are on every Debian machine first.
pub const SCRIPTED: [Scripted; 6] = [
    Scripted {
        name: "perl",
        program: "/usr/bin/perl",
        arguments: &["-e", PERL],
        prepare: |_, _| Ok(()),
        work: rounds,
        few: 1,
        many: 500,
    },
    Scripted {
        name: "python3",
        program: "/usr/bin/python3",
        arguments: &["-c", PYTHON],
        prepare: |_, _| Ok(()),
        work: rounds,
        few: 1,
        many: 150,
    },
    Scripted {
        name: "sqlite3",
        program: "/usr/bin/sqlite3",
        arguments: &[":memory:"],
        prepare: |_, _| Ok(()),
        work: sql,
        few: 1,
        many: 20_000,
    },
    Scripted {
        name: "git fast-import",
        program: "/usr/bin/git",
        arguments: &["fast-import", "--quiet"],
        prepare: |folder, _| git(folder, &["init", "--quiet"], b""),
        work: commits,
        few: 10,
        many: 2_000,
    },
    Scripted {
        name: "git log",
        program: "/usr/bin/git",
        arguments: &["log", "-p", "--stdin"],
        prepare: |folder, rounds| {
            git(folder, &["init", "--quiet"], b"")?;
            git(folder, &["fast-import", "--quiet"], &commits(rounds))
        },
        work: |_| b"refs/heads/main\n".to_vec(),
        few: 2,
        many: 1_000,
    },
    Scripted {
        name: "postgres --single",
        program: "/usr/lib/postgresql/15/bin/postgres",
        arguments: &["--single", "-j", "-D", "data", "postgres"],
        prepare: |folder, _| initdb(folder),
        work: queries,
        few: 1,
        many: 100_000,
    },
];

/// The first line of input says how many rounds there are.
const PERL: &str = r#"
    my $rounds = <STDIN>;
    for my $round (1 .. $rounds) {
        my %table;
        $table{"key $_"} = [$_, "value $_" x 3] for 1 .. 40;
        my $text = join(",", map { "$_=$table{$_}[1]" } sort keys %table);
        $text =~ s/(\d+)/<$1>/g;
        my @parts = split(/,/, $text);
        my $sum = eval "sub { my \$n = shift; \$n * $round + " . scalar(@parts) . " }";
        printf "%d %s\n", $sum->($round), substr(uc($text), 0, 20);
    }
"#;

/// As in Perl.
const PYTHON: &str = r#"
import collections, json, re, sys, threading, zlib
def work(round):
    table = {f"key {n}": [n, "value" * 200] for n in range(40)}
    text = json.dumps(table)
    assert json.loads(text) == table
    packed = zlib.compress(text.encode() * 3)
    assert len(zlib.decompress(packed)) == 3 * len(text)
    pattern = re.compile(r"(\d+)|[a-z]{%d}" % (round % 7 + 2))
    words = collections.Counter(match[0] for match in pattern.finditer(text[:4000]))
    print(round, len(packed), words.most_common(3))
for round in range(int(sys.stdin.readline())):
    work(round)
    if round % 50 == 49:
        # Threads begin elsewhere, and a library is loaded in mid-run.
        import decimal, sqlite3
        thread = threading.Thread(target=work, args=(round,))
        thread.start()
        thread.join()
"#;

fn rounds(rounds: u32) -> Vec<u8> {
    format!("{rounds}\n").into_bytes()
}

fn sql(rows: u32) -> Vec<u8> {
    format!(
        "create table t(a integer primary key, b text);
         with recursive c(x) as (select 1 union all select x + 1 from c where x < {rows})
             insert into t select x, printf('%032d', x * 7919 % {rows}) from c;
         create index i on t(b);
         select count(*), group_concat(b) from (select t.b from t join t u on t.b = u.b order by u.a);
         select json_group_array(json_object('a', a, 'b', b)) from t;
         update t set b = upper(hex(b)) where a % 3 = 0;
         delete from t where b like '%7%';
         select total(length(b)), max(b) from t group by a % 100;\n"
    )
    .into_bytes()
}

fn queries(rows: u32) -> Vec<u8> {
    // With `-j`, a statement ends with a semicolon and two line feeds.
    format!(
        "create table t as select i, md5(i::text) m from generate_series(1, {rows}) i;\n\n\
         create index on t (m);\n\n\
         select count(*), max(m) from (select m, i % 100 g from t order by m) s group by g;\n\n\
         select count(*) from t a join t b on a.m = b.m where a.i % 3 = 0;\n\n\
         update t set m = upper(m) where i % 7 = 0;\n\n"
    )
    .into_bytes()
}

/// A history of a few files, as `git fast-import` takes it.
fn commits(count: u32) -> Vec<u8> {
    let mut stream = String::new();
    for number in 1..=count {
        let message = format!("Change number {number}\n");
        let text: String = (0..40)
            .map(|line| {
                format!(
                    "line {line} of change {}\n",
                    number - line * number % 3 % number
                )
            })
            .collect();
        stream += &format!(
            "commit refs/heads/main\ncommitter A <a@example.org> {} +0000\ndata {}\n{message}\
             M 100644 inline folder{}/file{}\ndata {}\n{text}\n",
            1_700_000_000 + number,
            message.len(),
            number % 5,
            number % 17,
            text.len(),
        );
    }
    stream += "done\n";
    stream.into_bytes()
}

fn git(folder: &Path, arguments: &[&str], stdin: &[u8]) -> Result<()> {
    let mut command = Command::new("/usr/bin/git");
    command.args(arguments).current_dir(folder);
    settle(&mut command, folder);
    process::run(&mut command, stdin)?.expect_code(0)
}

/// A database cluster in the folder `data`, for nobody.
fn initdb(folder: &Path) -> Result<()> {
    std::os::unix::fs::chown(folder, Some(NOBODY), Some(NOBODY))?;
    let mut command = Command::new(format!("{POSTGRES}/initdb"));
    command.args(["-D", "data", "-A", "trust", "-U", "postgres", "--no-sync"]);
    command.current_dir(folder).uid(NOBODY).gid(NOBODY);
    settle(&mut command, folder);
    process::run(&mut command, b"")?.expect_code(0)
}

/// An environment that is the same in each run, and in which nothing else is configured.
fn settle(command: &mut Command, folder: &Path) {
    command
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .env("HOME", folder)
        .env("LC_ALL", "C.UTF-8")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "init.defaultBranch")
        .env("GIT_CONFIG_VALUE_0", "main")
        .env("PERL_HASH_SEED", "0")
        .env("PYTHONHASHSEED", "0");
}

/// A program that waits for its work. The same each time, down to the addresses.
#[derive(Debug)]
pub struct Waiting {
    child: Child,
    work: Vec<u8>,
    /// Where it runs.
    _folder: TempDir,
}

impl Scripted {
    /// Starts it, and waits until it waits for its work.
    ///
    /// # Errors
    /// It is not installed, or it does not start.
    pub fn start(&self, load: Load) -> Result<Waiting> {
        let Self { name, program, .. } = self;
        let (folder, work) = self.prepare(load)?;
        // Without random addresses, which a program's behaviour may depend on.
        let mut command = Command::new("setarch");
        command.arg("-R").arg(program).args(self.arguments);
        command.current_dir(folder.path());
        settle(&mut command, folder.path());
        if program.starts_with(POSTGRES) {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = Child::spawn(&mut command)?;
        let call = format!("/proc/{}/syscall", child.pid());
        wait::until(&format!("{name} to read its input"), || {
            ensure!(child.is_running()?, "{name} ended: {}", child.stderr.text());
            // `read` is number 0, and so is standard input.
            let reads = fs::read_to_string(&call)?.starts_with("0 0x0 ");
            Ok(reads.then_some(()))
        })?;
        Ok(Waiting {
            child,
            work,
            _folder: folder,
        })
    }

    /// Runs it under `tracer run` from its first instruction to its end; the profile goes to `output`.
    ///
    /// # Errors
    /// It is not installed, or failed.
    pub fn run(&self, load: Load, output: &Path) -> Result<Ended> {
        let (folder, work) = self.prepare(load)?;
        let mut command = tracer(["run", "--format", "json", "-o"])?;
        command.arg(output).arg("--");
        if self.program.starts_with(POSTGRES) {
            let nobody = format!("--reuid={NOBODY}");
            let nogroup = format!("--regid={NOBODY}");
            command.args(["setpriv", &nobody, &nogroup, "--clear-groups"]);
        }
        command.arg(self.program).args(self.arguments);
        command.current_dir(folder.path());
        settle(&mut command, folder.path());
        let ended = process::run(&mut command, &work)?;
        ended.expect_code(0)?;
        Ok(ended)
    }

    /// The folder it is to run in, and its work.
    fn prepare(&self, load: Load) -> Result<(TempDir, Vec<u8>)> {
        let Self { name, program, .. } = self;
        ensure!(
            Path::new(program).is_file(),
            "no {program}: `./x programs` and `./x test` install it on Debian"
        );
        let rounds = match load {
            Load::Few => self.few,
            Load::Many => self.many,
        };
        let folder = TempDir::new()?;
        (self.prepare)(folder.path(), rounds).with_context(|| format!("preparing {name}"))?;
        Ok((folder, (self.work)(rounds)))
    }
}

impl Waiting {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Lets it do its work and end.
    ///
    /// # Errors
    /// It failed.
    pub fn finish(mut self) -> Result<Ended> {
        self.child.write(&self.work)?;
        self.child.close_stdin();
        let ended = self.child.wait()?;
        ended.expect_code(0)?;
        Ok(ended)
    }
}
