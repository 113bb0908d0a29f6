//! `weir export`: for whoever starts runs by a clock of their own.

use clap::{Args, Subcommand};

use super::File;

#[derive(Debug, Subcommand)]
pub enum Export {
    /// Write a workflow of Apache DolphinScheduler, as its import takes it: an HTTP task that starts a run, one that waits for its end
    Dolphinscheduler(ExportDolphin),
    /// Write a DAG of Apache Airflow, of plain HTTP operators: one starts a run, one waits for its end
    Airflow(ExportAirflow),
}

#[derive(Debug, Args)]
pub struct ExportDolphin {
    #[command(flatten)]
    pub file: File,
    /// Id of the job that the server has of this pipeline
    #[arg(long, value_name = "ID")]
    pub job: String,
    /// Where the server is, as DolphinScheduler's workers reach it
    #[arg(long, value_name = "URL", default_value = "http://weir:8080")]
    pub url: String,
    /// Minutes that a run may take
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub timeout_minutes: u32,
}

#[derive(Debug, Args)]
pub struct ExportAirflow {
    #[command(flatten)]
    pub file: File,
    /// Id of the job that the server has of this pipeline
    #[arg(long, value_name = "ID")]
    pub job: String,
    /// Airflow's connection of type `http` that leads to the server
    #[arg(long, value_name = "NAME", default_value = "weir")]
    pub connection: String,
    /// Minutes that a run may take
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=10_080))]
    pub timeout_minutes: u32,
}
