//! What is said while an engine runs a job: lines for people, JSON lines for programs. All of it goes to stderr.

use std::time::{Duration, Instant};

use serde_json::json;
use weir_runners::client::{Begun, Event, Job, Look};

use crate::cli::Progress;
use crate::show::number;
use crate::show::style::Style;

/// People are told of a job that runs this often.
const EVERY: Duration = Duration::from_secs(2);

/// Says what it is told.
pub struct Told {
    engine: &'static str,
    progress: Progress,
    style: Style,
    last: Option<(String, Instant)>,
}

impl Told {
    pub fn new(engine: &'static str, progress: Progress, style: Style) -> Self {
        Self { engine, progress, style, last: None }
    }

    /// The job is there.
    pub fn begun(&self, place: &str, job: &Job, how: &Begun) {
        let how = match how {
            Begun::Submitted => "submitted",
            Begun::Resumed => "resumed",
            Begun::Found => "found",
        };
        let what = match how {
            "found" => "found there, from an earlier command: it is followed, and none is submitted beside it",
            "resumed" => "submitted, to go on from where it was stopped",
            _ => "submitted",
        };
        self.say(json!({"event": how, "engine": self.engine, "place": place, "job": job.ids}), || {
            format!("{} at {place}  job {}  {what}", self.engine, job.ids.join(", "))
        });
    }

    /// One event of the following.
    pub fn event(&mut self, event: &Event<'_>) {
        let seconds = |time: &Duration| number::time(*time);
        match event {
            Event::Look(look) => self.look(look),
            Event::Silent(error) => self.say(json!({"event": "silent", "error": error.to_json()}), || {
                format!("{} {}: {}", self.style.yellow("waiting:"), error.what(), error.why().unwrap_or_default())
            }),
            Event::Back(away) => self.say(json!({"event": "back", "away_ms": millis(away)}), || {
                format!("{} answers again, after {}", self.engine, seconds(away))
            }),
            Event::Restarted => {
                self.say(json!({"event": "restarted"}), || {
                    format!("{} {} began the job again", self.style.yellow("restarted:"), self.engine)
                });
            }
            Event::Stalled(still) => self.say(json!({"event": "stalled", "still_ms": millis(still)}), || {
                let seen = self.last.as_ref().map_or("", |(word, _)| word);
                format!("{} the job is {seen} and nothing has moved for {}", self.style.yellow("stalled:"), seconds(still))
            }),
            Event::Moving => self.say(json!({"event": "moving"}), || "the job moves again".into()),
            Event::Stopping => self.say(json!({"event": "stopping"}), || format!("{} is asked to stop the job", self.engine)),
        }
    }

    fn look(&mut self, look: &Look) {
        let known = self.last.as_ref().is_some_and(|(word, at)| *word == look.word && at.elapsed() < EVERY);
        if known {
            return;
        }
        self.last = Some((look.word.clone(), Instant::now()));
        let mut object = serde_json::to_value(look).unwrap_or_default();
        object["event"] = "look".into();
        self.say(object, || {
            let count = |name: &str, count: Option<u64>| {
                count.map(|count| format!("  {name} {}", number::grouped(count))).unwrap_or_default()
            };
            format!(
                "{} {}{}{}{}{}",
                self.engine,
                look.word,
                count("read", look.rows_read),
                count("written", look.rows_written),
                count("checkpoints", look.checkpoints),
                count("restarts", look.restarts.filter(|times| *times > 0))
            )
        });
    }

    fn say(&self, object: serde_json::Value, line: impl FnOnce() -> String) {
        match self.progress {
            Progress::None => {}
            Progress::Json => eprintln!("{object}"),
            Progress::Auto | Progress::Bars | Progress::Plain => eprintln!("{}", line()),
        }
    }
}

fn millis(time: &Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
