//! The server's own numbers: what is missing, what came twice. Pure.

/// What a message's number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is the next one.
    Next,
    /// It came before.
    Repeated,
    /// The messages with these numbers, both ends included, did not come.
    Gap {
        /// The first that is missing.
        from: i64,
        /// The last that is missing.
        to: i64,
    },
}

/// How far the numbers came.
#[derive(Debug, Clone, Default)]
pub struct Sequence {
    last: Option<i64>,
    /// Numbers of the connection at hand say nothing about those before.
    anew: bool,
    /// Repetitions since the last connect.
    pub repeated: u64,
    /// Messages that never came.
    pub missing: u64,
}

impl Sequence {
    /// Goes on behind a number.
    pub fn after(last: Option<i64>) -> Self {
        Self { last, ..Self::default() }
    }

    /// The last number.
    pub fn last(&self) -> Option<i64> {
        self.last
    }

    /// A connection begins. `restarts`: the server counts anew on each.
    pub fn connected(&mut self, restarts: bool) {
        self.anew = restarts;
        self.repeated = 0;
    }

    /// What a number says; changes nothing.
    pub fn look(&self, number: i64) -> Verdict {
        match self.last {
            Some(last) if !self.anew && number <= last => Verdict::Repeated,
            // Not above `last`, so it cannot overflow.
            Some(last) if !self.anew && number > last.saturating_add(1) => Verdict::Gap { from: last + 1, to: number - 1 },
            _ => Verdict::Next,
        }
    }

    /// The message is taken.
    pub fn take(&mut self, number: i64) {
        (self.last, self.anew) = (Some(number), false);
    }

    /// What is missing is given up.
    pub fn give_up(&mut self, from: i64, to: i64) -> u64 {
        let count = to.abs_diff(from).saturating_add(1);
        self.missing = self.missing.saturating_add(count);
        count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_and_repetitions_are_told_apart() {
        let mut sequence = Sequence::after(None);
        assert_eq!(sequence.look(7), Verdict::Next);
        sequence.take(7);
        assert_eq!(sequence.look(8), Verdict::Next);
        assert_eq!(sequence.look(7), Verdict::Repeated);
        assert_eq!(sequence.look(i64::MIN), Verdict::Repeated);
        assert_eq!(sequence.look(11), Verdict::Gap { from: 8, to: 10 });
        assert_eq!(sequence.give_up(8, 10), 3);
        sequence.take(11);
        assert_eq!((sequence.last(), sequence.missing), (Some(11), 3));
    }

    #[test]
    fn a_server_that_counts_anew_is_believed_once_per_connection() {
        let mut sequence = Sequence::after(Some(100));
        sequence.connected(true);
        assert_eq!(sequence.look(1), Verdict::Next);
        sequence.take(1);
        assert_eq!(sequence.look(1), Verdict::Repeated);
        assert_eq!(sequence.look(3), Verdict::Gap { from: 2, to: 2 });
    }

    #[test]
    fn the_ends_of_the_numbers_do_not_overflow() {
        let mut sequence = Sequence::after(Some(i64::MAX));
        assert_eq!(sequence.look(i64::MAX), Verdict::Repeated);
        sequence = Sequence::after(Some(i64::MIN));
        assert_eq!(sequence.look(i64::MAX), Verdict::Gap { from: i64::MIN + 1, to: i64::MAX - 1 });
        assert_eq!(sequence.give_up(i64::MIN, i64::MAX), u64::MAX);
    }
}
