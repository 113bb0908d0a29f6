//! `weir compile` and `weir engines` as a person meets them.

use crate::assert_said;
use crate::harness::Folder;

const COPY: &str = "\
pipeline: orders_copy
source:
  postgres: {host: db, database: crm, user: reader, password: hunter2, table: public.orders}
transforms:
  - filter: amount > 0
sink:
  postgres: {host: olap, database: dwh, user: loader, password: \"${DWH_PASSWORD}\", table: orders, write_mode: upsert, key: [id]}
";

#[test]
fn a_job_goes_to_standard_output_and_what_it_expects_is_told() {
    let folder = Folder::new();
    folder.write("copy.yaml", COPY);
    assert_said!("compile", folder.weir(&["compile", "copy.yaml", "--target", "seatunnel:2.3.4"]));
    assert_said!("compile_refused", folder.weir(&["compile", "copy.yaml", "--target", "kafka-connect"]));
    assert_said!("compile_no_target", folder.weir(&["compile", "copy.yaml", "--target", "sparc"]));
    assert_said!("engines", folder.weir(&["engines", "copy.yaml"]));
}

#[test]
fn spark_gets_a_program_and_its_packages() {
    let folder = Folder::new();
    folder.write("copy.yaml", COPY.replace(", write_mode: upsert, key: [id]", ""));
    folder.weir(&["compile", "copy.yaml", "--target", "spark", "--output", "out"]).ok();
    let job = std::fs::read_to_string(folder.path().join("out/weir_orders_copy.py")).unwrap();
    assert!(job.contains("os.environ[\"SOURCE_PASSWORD\"]") && !job.contains("hunter2"), "{job}");
    assert!(std::fs::read_to_string(folder.path().join("out/orders_copy.args")).unwrap().contains("org.postgresql:postgresql"));
    let said = folder.weir(&["compile", "copy.yaml", "--target", "spark", "--json"]).ok().json();
    assert_eq!((&said["target"], &said["delivery"]), (&"spark".into(), &"at_least_once".into()));
}
