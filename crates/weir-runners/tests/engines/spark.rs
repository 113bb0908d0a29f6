//! Spark: `spark-submit` on this machine.

use std::collections::BTreeMap;

use weir_runners::client::{EngineClient, Look, Outcome, Submission};
use weir_runners::spark::client::SparkClient;
use weir_testkit::Spark;

use super::{end, failed, job, large, orders, rows, run, secret, suspending, until, uuid, vanished, watch};

const COPY: &str = r#"
import os
from pyspark.sql import SparkSession
spark = SparkSession.builder.config("spark.sql.csv.filterPushdown.enabled", "false").getOrCreate()
assert os.environ["PW"] == "hunter2-spark"
orders = spark.read.schema("id bigint, customer string, amount double").option("header", True).option("mode", "FAILFAST").csv("@IN@")
orders.where("amount >= 50").write.json("@OUT@")
spark.stop()
"#;

const ENDLESS: &str = r#"
from pyspark.sql import SparkSession
spark = SparkSession.builder.getOrCreate()
rate = spark.readStream.format("rate").option("rowsPerSecond", 100).load()
rate.writeStream.format("json").option("path", "@OUT@").option("checkpointLocation", "@OUT@.checkpoint").start().awaitTermination()
"#;

/// `cargo nextest run -p weir-runners --test engines --run-ignored all -E 'test(spark)'`; 460 MB are downloaded and unpacked the first time, then it takes
/// two minutes.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "a download of 460 MB and four JVMs one after the other: see the command above"]
async fn spark_from_the_first_job_to_the_last() {
    let spark = Spark::take().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let conf = BTreeMap::from([("spark.driver.memory".to_owned(), "512m".to_owned())]);
    let client = SparkClient::new(&spark.home(), "local[1]", conf, &dir.path().join("jobs")).unwrap();
    assert_eq!(client.version().await.unwrap(), weir_testkit::spark::install::VERSION);
    let at = |name: &str| dir.path().join(name).display().to_string();
    let copy = |input: &str, output: &str| Submission {
        variables: secret("PW", "hunter2-spark"),
        ..job("large_orders", "job.py", COPY.replace("@IN@", &at(input)).replace("@OUT@", &at(output)))
    };

    // A batch: the rows, and Spark's own counts of them.
    orders(&dir.path().join("in/orders.csv"), true, None);
    let ended = run(&client, &copy("in", "out")).await;
    assert!(matches!(ended.outcome, Outcome::Finished) && ended.settled, "{ended:?}");
    assert_eq!(rows(&dir.path().join("out")), large());
    let last = ended.last.unwrap();
    eprintln!("spark batch: {last:?}");
    assert_eq!((last.rows_read, last.rows_written), (Some(1000), Some(500)), "{last:?}");

    // A path that is not there.
    let ended = run(&client, &copy("nowhere", "none")).await;
    let error = failed(&ended);
    eprintln!("spark refuses: {error:?}");
    assert_eq!((error.code(), error.exit_code()), ("WEIR-LAUNCH-013", 1));
    assert!(error.why().unwrap().contains("nowhere"), "{error:?}");

    // A row that is wrong.
    orders(&dir.path().join("broken/orders.csv"), true, Some("many,customer 1,1.50"));
    let ended = run(&client, &copy("broken", "none")).await;
    let error = failed(&ended);
    eprintln!("spark fails: {error:?}");
    assert!(error.why().unwrap().contains("many"), "{error:?}");

    // Without end: it writes batches, is stopped, and goes on from its own checkpoint.
    let batches = |look: &Look| look.checkpoints.is_some_and(|batches| batches > 1);
    let mut endless = Submission { streaming: true, ..job("endless", "job.py", ENDLESS.replace("@OUT@", &at("stream"))) };
    let submitted = client.submit(&endless).await.unwrap();
    let ended = end(&client, &submitted, suspending(), Some(|look| look.checkpoints.is_some_and(|batches| batches > 1))).await;
    let Outcome::Suspended(savepoint) = ended.outcome else { panic!("{ended:?}") };
    let committed = || std::fs::read_dir(dir.path().join("stream.checkpoint/commits")).unwrap().count();
    let before = committed();
    assert!(before > 0);
    (endless.run_id, endless.resume) = (uuid(), Some(savepoint));
    let submitted = client.submit(&endless).await.unwrap();
    until(&client, &submitted, "it writes batches again", batches).await;
    assert!(committed() > before && std::fs::read_dir(dir.path().join("stream.checkpoint/offsets")).unwrap().count() > before);

    // All its processes are killed in the middle; then its folder is gone, and nobody knows it any more.
    let folder = dir.path().join("jobs").join(submitted.id());
    let group: i32 = std::fs::read_to_string(folder.join("pid")).unwrap().trim().parse().unwrap();
    // A negative number is a group of processes.
    weir_testkit::process::signal((-group).cast_unsigned(), 9).unwrap();
    let ended = end(&client, &submitted, watch(), None).await;
    let error = failed(&ended);
    eprintln!("spark was killed: {error:?}");
    assert_eq!((error.code(), error.exit_code(), ended.settled), ("WEIR-LAUNCH-013", 1, true));
    assert!(error.why().unwrap().contains("gone without an exit code"), "{error:?}");
    std::fs::remove_dir_all(&folder).unwrap();
    vanished(&client, &submitted, "spark").await;
}
