//! `cargo xtask service`: real servers without containers, built or installed once into the cache.

use anyhow::Result;
use clap::Subcommand;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use weir_testkit::services::Service;

#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Gets the server's program ready, downloading or building it when it is missing
    Install {
        #[arg(value_parser = named())]
        name: Service,
    },
    /// Starts it on a free port of 127.0.0.1 and says how to reach it
    Start {
        #[arg(value_parser = named())]
        name: Service,
    },
    /// Stops it and throws its data away
    Stop {
        #[arg(value_parser = named())]
        name: Service,
    },
    /// What runs
    List,
}

fn named() -> impl TypedValueParser<Value = Service> {
    PossibleValuesParser::new(Service::ALL.map(Service::name))
        .try_map(|name| Service::ALL.into_iter().find(|service| service.name() == name).ok_or("no such service"))
}

pub fn run(args: &Args) -> Result<()> {
    match args.action {
        Action::Install { name } => println!("{}", name.install()?.display()),
        Action::Start { name } => println!("{}", name.start()?.address),
        Action::Stop { name } => {
            let said = if name.stop()? { "stopped" } else { "did not run" };
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
