//! The API under `/api/v1`: one file per resource. A handler takes what was asked, calls one service or store method, and gives the
//! answer its shape. What is not here: who may call what ([`crate::routes`]), and any decision.

pub mod alerts;
pub mod audit;
pub mod config;
pub mod connections;
pub mod connectors;
pub mod dead_letters;
pub mod events;
pub mod graph;
pub mod graph_counts;
pub mod jobs;
pub mod journal;
pub mod me;
pub mod monitoring;
pub mod page;
pub mod pipelines;
pub mod positions;
pub mod principals;
pub mod runs;
pub mod schedule;
pub mod secrets;
pub mod subscriptions;
pub mod templates;
pub mod tenants;
pub mod tokens;
pub mod words;
