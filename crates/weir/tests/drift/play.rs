//! One script under one contract: while the pipeline is stopped, and while it runs.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use weir_testkit::postgres::{Database, PostgresServer};

use super::case::{Case, Compared, Contract, Moment, Outcome};
use super::compare;
use super::program::{self, Ended, Run, until};

pub fn play(case: &Case, contract: Contract) -> Result<()> {
    for moment in [Moment::Stopped, Moment::Running] {
        let played = Scene::new(case, contract).and_then(|mut scene| scene.play(moment));
        match (played, case.known(moment, contract)) {
            (Ok(()), None) => {}
            (Err(_), Some(_)) => {}
            (Ok(()), Some(why)) => bail!("{}: it holds, and is declared not to: {why}", moment.word()),
            (Err(error), None) => return Err(error.context(format!("while the pipeline is {}", moment.word()))),
        }
    }
    Ok(())
}

struct Scene<'c> {
    case: &'c Case,
    contract: Contract,
    source: Database,
    target: Database,
    folder: tempfile::TempDir,
    after: bool,
    /// Another table is in the pipeline, to go on while the first one waits.
    beside: bool,
}

/// The row that comes into the other table after the change.
const BESIDE: &str = "SELECT count(*) FROM beside WHERE id = 2";

impl Drop for Scene<'_> {
    fn drop(&mut self) {
        // Slots are few.
        let sql =
            "SELECT pg_terminate_backend(active_pid) FROM pg_replication_slots WHERE database = current_database() AND active";
        let _ = self.source.execute(sql);
        let drop = "SELECT pg_drop_replication_slot(slot_name) FROM pg_replication_slots WHERE database = current_database()";
        let _ = until("the slot can be dropped", || Ok(self.source.execute(drop).is_ok()));
    }
}

impl<'c> Scene<'c> {
    fn new(case: &'c Case, contract: Contract) -> Result<Self> {
        let server = PostgresServer::shared()?;
        let (source, target) = (server.create_database()?, server.create_database()?);
        Ok(Self { case, contract, source, target, folder: tempfile::tempdir()?, after: false, beside: false })
    }

    fn write(&self, contract: Contract) -> Result<()> {
        let beside = if self.beside { ", public.beside]" } else { "]" };
        let text = format!(
            "pipeline: drift_{}\nmode: cdc\non_schema_change: {}\nconnections:\n  from: {{postgres-cdc: {{url: '{}'}}}}\n  to: {{postgres: {{url: '{}'}}}}\n\
             source:\n  postgres-cdc: {{connection: from, tables: {}}}\nsink:\n  postgres: {{connection: to}}\n",
            // Slots are the server's, and have the pipeline's name.
            self.source.name(),
            contract.word(),
            self.source.url(),
            self.target.url(),
            self.case.tables(self.after).replace(']', beside),
        );
        Ok(fs::write(self.folder.path().join("pipeline.yaml"), text)?)
    }

    fn tables(&self) -> Vec<String> {
        let list = self.case.tables(self.after).trim_matches(['[', ']']);
        list.split(", ").map(|name| name.trim_matches('\'').to_owned()).collect()
    }

    fn run(&self) -> Result<Ended> {
        Run::start(self.folder.path(), &["--until-caught-up"])?.end()
    }

    fn succeeds(&self) -> Result<()> {
        let ended = self.run()?;
        ensure!(ended.status.success(), "{}\n{}", ended.status, ended.said);
        Ok(())
    }

    fn equal(&self, compared: &Compared) -> Result<()> {
        compare::equal(&self.source, &self.target, &self.tables(), compared)
    }

    fn change(&self) -> Result<()> {
        self.case.change.iter().try_for_each(|step| self.source.execute(step))?;
        if self.beside { self.source.execute("INSERT INTO beside VALUES (2)") } else { Ok(()) }
    }

    fn play(&mut self, moment: Moment) -> Result<()> {
        self.case.setup.iter().try_for_each(|step| self.source.execute(step))?;
        let outcome = self.case.outcome(moment, self.contract);
        self.beside = matches!(outcome, Outcome::Held | Outcome::HeldLater);
        if self.beside {
            self.source.execute("CREATE TABLE beside (id int PRIMARY KEY); INSERT INTO beside VALUES (1)")?;
        }
        self.write(self.contract)?;
        self.succeeds().context("before the change")?;
        // What a server of this version never tells is left out from the beginning.
        let version_leaves_out = |name: &String| !compare::columns(&self.target, "public.t").unwrap_or_default().contains(name);
        let first = match self.case.outcome(moment, Contract::Evolve) {
            Outcome::Equal(Compared::Without(names)) => {
                let here = compare::columns(&self.source, "public.t")?;
                Compared::Without(names.into_iter().filter(|name| here.contains(name) && version_leaves_out(name)).collect())
            }
            _ => Compared::Without(Vec::new()),
        };
        self.equal(&first).context("before the change")?;
        let shape = compare::shape(&self.target)?;
        let ended = match moment {
            Moment::Stopped => {
                self.change()?;
                self.after = true;
                self.write(self.contract)?;
                self.run()?
            }
            Moment::Running => self.while_it_runs(&outcome, &shape)?,
        };
        match &outcome {
            Outcome::Equal(compared) => {
                ensure!(ended.status.success(), "{}\n{}", ended.status, ended.said);
                self.equal(compared)
            }
            Outcome::Refused(code) | Outcome::Later(code) => {
                self.refused(self.contract, &ended, code, &shape)?;
                self.approved(moment, &shape).context("after it was approved")
            }
            // It was approved while it ran.
            Outcome::Held if moment == Moment::Running => Ok(()),
            Outcome::Held | Outcome::HeldLater => {
                ensure!(
                    ended.status.code() == Some(5) && ended.said.contains("WEIR-CHANGE-005"),
                    "{}\n{}",
                    ended.status,
                    ended.said
                );
                self.waits(&ended.said, &shape)?;
                self.approve()?;
                let Outcome::Equal(compared) = self.case.outcome(moment, Contract::Evolve) else {
                    return self.refused_when_approved(moment, &shape).context("after it was approved");
                };
                self.succeeds().context("after it was approved")?;
                self.equal(&compared).context("after it was approved")
            }
        }
    }

    /// It says that it waits, nothing of the new shape is there, and the other table has gone on.
    fn waits(&self, said: &str, shape: &[Vec<Option<String>>]) -> Result<()> {
        ensure!(said.contains("waits for an approval"), "{said}");
        let now = compare::shape(&self.target)?;
        ensure!(now == shape, "the target was altered: {shape:?} → {now:?}");
        let rows = compare::new_rows(&self.target, &self.tables())?;
        ensure!(rows == 0, "{rows} rows of the new shape were written");
        ensure!(self.target.value(BESIDE)? == "1", "the other table does not go on");
        Ok(())
    }

    /// What waits by now, if anything does.
    fn approve(&self) -> Result<()> {
        program::journal(self.folder.path(), &["approve", "pipeline.yaml", "--stream", "public.t"])
    }

    /// The target cannot take it: it goes on waiting, until a person has done at the target what is asked for.
    fn refused_when_approved(&self, moment: Moment, shape: &[Vec<Option<String>>]) -> Result<()> {
        let Outcome::Refused(code) = self.case.outcome(moment, Contract::Evolve) else { bail!("nothing is declared for evolve") };
        let ended = self.run()?;
        ensure!(ended.status.code() == Some(5) && ended.said.contains(&code), "{}\n{}", ended.status, ended.said);
        // Of two changes in a row the first may have been carried out.
        let now = compare::shape(&self.target)?;
        self.waits(&ended.said, if self.case.partly() { &now } else { shape })?;
        let Some((remedy, Outcome::Equal(compared))) = self.case.remedy() else { return Ok(()) };
        self.target.execute(remedy).context("the remedy")?;
        self.approve()?;
        self.succeeds().context("after the remedy")?;
        self.equal(&compared).context("after the remedy")
    }

    fn while_it_runs(&mut self, outcome: &Outcome, shape: &[Vec<Option<String>>]) -> Result<Ended> {
        // Tables come and go with the pipeline's file, which is read at the start.
        self.after = true;
        self.write(self.contract)?;
        // Each flush is a checkpoint, so that what is refused is taken up again from there and not from the beginning.
        let mut run = Run::start(self.folder.path(), &["--checkpoint-interval", "10ms"])?;
        until("the log is read", || {
            ensure!(!run.ended()?, "it ended\n{}", run.said());
            Ok(self.source.value("SELECT count(*) FROM pg_replication_slots WHERE active AND database = current_database()")?
                == "1")
        })?;
        self.change()?;
        match outcome {
            Outcome::Refused(_) => run.end(),
            Outcome::Later(_) | Outcome::HeldLater => {
                run.stop()?;
                run.end()?;
                if matches!(outcome, Outcome::HeldLater) || matches!(outcome, Outcome::Later(code) if code == "WEIR-PG-046") {
                    // The log tells the shape before the next row.
                    self.source.execute("UPDATE t SET id = id WHERE id = 10")?;
                }
                self.run()
            }
            Outcome::Held => {
                until("the other table goes on", || {
                    ensure!(!run.ended()?, "it ended\n{}", run.said());
                    Ok(run.said().contains("waits for an approval") && self.target.value(BESIDE)? == "1")
                })?;
                self.waits(&run.said(), shape)?;
                let compared = match (self.case.outcome(Moment::Running, Contract::Evolve), self.case.remedy()) {
                    (Outcome::Equal(compared), _) => compared,
                    (Outcome::Refused(code), remedy) => {
                        // A later change waits again, so it is asked more than once.
                        until("it says why", || {
                            ensure!(!run.ended()?, "it ended\n{}", run.said());
                            let _ = self.approve();
                            Ok(run.said().contains(&code))
                        })?;
                        let Some((remedy, Outcome::Equal(compared))) = remedy else {
                            run.stop()?;
                            return run.end();
                        };
                        self.target.execute(remedy).context("the remedy")?;
                        compared
                    }
                    _ => bail!("nothing is declared for evolve"),
                };
                self.becomes_equal(&mut run, &compared, || drop(self.approve()))?;
                run.stop()?;
                run.end()?;
                let ended = self.run()?;
                ensure!(ended.status.success(), "{}\n{}", ended.status, ended.said);
                self.equal(&compared).context("after the next start")?;
                Ok(ended)
            }
            Outcome::Equal(compared) => {
                self.becomes_equal(&mut run, compared, || ())?;
                run.stop()?;
                run.end()?;
                // What comes after must begin where that one ended.
                self.run()
            }
        }
    }

    /// Waits for it; `meanwhile` is done again and again.
    fn becomes_equal(&self, run: &mut Run, compared: &Compared, meanwhile: impl Fn()) -> Result<()> {
        let mut last = Ok(());
        let waited = until("the target is equal", || {
            ensure!(!run.ended()?, "it ended\n{}", run.said());
            meanwhile();
            last = self.equal(compared);
            Ok(last.is_ok())
        });
        waited.with_context(|| format!("{last:?}\n{}", run.said()))
    }

    /// It said so, and nothing of the new shape is there.
    fn refused(&self, contract: Contract, ended: &Ended, code: &str, shape: &[Vec<Option<String>>]) -> Result<()> {
        ensure!(!ended.status.success(), "it was to be refused with {code}, and succeeded\n{}", ended.said);
        ensure!(ended.said.contains(code), "it was to be refused with {code}\n{}", ended.said);
        let now = compare::shape(&self.target)?;
        // Of two changes in a row, `evolve` and `discard_column` may take the first and refuse the second.
        let partly = self.case.partly() && contract != Contract::Freeze;
        ensure!(partly || now == shape, "the refused change altered the target: {shape:?} → {now:?}");
        let rows = compare::new_rows(&self.target, &self.tables())?;
        ensure!(rows == 0, "{rows} rows of the new shape were written");
        Ok(())
    }

    /// The same command, once a person has allowed it, and has done at the target what it asked for.
    fn approved(&self, moment: Moment, shape: &[Vec<Option<String>>]) -> Result<()> {
        self.write(Contract::Evolve)?;
        match self.case.outcome(moment, Contract::Evolve) {
            Outcome::Equal(compared) => {
                self.succeeds()?;
                self.equal(&compared)
            }
            Outcome::Held | Outcome::HeldLater => bail!("evolve holds nothing"),
            Outcome::Refused(code) | Outcome::Later(code) => {
                let ended = self.run()?;
                self.refused(Contract::Evolve, &ended, &code, shape)?;
                let Some((remedy, Outcome::Equal(compared))) = self.case.remedy() else { return Ok(()) };
                self.target.execute(remedy).context("the remedy")?;
                self.succeeds().context("after the remedy")?;
                self.equal(&compared).context("after the remedy")
            }
        }
    }
}
