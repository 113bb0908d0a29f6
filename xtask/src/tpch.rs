//! `cargo xtask tpch`: TPC-H's lineitem as CSV with a header, for the benchmarks.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use anyhow::{Context, Result};
use tpchgen::csv::LineItemCsv;
use tpchgen::generators::LineItemGenerator;

#[derive(clap::Args)]
pub struct Args {
    /// Scale factor: 1 is 6,001,215 rows and 766 MB
    #[arg(long, default_value_t = 1.0)]
    scale: f64,
    /// A file that ends with `.csv`, or a folder to put `lineitem-SCALE.csv` into
    #[arg(long)]
    out: PathBuf,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
}

pub fn run(args: &Args) -> Result<()> {
    let file = if args.out.extension().is_some_and(|e| e == "csv") {
        args.out.clone()
    } else {
        args.out.join(format!("lineitem-{}.csv", args.scale))
    };
    let rows = write(&file, args.scale, args.threads.max(1))?;
    println!("{} ({rows} rows)", file.display());
    Ok(())
}

/// Writes the file whole or not at all; gives its number of rows. The bytes do not depend on `threads`.
fn write(file: &Path, scale: f64, threads: usize) -> Result<u64> {
    if let Some(parent) = file.parent() {
        fs::create_dir_all(parent)?;
    }
    let half_done = file.with_extension("csv.partial");
    let mut out = BufWriter::with_capacity(
        1 << 20,
        File::create(&half_done).with_context(|| format!("cannot write {}", half_done.display()))?,
    );
    writeln!(out, "{}", LineItemCsv::header())?;
    // Parts are made side by side and written in order; each holds about 60,000 rows.
    let parts = ((scale * 100.0).ceil() as i32).max(1);
    let mut rows = 0;
    std::thread::scope(|scope| -> Result<()> {
        let lanes: Vec<mpsc::Receiver<(u64, Vec<u8>)>> = (0..threads)
            .map(|lane| {
                let (sender, receiver) = mpsc::sync_channel(1);
                scope.spawn(move || {
                    for part in (1..=parts).skip(lane).step_by(threads) {
                        let mut text = Vec::with_capacity(8 << 20);
                        let mut count = 0;
                        for item in LineItemGenerator::new(scale, part, parts).iter() {
                            // Writing to memory cannot fail.
                            let _ = writeln!(text, "{}", LineItemCsv::new(item));
                            count += 1;
                        }
                        if sender.send((count, text)).is_err() {
                            return;
                        }
                    }
                });
                receiver
            })
            .collect();
        for part in 0..parts {
            let (count, text) = lanes[usize::try_from(part)? % threads].recv().context("a generator stopped")?;
            rows += count;
            out.write_all(&text)?;
        }
        Ok(())
    })?;
    out.flush()?;
    fs::rename(&half_done, file)?;
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_the_same_whatever_the_number_of_threads() {
        let dir = std::env::temp_dir().join(format!("weir-xtask-tpch-{}", std::process::id()));
        let (one, two) = (dir.join("one.csv"), dir.join("two.csv"));
        assert_eq!(write(&one, 0.011, 1).unwrap(), write(&two, 0.011, 3).unwrap());
        let text = fs::read_to_string(&one).unwrap();
        assert!(text == fs::read_to_string(&two).unwrap());
        let mut lines = text.lines();
        assert!(lines.next().unwrap().starts_with("l_orderkey,l_partkey,"));
        assert!(lines.next().unwrap().starts_with("1,"));
        fs::remove_dir_all(&dir).unwrap();
    }
}
