//! A small HTTP API over `planes.csv`, so that the example has one. Standard library only: `rustc -O planes_api.rs`.
//!
//! `planes_api FILE [PORT]` listens on 127.0.0.1 (port 0, the default, takes a free one), prints its address on one line and
//! serves until its standard input ends:
//!
//! `GET /planes?page=1&per_page=500` → `{"data": [{…}], "page": 1, "total": 3322, "next": "http://…?page=2…" | null}`

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

#[allow(dead_code, reason = "tests include this file and call `serve` alone")]
fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let Some(file) = arguments.next() else {
        eprintln!("usage: planes_api FILE [PORT]");
        std::process::exit(2);
    };
    let port = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(0);
    let records = records(&std::fs::read_to_string(file)?);
    let listener = TcpListener::bind(("127.0.0.1", port))?;
    println!("http://{}", listener.local_addr()?);
    std::thread::spawn(move || serve(&listener, records));
    // Whoever started us holds the other end: when it goes, so do we.
    std::io::stdin().read_to_end(&mut Vec::new()).map(drop)
}

/// Each line of a CSV without quotes as a JSON object. `NA` is null; a column of whole numbers holds numbers.
pub fn records(csv: &str) -> Vec<String> {
    let mut lines = csv.lines().map(|line| line.split(',').collect::<Vec<_>>());
    let header = lines.next().unwrap_or_default();
    let rows: Vec<Vec<&str>> = lines.collect();
    let numbers: Vec<bool> =
        (0..header.len()).map(|column| rows.iter().all(|row| missing(row[column]) || whole(row[column]))).collect();
    let json = |value: &str, number: bool| match value {
        value if missing(value) => "null".to_string(),
        value if number => value.to_string(),
        value => text(value),
    };
    let object = |row: &Vec<&str>| {
        let fields = (0..header.len()).map(|column| format!("{}:{}", text(header[column]), json(row[column], numbers[column])));
        format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
    };
    rows.iter().map(object).collect()
}

fn missing(value: &str) -> bool {
    matches!(value, "NA" | "")
}

fn whole(value: &str) -> bool {
    value.parse::<i64>().is_ok_and(|number| number.to_string() == value)
}

fn text(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\""))
}

/// Answers requests for ever, each connection in its own thread.
pub fn serve(listener: &TcpListener, records: Vec<String>) {
    let records = Arc::new(records);
    for connection in listener.incoming().flatten() {
        let records = records.clone();
        std::thread::spawn(move || converse(connection, &records));
    }
}

fn converse(mut connection: TcpStream, records: &[String]) -> std::io::Result<()> {
    let here = connection.local_addr()?;
    let mut reader = BufReader::new(connection.try_clone()?);
    let mut request = String::new();
    while reader.read_line(&mut request)? > 0 {
        let mut header = String::new();
        while reader.read_line(&mut header)? > 2 {
            header.clear();
        }
        let target = request.split(' ').nth(1).unwrap_or("/").to_string();
        let (status, body) = match target.split_once('?').unwrap_or((&target, "")) {
            ("/planes", query) => ("200 OK", page(records, query, &format!("http://{here}/planes"))),
            _ => ("404 Not Found", "{\"error\":\"GET /planes?page=1&per_page=500\"}".into()),
        };
        let head = format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        connection.write_all(head.as_bytes())?;
        connection.write_all(body.as_bytes())?;
        request.clear();
    }
    Ok(())
}

fn page(records: &[String], query: &str, url: &str) -> String {
    let number = |wanted: &str, default: usize| {
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.filter(|(name, _)| *name == wanted).find_map(|(_, value)| value.parse().ok()).unwrap_or(default).max(1)
    };
    let (page, size) = (number("page", 1), number("per_page", 500).min(1000));
    let start = (page - 1).saturating_mul(size).min(records.len());
    let end = (start + size).min(records.len());
    let next = if end < records.len() { format!("\"{url}?page={}&per_page={size}\"", page + 1) } else { "null".into() };
    let data = records[start..end].join(",");
    format!("{{\"data\":[{data}],\"page\":{page},\"total\":{},\"next\":{next}}}", records.len())
}
