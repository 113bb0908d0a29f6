//! One script under one contract: while the pipeline is stopped, and while it runs.

use std::fs;

use anyhow::{Context, Result, bail, ensure};
use weir_testkit::postgres::{Database, PostgresServer};

use super::case::{Case, Compared, Contract, Moment, Outcome};
use super::compare;
use super::program::{Ended, Run, until};

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
}

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
        Ok(Self { case, contract, source, target, folder: tempfile::tempdir()?, after: false })
    }

    fn write(&self, contract: Contract) -> Result<()> {
        let text = format!(
            "pipeline: drift_{}\nmode: cdc\non_schema_change: {}\nconnections:\n  from: {{postgres-cdc: {{url: '{}'}}}}\n  to: {{postgres: {{url: '{}'}}}}\n\
             source:\n  postgres-cdc: {{connection: from, tables: {}}}\nsink:\n  postgres: {{connection: to}}\n",
            // Slots are the server's, and have the pipeline's name.
            self.source.name(),
            contract.word(),
            self.source.url(),
            self.target.url(),
            self.case.tables(self.after),
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
        self.case.change.iter().try_for_each(|step| self.source.execute(step))
    }

    fn play(&mut self, moment: Moment) -> Result<()> {
        self.case.setup.iter().try_for_each(|step| self.source.execute(step))?;
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
        let outcome = self.case.outcome(moment, self.contract);
        let ended = match moment {
            Moment::Stopped => {
                self.change()?;
                self.after = true;
                self.write(self.contract)?;
                self.run()?
            }
            Moment::Running => self.while_it_runs(&outcome)?,
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
        }
    }

    fn while_it_runs(&mut self, outcome: &Outcome) -> Result<Ended> {
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
            Outcome::Later(_) => {
                run.stop()?;
                run.end()?;
                self.run()
            }
            Outcome::Equal(compared) => {
                let mut last = Ok(());
                let waited = until("the target is equal", || {
                    ensure!(!run.ended()?, "it ended\n{}", run.said());
                    last = self.equal(compared);
                    Ok(last.is_ok())
                });
                waited.with_context(|| format!("{last:?}"))?;
                run.stop()?;
                run.end()?;
                // What comes after must begin where that one ended.
                self.run()
            }
        }
    }

    /// It said so, and nothing of the new shape is there.
    fn refused(&self, contract: Contract, ended: &Ended, code: &str, shape: &[Vec<Option<String>>]) -> Result<()> {
        ensure!(!ended.status.success(), "it was to be refused with {code}, and succeeded\n{}", ended.said);
        ensure!(ended.said.contains(code), "it was to be refused with {code}\n{}", ended.said);
        let now = compare::shape(&self.target)?;
        // Of two changes in a row, `evolve` and `discard_column` may take the first and refuse the second.
        let partly = self.case.partly() && !matches!(contract, Contract::Freeze | Contract::Hold);
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
