//! Every character of every set, as the servers convert it.

use super::super::charset::{Charset, name_of_collation};
use super::*;

#[tokio::test]
async fn the_number_of_every_collation_names_its_set() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let mut rows = database
            .rows("SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATIONS WHERE ID IS NOT NULL AND CHARACTER_SET_NAME IS NOT NULL")
            .unwrap();
        if flavor == Flavor::MariaDb {
            rows.extend(
                database
                    .rows("SELECT ID, CHARACTER_SET_NAME FROM information_schema.COLLATION_CHARACTER_SET_APPLICABILITY")
                    .unwrap(),
            );
        }
        assert!(rows.len() > 280);
        for row in rows {
            let id: u32 = row[0].as_deref().unwrap().parse().unwrap();
            assert_eq!(name_of_collation(id), row[1].as_deref(), "{flavor:?} {id}");
        }
    }
}

/// Codes of a set that may be characters.
fn codes(set: &str, longest: usize) -> Vec<Vec<u8>> {
    let two = |lead: std::ops::RangeInclusive<u8>| lead.flat_map(|a| (0x40..=0xfe).map(move |b| vec![a, b]));
    let mut codes: Vec<Vec<u8>> = (0..=255).map(|byte| vec![byte]).collect();
    match set {
        "ucs2" | "utf16" => {
            codes = (0..=0xffff_u16).step_by(7).map(|unit| unit.to_be_bytes().to_vec()).collect();
        }
        "utf16le" => codes = (0..=0xffff_u16).step_by(7).map(|unit| unit.to_le_bytes().to_vec()).collect(),
        "utf32" => codes = (0..=0x11_0000_u32).step_by(97).map(|unit| unit.to_be_bytes().to_vec()).collect(),
        _ if longest > 1 => codes.extend(two(0x81..=0xfe)),
        _ => {}
    }
    if matches!(set, "ujis" | "eucjpms") {
        codes.extend((0xa1..=0xfe).flat_map(|a| (0xa1..=0xfe).map(move |b| vec![0x8f, a, b])));
    }
    if set == "gb18030" {
        codes.extend((0x81..=0x84).chain(0x90..=0x91).flat_map(|a| {
            (0x30..=0x39).flat_map(move |b| {
                (0x81..=0xfe).step_by(3).flat_map(move |c| (0x30..=0x39).step_by(3).map(move |d| vec![a, b, c, d]))
            })
        }));
    }
    codes
}

#[tokio::test]
async fn every_character_becomes_what_the_server_makes_of_it_or_an_error() {
    for flavor in BOTH {
        let database = database_of(flavor);
        let sets = database.rows("SELECT CHARACTER_SET_NAME, MAXLEN FROM information_schema.CHARACTER_SETS").unwrap();
        let mut bent = Vec::new();
        for row in sets {
            let set = row[0].as_deref().unwrap();
            let longest: usize = row[1].as_deref().unwrap().parse().unwrap();
            if set.starts_with("utf8") || set == "binary" || set == "ascii" {
                continue;
            }
            let charset = Charset::named(set).unwrap_or_else(|| panic!("{set}"));
            let codes = codes(set, longest);
            let rows: Vec<String> =
                codes.iter().enumerate().map(|(at, code)| format!("({at},x'{}')", super::super::text::hex(code))).collect();
            database
                .execute(format!(
                    "DROP TABLE IF EXISTS c; CREATE TABLE c (id INT PRIMARY KEY, b VARBINARY(4)); INSERT INTO c VALUES {}",
                    rows.join(",")
                ))
                .unwrap();
            let answers = database
                .rows(format!("SELECT id, HEX(CONVERT(CONVERT(b USING {set}) USING utf8mb4)), HEX(CONVERT(b USING {set})) FROM c ORDER BY id"))
                .unwrap();
            let (mut refused, mut good) = (0, 0);
            for (code, answer) in codes.iter().zip(answers) {
                let ours = charset.decode(code).map(|text| super::super::text::hex(&text));
                // Two characters are no news, and bytes that the server changed are none of this set.
                let valid = answer[2].as_deref() == Some(&*super::super::text::hex(code));
                let theirs = answer[1].clone().filter(|text| valid && text != "EFBFBD" && (text != "3F" || code.contains(&b'?')));
                match (ours, theirs) {
                    (Some(ours), Some(theirs)) if ours != theirs => {
                        bent.push(format!("{set} {code:02x?}: {ours} and not {theirs}"))
                    }
                    (Some(ours), None) if valid => bent.push(format!("{set} {code:02x?}: {ours} where the server has nothing")),
                    (None, Some(_)) => refused += 1,
                    (Some(_), Some(_)) => good += 1,
                    _ => {}
                }
            }
            if refused > 0 {
                println!("{flavor:?} {set}: {good} are the same, {refused} are refused");
            }
            // Whatever is refused must be rare.
            assert!(refused * 5 <= good, "{flavor:?} {set}: {refused} of {good} are refused");
        }
        assert!(
            bent.is_empty(),
            "{flavor:?}: {}\n{}",
            bent.len(),
            bent.iter().map(|text| format!("{text}\n")).collect::<String>()
        );
    }
}
