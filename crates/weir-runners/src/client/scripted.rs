//! An engine that says what a script says, for tests.

use std::collections::VecDeque;
use std::sync::Mutex;

use async_trait::async_trait;
use weir_error::{Error, Kind, Result};

use super::{EngineClient, Job, Look, Savepoint, Submission, UNCERTAIN};

/// One answer to a look: `Err("never")` is an error that stays, any other text one that may pass.
pub type Answer = std::result::Result<Option<Look>, &'static str>;

/// Answers one after the other; the last one stays.
pub struct Scripted {
    looks: Mutex<VecDeque<Answer>>,
    asked: Mutex<Vec<String>>,
    after_stop: Option<Look>,
    /// What a submission says: the code of an error, or nothing.
    refuses: Option<&'static str>,
    /// What the engine has although nobody heard so.
    has: Option<Job>,
}

impl Scripted {
    pub fn new(looks: impl IntoIterator<Item = Answer>) -> Self {
        Self {
            looks: Mutex::new(looks.into_iter().collect()),
            asked: Mutex::default(),
            after_stop: None,
            refuses: None,
            has: None,
        }
    }

    /// What looks say once the job was asked to stop.
    pub fn after_stop(mut self, look: Look) -> Self {
        self.after_stop = Some(look);
        self
    }

    /// Submissions are answered with an error of this code.
    pub fn refusing(mut self, code: &'static str) -> Self {
        self.refuses = Some(code);
        self
    }

    /// A submission that nobody heard the answer of has made this job.
    pub fn having(mut self, job: Job) -> Self {
        self.has = Some(job);
        self
    }

    /// What it was asked beside looks.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    fn note(&self, what: impl Into<String>) {
        self.asked.lock().unwrap().push(what.into());
    }
}

#[async_trait]
impl EngineClient for Scripted {
    fn engine(&self) -> &'static str {
        "flink"
    }
    fn place(&self) -> String {
        "http://engine".into()
    }
    async fn version(&self) -> Result<String> {
        Ok("1".into())
    }
    async fn submit(&self, job: &Submission) -> Result<Job> {
        let from = job.resume.as_ref().map_or(String::new(), |savepoint| format!(" from {}", savepoint.0));
        self.note(format!("submit {}{from}", job.run_id));
        match self.refuses {
            None => Ok(Job::one("j")),
            Some(UNCERTAIN) => Err(Error::new(UNCERTAIN, Kind::Connect, "it may have it")),
            Some(code) => Err(Error::new(code, Kind::Spec, "it is refused")),
        }
    }
    async fn find(&self, job: &Submission) -> Result<Option<Job>> {
        self.note(format!("find {}", job.run_id));
        Ok(self.has.clone())
    }
    async fn look(&self, _: &Job) -> Result<Option<Look>> {
        let stopped = self.asked().iter().any(|asked| asked == "cancel" || asked == "suspend");
        if let (Some(look), true) = (&self.after_stop, stopped) {
            return Ok(Some(look.clone()));
        }
        let mut looks = self.looks.lock().unwrap();
        let now = if looks.len() > 1 { looks.pop_front() } else { looks.front().cloned() };
        match now.expect("a script says something") {
            Ok(look) => Ok(look),
            Err("never") => Err(Error::new("WEIR-X-001", Kind::Auth, "no")),
            Err(why) => Err(Error::new("WEIR-LAUNCH-001", Kind::Connect, "it does not answer").because(why).transient()),
        }
    }
    async fn cancel(&self, _: &Job) -> Result<()> {
        self.note("cancel");
        Ok(())
    }
    async fn suspend(&self, _: &Job) -> Result<Savepoint> {
        self.note("suspend");
        Ok(Savepoint("there".into()))
    }
    async fn logs(&self, _: &Job) -> Result<Vec<String>> {
        Ok(Vec::new())
    }
}
