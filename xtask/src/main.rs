//! Project chores: everything that `./x` offers once the toolchain is there.
//!
//! Must build without the tracer, since it is what builds the tracer.

mod bench;
mod demo;
mod dist;
mod docs;
mod ebpf;
mod fuzz;
mod gallery;
mod kernels;
mod lint;
mod load;
mod programs;
mod service;
mod setup;
mod storm;
mod test;
mod workspace;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;
use clap::Subcommand;

use crate::setup::Purpose;
use crate::workspace::Workspace;

/// Builds, tests and shows this project.
#[derive(Parser)]
#[command(name = "./x", bin_name = "./x", arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the eBPF object, tracer and counter-service in release mode
    Build,
    /// Run all tests; arguments after `--` go to every test binary
    Test {
        /// For the test binaries, for example part of a test's name
        #[arg(last = true, value_name = "ARGS")]
        arguments: Vec<String>,
    },
    /// Trace counter-service under load and show what it found
    Demo,
    /// Measure what tracing costs; prints tables, and JSON under target/bench/
    Bench(bench::Options),
    /// Trace every program of the gallery of leaks and check the verdicts; needs root, takes 40 minutes
    Gallery(gallery::Options),
    /// Do to a recording what can happen to it, at random moments; needs root, takes ten minutes a part
    Storm(storm::Options),
    /// Trace Debian's own programs at work and hold their stacks against gdb's; needs root
    Programs,
    /// Run tests on other kernels, in virtual machines; needs Debian or its relatives
    Kernels(kernels::Options),
    /// Check formatting, clippy and shell scripts
    Lint,
    /// Feed made-up files to what reads the target's, and look for crashes
    Fuzz(fuzz::Options),
    /// Format all code
    Fmt,
    /// Install and build all that the other commands need
    Setup,
    /// Build the eBPF object only, as target/ebpf/tracer-ebpf.o
    Ebpf,
    /// Play the commands of the guide and compare what they print with what it shows; needs root
    Docs(docs::Options),
    /// Put the release binary, completions and man pages into target/dist
    Dist,
}

fn run(command: &Command) -> Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Build => {
            setup::install(&[Purpose::Build])?;
            let binaries = workspace.build_release()?;
            println!("{}", binaries.tracer.display());
            println!("{}", binaries.counter_service.display());
            Ok(())
        }
        Command::Test { arguments } => {
            setup::install(&[Purpose::Build, Purpose::Test])?;
            test::run(&workspace, arguments)
        }
        Command::Demo => {
            setup::install(&[Purpose::Build])?;
            demo::run_demo(&workspace)
        }
        Command::Bench(options) => {
            setup::install(&[Purpose::Build, Purpose::Bench])?;
            bench::run(&workspace, options)
        }
        Command::Gallery(options) => {
            setup::install(&[Purpose::Build, Purpose::Test])?;
            gallery::run(&workspace, options)
        }
        Command::Storm(options) => {
            setup::install(&[Purpose::Build, Purpose::Test])?;
            storm::run(&workspace, options)
        }
        Command::Programs => {
            setup::install(&[Purpose::Build, Purpose::Test, Purpose::Programs])?;
            programs::run(&workspace)
        }
        Command::Kernels(options) => {
            setup::install(&[Purpose::Build, Purpose::Kernels])?;
            kernels::run(&workspace, options)
        }
        Command::Lint => {
            setup::install(&[Purpose::Lint])?;
            lint::lint(&workspace)
        }
        Command::Fuzz(options) => {
            setup::install(&[Purpose::Build, Purpose::Fuzz])?;
            fuzz::fuzz(&workspace, options)
        }
        Command::Fmt => lint::format(&workspace),
        Command::Setup => {
            setup::install(Purpose::ALL)?;
            workspace::run(workspace.cargo().arg("fetch"))?;
            ebpf::build_linker(&workspace)?;
            Ok(())
        }
        Command::Ebpf => {
            setup::install(&[Purpose::Build])?;
            println!("{}", ebpf::build(&workspace)?.display());
            Ok(())
        }
        Command::Docs(options) => {
            setup::install(&[Purpose::Build, Purpose::Test])?;
            docs::run(&workspace, options)
        }
        Command::Dist => {
            setup::install(&[Purpose::Build])?;
            dist::collect(&workspace)
        }
    }
}

fn main() -> ExitCode {
    match run(&Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("./x: {error:#}");
            ExitCode::FAILURE
        }
    }
}
