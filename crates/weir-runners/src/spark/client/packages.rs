//! What a job wants beside Spark's own jars. An artefact names the packages of one release; the Spark that is there gets those of its own, and none that it has already.

use std::path::Path;

/// The jars of an installed Spark.
#[derive(Debug, Default)]
pub struct Installed {
    /// Spark's release.
    pub spark: Option<String>,
    /// The release of Hadoop that it brings; its file systems must be of the same.
    hadoop: Option<String>,
    jars: Vec<String>,
}

impl Installed {
    /// What lies in the folder `jars` of `home`, and among `more` (`spark.jars`: paths with commas).
    pub fn of(home: &Path, more: &str) -> Self {
        let found = std::fs::read_dir(home.join("jars")).into_iter().flatten();
        let mut jars: Vec<String> = found.filter_map(|jar| jar.ok()?.file_name().into_string().ok()).collect();
        jars.extend(
            more.split(',').filter_map(|path| path.trim().rsplit('/').next()).filter(|name| !name.is_empty()).map(Into::into),
        );
        let release = |of: &str| jars.iter().find_map(|name| Some(name.strip_prefix(of)?.strip_suffix(".jar")?.to_owned()));
        let spark = release("spark-core_").and_then(|name| Some(name.split_once('-')?.1.to_owned()));
        Self { spark, hadoop: release("hadoop-client-api-"), jars }
    }

    /// Arguments for `spark-submit`, one a line in `text`.
    pub fn arguments(&self, text: &str) -> Vec<String> {
        let mut lines = text.lines().filter(|line| !line.is_empty());
        let mut arguments = Vec::new();
        while let Some(line) = lines.next() {
            match (line, lines.clone().next()) {
                ("--packages", Some(all)) => {
                    lines.next();
                    let missing = self.missing(all);
                    if !missing.is_empty() {
                        arguments.extend(["--packages".to_owned(), missing.join(",")]);
                    }
                }
                _ => arguments.push(line.to_owned()),
            }
        }
        arguments
    }

    fn missing(&self, all: &str) -> Vec<String> {
        let each = all.split(',').filter_map(|package| {
            let [group, artifact, version] = package.split(':').collect::<Vec<_>>().try_into().ok()?;
            let release = match group {
                "org.apache.spark" => self.spark.as_deref(),
                "org.apache.hadoop" => self.hadoop.as_deref(),
                _ => None,
            };
            let version = release.unwrap_or(version);
            let there = self.jars.iter().any(|jar| *jar == format!("{artifact}-{version}.jar"));
            (!there).then(|| format!("{group}:{artifact}:{version}"))
        });
        each.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_are_of_the_release_that_is_there_and_those_that_are_there_are_not_fetched() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("jars")).unwrap();
        for jar in ["spark-core_2.13-4.3.0.jar", "hadoop-client-api-3.5.0.jar", "postgresql-42.7.13.jar"] {
            std::fs::write(dir.path().join("jars").join(jar), "").unwrap();
        }
        let installed = Installed::of(dir.path(), "/x/spark-avro_2.13-4.3.0.jar, /y/z.jar");
        assert_eq!(installed.spark.as_deref(), Some("4.3.0"));
        let all = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.1.0,org.apache.spark:spark-avro_2.13:4.1.0,org.postgresql:postgresql:42.7.13,org.apache.hadoop:hadoop-aws:3.4.2";
        let wanted = "org.apache.spark:spark-sql-kafka-0-10_2.13:4.3.0,org.apache.hadoop:hadoop-aws:3.5.0";
        assert_eq!(installed.arguments(&format!("--packages\n{all}\n--verbose\n")), ["--packages", wanted, "--verbose"]);
        assert_eq!(installed.arguments("--packages\norg.postgresql:postgresql:42.7.13\n"), Vec::<String>::new());
    }
}
