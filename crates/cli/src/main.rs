//! The command `sentir`: arguments, files and messages around the library. What is computed is not here.

#![forbid(unsafe_code)]
mod arguments;
mod commands;
mod evaluation;
mod fingerprint;
mod input;
mod interrupt;
mod model;
mod output;
mod terminal;

use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;

use arguments::{Cli, Command};

fn main() -> ExitCode {
    let cli = Cli::parse();
    quiet_panics_of_readers();
    match run(&cli) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read our output has seen enough of it.
        Err(error) if error.is::<terminal::Closed>() => ExitCode::SUCCESS,
        Err(error) => {
            terminal::say(format_args!("error: {}", terminal::explanation(&error)));
            if error.is::<interrupt::Interrupted>() {
                ExitCode::from(interrupt::EXIT_CODE)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: &Cli) -> Result<()> {
    interrupt::install()?;
    sentir::check_isa().map_err(anyhow::Error::msg)?;
    if let Some(threads) = cli.global.threads {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads.into())
            .build_global()
            .with_context(|| format!("--threads {threads}: the threads cannot be started; ask for fewer"))?;
    }
    match &cli.command {
        Command::Demo(arguments) => commands::demo::run(arguments, &cli.global),
        Command::Encode(arguments) => commands::encode::run(arguments, &cli.global),
        Command::Similarity(arguments) => commands::similarity::run(arguments, &cli.global),
        Command::Search(arguments) => commands::search::run(arguments, &cli.global),
        Command::Index(arguments) => commands::index::run(arguments, &cli.global),
        Command::Mine(arguments) => commands::mine::run(arguments, &cli.global),
        Command::Classify(arguments) => commands::classify::run(arguments, &cli.global),
        Command::Cluster(arguments) => commands::cluster::run(arguments, &cli.global),
        Command::Dedup(arguments) => commands::dedup::run(arguments, &cli.global),
        Command::Inspect(arguments) => commands::inspect::run(arguments, &cli.global),
        Command::Quantize(arguments) => commands::quantize::run(arguments, &cli.global),
        Command::Prune(arguments) => commands::prune::run(arguments, &cli.global),
        Command::Train(arguments) => commands::train::run(arguments, &cli.global),
        Command::Evaluate(arguments) => commands::evaluate::run(arguments, &cli.global),
        Command::Card(arguments) => commands::card::run(arguments, &cli.global),
        Command::Download(arguments) => commands::download::run(arguments, &cli.global),
    }
}

/// A panic of the parquet or the tokenizers library over a damaged file is caught and reported as an error; it is not
/// printed as well.
fn quiet_panics_of_readers() {
    let print = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !input::parquet::reading()
            && !sentir::train::data::parquet::reading()
            && !sentir::tokens::tokenizing()
        {
            print(panic);
        }
    }));
}
