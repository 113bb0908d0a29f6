//! The list of engines, and how a target is written. A new engine is a folder and one line in [`ENGINES`].

use serde::{Serialize, Serializer};

use crate::compile::{Compiling, Output};

/// An engine that pipelines are compiled for.
pub struct Engine {
    /// As it is written on the command line and in pipeline files.
    pub name: &'static str,
    /// What each of its targets makes, the first being what the name alone means.
    pub targets: &'static [Target],
    /// The compiler. Problems are told to the [`Compiling`]; what is returned then is not used.
    pub compile: fn(&Compiling<'_>) -> Output,
    /// What it can do.
    pub abilities: fn() -> crate::capability::Abilities,
}

/// Every engine but our own.
pub const ENGINES: &[Engine] = &[
    Engine {
        name: "seatunnel",
        targets: &[Target::SeaTunnel(Release::V2_3_9), Target::SeaTunnel(Release::V2_3_4)],
        compile: crate::seatunnel::compile,
        abilities: crate::seatunnel::abilities,
    },
    Engine {
        name: "flink",
        targets: &[Target::FlinkSql, Target::FlinkJson],
        compile: crate::flink::compile,
        abilities: crate::flink::abilities,
    },
    Engine { name: "spark", targets: &[Target::Spark], compile: crate::spark::compile, abilities: crate::spark::abilities },
    Engine {
        name: "kafka-connect",
        targets: &[Target::KafkaConnect],
        compile: crate::kafka_connect::compile,
        abilities: crate::kafka_connect::abilities,
    },
];

/// A release of SeaTunnel whose names of options differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Release {
    /// `result_table_name` and `source_table_name`.
    V2_3_4,
    /// And newer: `plugin_output` and `plugin_input`.
    V2_3_9,
}

/// How SeaTunnel's configuration is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Format {
    /// What its command line takes.
    #[default]
    Hocon,
    /// What its REST API takes.
    Json,
}

/// What is compiled for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Target {
    /// SeaTunnel's configuration.
    SeaTunnel(Release),
    /// A script of Flink SQL.
    FlinkSql,
    /// The configuration of a streaming job runner on Flink.
    FlinkJson,
    /// A PySpark program.
    Spark,
    /// Connectors of Kafka Connect.
    KafkaConnect,
}

impl Target {
    /// Every target.
    pub fn all() -> impl Iterator<Item = Self> {
        ENGINES.iter().flat_map(|engine| engine.targets.iter().copied())
    }

    /// As it is written: `seatunnel:2.3.4`, `flink-sql`.
    pub fn name(self) -> &'static str {
        match self {
            Self::SeaTunnel(Release::V2_3_4) => "seatunnel:2.3.4",
            Self::SeaTunnel(Release::V2_3_9) => "seatunnel:2.3.9",
            Self::FlinkSql => "flink-sql",
            Self::FlinkJson => "flink-json",
            Self::Spark => "spark",
            Self::KafkaConnect => "kafka-connect",
        }
    }

    /// The target of a word, or what would have been right. An engine's name means the first of its targets; underscores are understood.
    pub fn parse(text: &str) -> Result<Self, String> {
        let word = text.trim().to_ascii_lowercase().replace('_', "-");
        let engine = || ENGINES.iter().find(|engine| engine.name == word).and_then(|engine| engine.targets.first().copied());
        Self::all().find(|target| target.name() == word).or_else(engine).ok_or_else(|| {
            let names: Vec<&str> = Self::all().map(Self::name).collect();
            match weir_spec::nearest(&word, names.iter().copied().chain(ENGINES.iter().map(|engine| engine.name))) {
                Some(near) => format!("did you mean `{near}`? Targets: {}", names.join(", ")),
                None => format!("targets: {}", names.join(", ")),
            }
        })
    }

    /// Its engine.
    pub fn engine(self) -> &'static Engine {
        // Every target is in the list; a test holds it to that.
        ENGINES.iter().find(|engine| engine.targets.contains(&self)).unwrap_or(&ENGINES[0])
    }

    /// The engine as people call it.
    pub fn title(self) -> &'static str {
        match self {
            Self::SeaTunnel(_) => "SeaTunnel",
            Self::FlinkSql | Self::FlinkJson => "Flink",
            Self::Spark => "Spark",
            Self::KafkaConnect => "Kafka Connect",
        }
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_is_found_by_its_name_and_belongs_to_an_engine() {
        for target in Target::all() {
            assert_eq!(Target::parse(target.name()), Ok(target));
            assert!(target.engine().targets.contains(&target));
        }
        assert_eq!(Target::parse("kafka_connect"), Ok(Target::KafkaConnect));
        assert_eq!(Target::parse("flink"), Ok(Target::FlinkSql));
        assert!(Target::parse("flnik-sql").unwrap_err().starts_with("did you mean `flink-sql`?"));
    }
}
