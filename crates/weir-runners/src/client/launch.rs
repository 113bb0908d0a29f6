//! From a submission to its end, with what earlier commands left behind.
//!
//! A pipeline has at most one job on an engine. Before a job is handed over, that is written down ([`super::ledger`]); a later command that finds the
//! note looks at the engine first:
//!
//! * the job is there: it is followed, whatever its state, and its end is this command's end; none is submitted beside it;
//! * it is not known whether it was handed over: it is looked for by the run's own name;
//! * it was stopped with a savepoint: the new one begins there. If that one fails, the savepoint stays what the next one begins with.

use tokio_util::sync::CancellationToken;
use weir_error::{Error, Kind, Result};

use super::follow::{Ended, Event, Outcome, Watch, follow};
use super::ledger::{Entry, Known, Ledger};
use super::{EngineClient, Job, Savepoint, Submission, UNCERTAIN};

/// How a job came to be followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Begun {
    /// Submitted by this command.
    Submitted,
    /// Submitted by this command, to go on from where an earlier one was stopped.
    Resumed,
    /// An earlier command had submitted it.
    Found,
}

/// Hands the job over, unless the engine has it already, and follows it. `begun` is called once, before the first look.
pub async fn launch(
    client: &dyn EngineClient,
    ledger: &Ledger,
    mut submission: Submission,
    watch: &Watch,
    stop: &CancellationToken,
    begun: &mut (dyn FnMut(&Job, Begun) + Send),
    tell: &mut (dyn FnMut(Event<'_>) + Send),
) -> Result<Ended> {
    let left = ledger.read()?;
    if let Some(entry) = left.as_ref().filter(|entry| entry.place != client.place()) {
        return Err(Error::new(
            "WEIR-LAUNCH-027",
            Kind::Conflict,
            format!("a job of this pipeline is on another {}", client.engine()),
        )
        .at(entry.place.clone())
        .because(format!("{} says so; this command was told {}", ledger.path().display(), client.place()))
        .hint("name the same place again; or see that no job of the pipeline is there, and delete that file"));
    }
    let (known, from) = left.map(|entry| (Some((entry.run_id, entry.known)), entry.from)).unwrap_or_default();
    let savepoint = match &known {
        Some((_, Known::Suspended(savepoint))) => Some(savepoint.clone()),
        _ => from,
    };
    let (job, how) = match known {
        Some((run_id, Known::Submitted(job))) => {
            submission.run_id = run_id;
            (job, Begun::Found)
        }
        Some((run_id, Known::Submitting)) => {
            submission.run_id = run_id;
            submission.resume.clone_from(&savepoint);
            match client.find(&submission).await? {
                Some(job) => (job, Begun::Found),
                None => submit(client, ledger, &submission).await?,
            }
        }
        _ => {
            submission.resume.clone_from(&savepoint);
            submit(client, ledger, &submission).await?
        }
    };
    let entry = |known: Known| Entry::new(client.place(), submission.run_id.clone(), known).beginning_at(savepoint.clone());
    ledger.write(&entry(Known::Submitted(job.clone())))?;
    begun(&job, how);
    let mut ended = follow(client, &job, watch, stop, tell).await;
    match (&ended.outcome, &savepoint) {
        (Outcome::Suspended(place), _) => ledger.write(&entry(Known::Suspended(place.clone())))?,
        _ if !ended.settled => {}
        (Outcome::Failed(_), Some(place)) => {
            ledger.write(&entry(Known::Suspended(place.clone())))?;
            ended
                .warnings
                .push("the next job begins at the savepoint that this one began with: rows since then come again".into());
        }
        _ => ledger.clear()?,
    }
    Ok(ended)
}

async fn submit(client: &dyn EngineClient, ledger: &Ledger, submission: &Submission) -> Result<(Job, Begun)> {
    let (before, resume) = (ledger.read()?, submission.resume.clone());
    let how = if resume.is_some() { Begun::Resumed } else { Begun::Submitted };
    ledger.write(&Entry::new(client.place(), submission.run_id.clone(), Known::Submitting).beginning_at(resume))?;
    match client.submit(submission).await {
        Ok(job) => Ok((job, how)),
        Err(error) if error.code() == UNCERTAIN => Err(error),
        Err(error) => {
            // The engine has nothing: what was known before is known still.
            match before.filter(|entry| matches!(entry.known, Known::Suspended(_))) {
                Some(entry) => ledger.write(&entry)?,
                None => ledger.clear()?,
            }
            Err(error)
        }
    }
}

impl Entry {
    /// The savepoint that the job begins with, if there is one.
    fn beginning_at(mut self, savepoint: Option<Savepoint>) -> Self {
        self.from = savepoint;
        self
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::client::scripted::Scripted;
    use crate::client::{Look, OnStop, State};

    fn look(state: State) -> Look {
        Look::new(state, format!("{state:?}"))
    }

    async fn launched(script: &Scripted, ledger: &Ledger, run_id: &str, stop: bool) -> (Result<Ended>, Option<Begun>) {
        let watch = Watch {
            every: Duration::from_millis(1),
            lost_after: Duration::from_millis(5),
            on_stop: OnStop::Suspend,
            ..Watch::default()
        };
        let token = CancellationToken::new();
        if stop {
            token.cancel();
        }
        let mut how = None;
        let mut begun = |_: &Job, began: Begun| how = Some(began);
        let submission = Submission { name: "orders".into(), run_id: run_id.into(), ..Submission::default() };
        let ended = launch(script, ledger, submission, &watch, &token, &mut begun, &mut |_: Event<'_>| {}).await;
        (ended, how)
    }

    fn known(ledger: &Ledger) -> Option<Known> {
        ledger.read().unwrap().map(|entry| entry.known)
    }

    #[tokio::test]
    async fn a_job_that_an_engine_kept_is_found_and_not_submitted_twice() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), "orders", "flink").unwrap();
        let lost = Scripted::new([Ok(Some(look(State::Running))), Err("refused")]);
        let (ended, how) = launched(&lost, &ledger, "r1", false).await;
        assert!(matches!(ended.unwrap().outcome, Outcome::Failed(error) if error.code() == "WEIR-LAUNCH-011"));
        assert_eq!((how, known(&ledger)), (Some(Begun::Submitted), Some(Known::Submitted(Job::one("j")))));
        let back = Scripted::new([Ok(Some(look(State::Finished)))]);
        let (ended, how) = launched(&back, &ledger, "r2", false).await;
        assert!(matches!(ended.unwrap().outcome, Outcome::Finished));
        assert_eq!((how, known(&ledger), back.asked()), (Some(Begun::Found), None, vec![]));
        let (_, how) = launched(&back, &ledger, "r3", false).await;
        assert_eq!((how, back.asked()), (Some(Begun::Submitted), vec!["submit r3".to_owned()]));
    }

    #[tokio::test]
    async fn a_submission_whose_answer_was_lost_is_looked_for_by_its_own_name() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), "orders", "flink").unwrap();
        let (ended, _) = launched(&Scripted::new([]).refusing(UNCERTAIN), &ledger, "r1", false).await;
        assert_eq!((ended.unwrap_err().code(), known(&ledger)), (UNCERTAIN, Some(Known::Submitting)));
        let has = Scripted::new([Ok(Some(look(State::Finished)))]).having(Job::one("k"));
        assert_eq!(launched(&has, &ledger, "r2", false).await.1, Some(Begun::Found));
        assert_eq!((has.asked(), known(&ledger)), (vec!["find r1".to_owned()], None));
        let _ = launched(&Scripted::new([]).refusing(UNCERTAIN), &ledger, "r3", false).await;
        let has_not = Scripted::new([Ok(Some(look(State::Finished)))]);
        assert_eq!(launched(&has_not, &ledger, "r4", false).await.1, Some(Begun::Submitted));
        assert_eq!(has_not.asked(), ["find r3", "submit r3"]);
    }

    #[tokio::test]
    async fn what_was_stopped_goes_on_and_its_savepoint_outlives_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), "orders", "flink").unwrap();
        let there = || Some(Known::Suspended(Savepoint("there".into())));
        let running = Scripted::new([Ok(Some(look(State::Running)))]).after_stop(look(State::Suspended));
        let (ended, _) = launched(&running, &ledger, "r1", true).await;
        assert!(matches!(ended.unwrap().outcome, Outcome::Suspended(_)));
        assert_eq!(known(&ledger), there());
        // Refused: it can still go on. Failed: it begins there once more.
        let (ended, _) = launched(&Scripted::new([]).refusing("WEIR-LAUNCH-016"), &ledger, "r2", false).await;
        assert_eq!((ended.unwrap_err().code(), known(&ledger)), ("WEIR-LAUNCH-016", there()));
        let failing = Scripted::new([Ok(Some(look(State::Failed)))]);
        let (ended, how) = launched(&failing, &ledger, "r3", false).await;
        assert_eq!(
            (how, failing.asked(), known(&ledger)),
            (Some(Begun::Resumed), vec!["submit r3 from there".to_owned()], there())
        );
        assert!(ended.unwrap().warnings[0].contains("rows since then come again"));
        let finishing = Scripted::new([Ok(Some(look(State::Finished)))]);
        launched(&finishing, &ledger, "r4", false).await.0.unwrap();
        assert_eq!(known(&ledger), None);
    }

    #[tokio::test]
    async fn a_job_that_is_elsewhere_is_not_doubled_here() {
        let dir = tempfile::tempdir().unwrap();
        let ledger = Ledger::open(dir.path(), "orders", "flink").unwrap();
        ledger.write(&Entry::new("http://other".into(), "r1".into(), Known::Submitted(Job::one("j")))).unwrap();
        let (ended, _) = launched(&Scripted::new([]), &ledger, "r2", false).await;
        assert_eq!(ended.unwrap_err().code(), "WEIR-LAUNCH-027");
        assert!(known(&ledger).is_some());
    }
}
