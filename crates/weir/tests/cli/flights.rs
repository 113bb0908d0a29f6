//! The example of the README, end to end on a slice: CSV, NDJSON, CSV and an HTTP API into a partitioned lake.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::harness::Folder;

#[path = "../../../../examples/nycflights/planes_api.rs"]
mod planes_api;

const EXAMPLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/nycflights");
/// Departures in the slice.
const SLICE: usize = 2_000;

fn unzipped(path: &Path) -> String {
    let output = Command::new("gzip").args(["-dc"]).arg(path).output().unwrap();
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}

/// A folder with the example in it, the departures cut to every 168th so that all months and origins are there.
fn example() -> (Folder, String) {
    let mut folder = Folder::new();
    let all = unzipped(&Path::new(EXAMPLE).join("data/flights.csv.gz"));
    let mut lines = all.lines();
    let mut slice = vec![lines.next().unwrap()];
    slice.extend(lines.step_by(168).take(SLICE));
    let slice = slice.join("\n") + "\n";
    folder.write("data/flights.csv", &slice);
    assert!(Command::new("gzip").arg(folder.path().join("data/flights.csv")).status().unwrap().success());
    for file in ["data/weather.ndjson.gz", "data/airports.csv", "flights.yaml"] {
        folder.write(file, std::fs::read(Path::new(EXAMPLE).join(file)).unwrap());
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    folder.set("PLANES_API", format!("http://{}", listener.local_addr().unwrap()));
    let records = planes_api::records(&std::fs::read_to_string(Path::new(EXAMPLE).join("data/planes.csv")).unwrap());
    assert_eq!(records.len(), 3_322);
    std::thread::spawn(move || planes_api::serve(&listener, records));
    (folder, slice)
}

#[test]
fn four_sources_become_one_partitioned_lake_and_every_row_is_accounted_for() {
    let (folder, slice) = example();
    folder.weir(&["check", "flights.yaml"]).ok();
    let report = folder.weir(&["run", "flights.yaml", "--json"]).ok().json();
    let sum = |name: &str| report["streams"].as_array().unwrap().iter().map(|s| s[name].as_u64().unwrap_or(0)).sum::<u64>();
    assert_eq!(sum("rows_written"), SLICE as u64);
    assert_eq!(sum("rows_read"), SLICE as u64 + 26_115 + 3_322 + 1_458);
    assert_eq!(sum("rows_read") + sum("rows_derived"), sum("rows_written") + sum("rows_filtered") + sum("rows_dead"));

    // The partitions and their counts, from the CSV itself.
    let mut expected: BTreeMap<(String, u64), u64> = BTreeMap::new();
    for line in slice.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        *expected.entry((fields[12].into(), fields[1].parse().unwrap())).or_default() += 1;
    }
    assert_eq!(expected.len(), 36);
    for (origin, month) in expected.keys() {
        assert!(folder.path().join(format!("lake/flights/origin={origin}/month={month}")).is_dir(), "{origin} {month}");
    }
    let sql = "select origin, month, count(*) as n from flights group by origin, month order by origin, month";
    let rows = folder.weir(&["query", "--output", "csv", sql]).ok().out;
    let text: Vec<String> = expected.iter().map(|((origin, month), n)| format!("{origin},{month},{n}")).collect();
    assert_eq!(rows, format!("origin,month,n\n{}\n", text.join("\n")));
}

#[test]
fn joined_values_are_those_of_the_sources() {
    let (folder, slice) = example();
    folder.weir(&["run", "flights.yaml", "--progress", "none"]).ok();
    // The first departure, by hand: 2013-01-01 05:15, UA 1545 from EWR to IAH with N14228.
    assert!(slice.lines().nth(1).unwrap().contains("N14228,EWR,IAH"));
    let sql = "select flight, dest_name, manufacturer, built, seats, temp_fahrenheit, cancelled from flights where tailnum = 'N14228' and month = 1 and day = 1";
    let rows = folder.weir(&["query", "--output", "csv", sql]).ok().out;
    let row = rows.lines().nth(1).unwrap_or_default();
    assert!(row.starts_with("1545,George Bush Intercontinental,BOEING,1999,149,"), "{rows}");
    assert!(row.ends_with(",false"), "{rows}");
    let cancelled = slice.lines().skip(1).filter(|line| line.split(',').nth(3) == Some("NA")).count();
    let counted = folder.weir(&["query", "--output", "csv", "select count(*) as n from flights where cancelled"]).ok().out;
    assert_eq!(counted, format!("n\n{cancelled}\n"));
}
