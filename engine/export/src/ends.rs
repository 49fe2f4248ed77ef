//! Where answers end: the token at which the trained model stops answering a prompt, and the one at which what was written
//! does, each by the stop tokens that its own files name.
//!
//! Place in the data flow: [`crate::certificate`] continues prompts past every stop token with both; here the same tokens
//! are read as a chat program would, which ends an answer at the first stop token it meets.

use crate::certificate::GREEDY_TOKENS;
use temper_protocol::event::Check;

/// Stop tokens by who names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stops {
    /// Those that ended answers in training.
    pub trained: Vec<u32>,
    /// Those that the written files name; of an adapter, whose base keeps its tokenizer, the same.
    pub written: Vec<u32>,
}

/// How many tokens come before the first stop token; none when the answer only ends at the limit.
fn end(answer: &[u32], stops: &[u32]) -> Option<usize> {
    answer.iter().position(|token| stops.contains(token))
}

/// An end in words.
fn words(end: Option<usize>) -> String {
    end.map_or_else(|| "at the limit".to_owned(), |before| format!("at token {}", before + 1))
}

/// Ends of the answers to all prompts.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// Answers compared.
    pub(crate) all: usize,
    /// Those that end at the same token.
    pub(crate) alike: usize,
    /// Those that the trained model ends before the limit.
    stopped: usize,
    /// Those that end elsewhere without a near tie that explains it.
    unexplained: usize,
    /// What is said of each that ends elsewhere.
    apart: Vec<String>,
}

impl Ends {
    /// Takes in the continuations of a prompt by both. `tied` is where they part, when the trained model hardly prefers
    /// its own token there: what follows says nothing about where an answer ends.
    pub(crate) fn add(&mut self, stops: &Stops, ours: &[u32], theirs: &[u32], tied: Option<usize>) {
        let (one, other) = (end(ours, &stops.trained), end(theirs, &stops.written));
        self.all += 1;
        self.stopped += usize::from(one.is_some());
        if one == other {
            self.alike += 1;
            return;
        }
        let first = one.into_iter().chain(other).min();
        let explained = tied.is_some_and(|at| first.is_none_or(|first| at <= first));
        self.unexplained += usize::from(!explained);
        let why = if explained { ", behind two tokens that are as good" } else { "" };
        let text = format!("answer {} ends {} before and {} as written{why}", self.all, words(one), words(other));
        self.apart.push(text);
    }

    /// The row of the table. With `must` every difference that no near tie explains fails it, otherwise it is told.
    pub(crate) fn check(&self, must: bool) -> Check {
        Check {
            name: "answers end at the same token".to_owned(),
            measured: format!("{} of {}", self.alike, self.all),
            limit: if must { "all".to_owned() } else { "told only".to_owned() },
            over: format!("{} stop within {GREEDY_TOKENS} tokens", self.stopped),
            pass: self.unexplained == 0 || !must,
        }
    }

    /// A sentence for each answer that ends elsewhere.
    pub(crate) fn apart(self) -> Vec<String> {
        self.apart
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STOP: u32 = 2;

    fn stops(written: &[u32]) -> Stops {
        Stops { trained: vec![STOP, 7], written: written.to_vec() }
    }

    #[test]
    fn answers_that_end_at_the_same_token_or_at_the_limit_are_alike() {
        let mut ends = Ends::default();
        ends.add(&stops(&[STOP, 7]), &[5, 6, STOP, 9], &[5, 6, STOP, 8], None);
        ends.add(&stops(&[STOP, 7]), &[5, 6, 4, 9], &[5, 6, 4, 9], None);
        let check = ends.check(true);
        assert_eq!((check.measured.as_str(), check.pass), ("2 of 2", true));
        assert!(check.over.starts_with("1 stop within"), "{}", check.over);
        assert!(ends.apart().is_empty());
    }

    #[test]
    fn a_stop_token_that_the_written_files_do_not_name_fails_an_unrounded_export_and_is_told_of_a_rounded_one() {
        let mut ends = Ends::default();
        // The very same tokens: only who stops at them differs.
        ends.add(&stops(&[STOP]), &[5, 7, 6, STOP], &[5, 7, 6, STOP], None);
        ends.add(&stops(&[STOP]), &[5, STOP], &[5, STOP], None);
        ends.add(&stops(&[]), &[5, STOP], &[5, STOP], None);
        let (must, told) = (ends.check(true), ends.check(false));
        assert_eq!((must.measured.as_str(), must.pass, told.pass), ("1 of 3", false, true));
        assert_eq!(told.limit, "told only");
        let apart = ends.apart();
        assert_eq!(apart.len(), 2, "{apart:?}");
        assert_eq!(apart[0], "answer 1 ends at token 2 before and at token 4 as written");
        assert_eq!(apart[1], "answer 3 ends at token 2 before and at the limit as written");
    }

    #[test]
    fn a_near_tie_explains_other_ends_behind_it_and_none_before_it() {
        let mut ends = Ends::default();
        let same = stops(&[STOP, 7]);
        ends.add(&same, &[5, 6, STOP], &[5, 8, 8], Some(1));
        assert_eq!((ends.alike, ends.check(true).pass), (0, true), "they parted where both tokens were as good");
        ends.add(&same, &[5, 6, STOP], &[5, 8, 8], None);
        assert!(!ends.check(true).pass, "what was written answers otherwise");
        let mut ends = Ends::default();
        ends.add(&stops(&[STOP]), &[7, 6, 5], &[7, 6, 4], Some(2));
        assert!(!ends.check(true).pass, "the answer had ended before they parted");
    }
}
