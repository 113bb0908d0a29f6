//! How far the log is, for `weir verify`: a position after which a look at a table comes, and whether a resume point has passed it.

use serde_json::{Value, json};
use weir_connect::Result;

use super::super::client::Client;
use super::position::{Done, Family, Position};
use super::server;
use crate::changes::position::Stored;

/// Where the log ends now, at least: what sessions saw before is in it. (MySQL names a transaction a moment after it is visible. Who compares asks again.)
pub async fn point(client: &mut Client) -> Result<Value> {
    let family = server::check(client, None).await?.family;
    let done = match family {
        Family::Gtids => Done::Gtids(server::executed(client).await?),
        Family::Mariadb => Done::Maria(server::last(client).await?),
        Family::Files => Done::Upto(server::end(client).await?),
    };
    Ok(json!({"family": family, "done": done.text()}))
}

/// Whether the snapshot of the stream is complete there, and everything up to the point was read.
pub fn reached(stream: &str, position: &Value, point: &Value) -> bool {
    let Ok(position) = Position::read(position) else { return false };
    let copied = position.tables.get(stream).is_some_and(|table| table.done);
    copied && point["family"] == json!(position.family) && covers(&position, point["done"].as_str().unwrap_or_default())
}

fn covers(position: &Position, point: &str) -> bool {
    let wanted = match position.family {
        Family::Gtids => point.parse().map(Done::Gtids),
        Family::Mariadb => point.parse().map(Done::Maria),
        Family::Files => Ok(Done::Upto(place(point))),
    };
    match (position.done(), wanted) {
        (Ok(done), Ok(wanted)) => done.covers(&wanted),
        _ => false,
    }
}

/// `file:byte`, as [`Done::text`] writes it.
fn place(text: &str) -> super::position::Place {
    let (file, position) = text.rsplit_once(':').unwrap_or((text, ""));
    super::position::Place { file: file.into(), position: position.parse().unwrap_or(u64::MAX) }
}

#[cfg(test)]
mod tests {
    use super::super::position::{Place, TableProgress};
    use super::*;

    #[test]
    fn a_point_is_reached_when_the_snapshot_is_complete_and_the_log_is_read_up_to_it() {
        let progress =
            |done| TableProgress { columns: vec![], key: vec![], altered: vec![], gone: false, done, again: None, after: None };
        for (done, point, other) in [
            (Done::Maria("0-1-7".parse().unwrap()), "0-1-7", "0-1-8"),
            (
                Done::Gtids("3e11fa47-71ca-11e1-9e33-c80aa9429562:1-7".parse().unwrap()),
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5",
                "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-8",
            ),
            (Done::Upto(Place { file: "b.3".into(), position: 7 }), "b.3:7", "b.10:4"),
        ] {
            let mut position = Position::new("s".into(), &done, &Place::default());
            if let Done::Upto(place) = &done {
                position.move_to(&done, place);
            }
            let told = |point: &str| json!({"family": position.family, "done": point});
            let at = |position: &Position, point: &str| reached("d.t", &position.write().unwrap(), &told(point));
            assert!(!at(&position, point), "the table is not there yet");
            let mut position = position.clone();
            position.tables.insert("d.t".into(), progress(false));
            assert!(!at(&position, point));
            position.tables.insert("d.t".into(), progress(true));
            assert!(at(&position, point) && !at(&position, other), "{point}");
        }
    }
}
