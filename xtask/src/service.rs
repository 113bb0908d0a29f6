//! `cargo xtask service`: real servers without containers, built or installed once into the cache.

use anyhow::Result;
use clap::{Subcommand, ValueEnum};
use weir_testkit::services::Service;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Gets the server's program ready, downloading or building it when it is missing
    Install { name: Name },
    /// Starts it on a free port of 127.0.0.1 and says how to reach it
    Start { name: Name },
    /// Stops it and throws its data away
    Stop { name: Name },
    /// What runs
    List,
}

#[derive(Clone, Copy, ValueEnum)]
enum Name {
    Postgres,
    Postgres18,
    Mariadb,
    Mysql,
    Minio,
    Pulsar,
    Ignite,
    Vault,
    OtelCollector,
}

impl From<Name> for Service {
    fn from(name: Name) -> Self {
        match name {
            Name::Postgres => Self::Postgres,
            Name::Postgres18 => Self::Postgres18,
            Name::Mariadb => Self::Mariadb,
            Name::Mysql => Self::Mysql,
            Name::Minio => Self::Minio,
            Name::Pulsar => Self::Pulsar,
            Name::Ignite => Self::Ignite,
            Name::Vault => Self::Vault,
            Name::OtelCollector => Self::OtelCollector,
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    match args.action {
        Action::Install { name } => println!("{}", Service::from(name).install()?.display()),
        Action::Start { name } => println!("{}", Service::from(name).start()?.address),
        Action::Stop { name } => {
            let said = if Service::from(name).stop()? { "stopped" } else { "did not run" };
            println!("{said}");
        }
        Action::List => {
            for service in Service::ALL {
                match service.running()? {
                    Some(running) => println!("{:12} {:>8}  {}", service.name(), running.pid, running.address),
                    None => println!("{:12} {:>8}", service.name(), "-"),
                }
            }
        }
    }
    Ok(())
}
