//! `cargo xtask service`: real servers without containers, built or installed once into the cache.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use weir_testkit::minio;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Gets the server's program ready, downloading or building it when it is missing.
    Install { name: Name },
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Minio,
}

pub fn run(args: Args) -> Result<()> {
    match args.action {
        Action::Install { name: Name::Minio } => println!("{}", minio::install::binary()?.display()),
    }
    Ok(())
}
