//! The playground: one prompt, the answers of the base and of the chosen runs, where they differ, and votes.
//!
//! Place in the data flow: `update` asks one model after the other (they share one kept base) and writes what comes into
//! [`Answers::columns`]; differences from the first answer are found here, once for each new text.

use std::collections::BTreeSet;
use std::ops::Range;
use temper_protocol::GenerateLimits;

/// Most answers side by side, the base's among them.
pub const MOST_ANSWERS: usize = 5;
/// Highest temperature that can be chosen.
pub const HOTTEST: f64 = 2.0;
/// Most words that are compared one by one; what is longer differs from the first unlike word on.
const MOST_WORDS: usize = 400;

/// Who answers: a run, or the base.
pub type Who = Option<u64>;

/// An answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answer {
    /// Whose.
    pub who: Who,
    /// The text so far.
    pub text: String,
    /// Parts of it that are not in the first answer, in bytes.
    pub marks: Vec<Range<usize>>,
    /// New tokens.
    pub tokens: u64,
    /// Speed.
    pub tokens_per_sec: f64,
    /// Why it ended; empty before that.
    pub stop_reason: String,
    /// Why there is none.
    pub problem: Option<String>,
}

/// A vote: who was best among whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// The best; nothing when none was.
    pub winner: Option<Who>,
    /// Everyone who answered.
    pub shown: Vec<Who>,
}

/// Two who were voted about: how often each was preferred to the other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tally {
    /// One.
    pub a: Who,
    /// The other.
    pub b: Who,
    /// Votes for `a` where `b` answered too.
    pub for_a: u64,
    /// Votes for `b` where `a` answered too.
    pub for_b: u64,
    /// How likely votes as uneven as these are if nobody can tell the two apart (two-sided sign test).
    pub p: f64,
}

/// How the next token is chosen, the same for everyone who answers.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sampling {
    /// Seed of the sampler.
    pub seed: u64,
    /// 0 always takes the likeliest token.
    pub temperature: f64,
}

impl Default for Sampling {
    fn default() -> Self {
        let GenerateLimits { seed, temperature, .. } = GenerateLimits::default();
        Self { seed, temperature }
    }
}

impl Sampling {
    /// As the engine is told.
    #[must_use]
    pub fn limits(self) -> GenerateLimits {
        GenerateLimits { seed: self.seed, temperature: self.temperature, ..GenerateLimits::default() }
    }
}

/// The playground.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Answers {
    /// Who is not asked although chosen.
    pub left_out: BTreeSet<Who>,
    /// How tokens are chosen.
    pub sampling: Sampling,
    /// Prompt, as typed; the project's first sample prompt when nothing was.
    pub prompt: Option<String>,
    /// Not through the chat template, where the model has one.
    pub plain: bool,
    /// The prompt that was answered.
    pub asked: String,
    /// Base model of the answers.
    pub base: String,
    /// Answers in the order in which they are shown and made.
    pub columns: Vec<Answer>,
    /// Place of the answer that is being made.
    pub working: Option<usize>,
    /// Names are hidden until a vote.
    pub blind: bool,
    /// These answers were asked blind and not voted about yet; see [`Self::hides_names`].
    pub hidden: bool,
    /// All votes.
    pub votes: Vec<Vote>,
}

impl Answers {
    /// Begins anew with these; blind ones are shuffled.
    pub fn begin(&mut self, prompt: String, base: String, mut who: Vec<Who>) {
        if self.blind {
            shuffle(&mut who, &prompt, self.votes.len() as u64);
        }
        self.columns = who.into_iter().map(|who| Answer { who, ..Answer::default() }).collect();
        self.asked = prompt;
        self.base = base;
        self.hidden = self.blind;
        self.working = None;
    }

    /// New text of the answer at `index`.
    pub fn take(&mut self, index: usize, text: String, tokens: u64, stop_reason: String, tokens_per_sec: f64) {
        let first = self.columns.first().filter(|_| index > 0).map(|first| first.text.clone());
        let Some(answer) = self.columns.get_mut(index) else { return };
        answer.marks = first.map_or_else(Vec::new, |first| differences(&first, &text));
        (answer.text, answer.tokens) = (text, tokens);
        (answer.stop_reason, answer.tokens_per_sec) = (stop_reason, tokens_per_sec);
    }

    /// Whether every answer is there and none was voted about yet.
    #[must_use]
    pub fn can_vote(&self) -> bool {
        let done = |answer: &Answer| !answer.stop_reason.is_empty();
        self.hidden && self.working.is_none() && self.columns.len() > 1 && self.columns.iter().all(done)
    }

    /// Whether names are hidden: until the vote, and only as long as there can be one. Where an answer failed or was stopped
    /// there is none.
    #[must_use]
    pub fn hides_names(&self) -> bool {
        let coming = self.working.is_some() && self.columns.iter().all(|answer| answer.problem.is_none());
        self.hidden && (coming || self.can_vote())
    }

    /// Hides the names of the next answers, or not; those that are hidden now are shown with that.
    pub fn set_blind(&mut self, on: bool) {
        self.blind = on;
        self.hidden &= on;
    }

    /// The answer at `place` is the best, or none is; the names are shown from then on.
    pub fn vote(&mut self, place: Option<usize>) {
        if !self.can_vote() {
            return;
        }
        let winner = place.and_then(|place| self.columns.get(place)).map(|answer| answer.who);
        let shown = self.columns.iter().map(|answer| answer.who).collect();
        self.votes.push(Vote { winner, shown });
        self.hidden = false;
    }

    /// How each pair of those who answer now stands by all votes; of everyone who ever did while nobody does.
    #[must_use]
    pub fn tallies(&self) -> Vec<Tally> {
        let mut who: Vec<Who> = self.columns.iter().map(|answer| answer.who).collect();
        if who.is_empty() {
            who = self.votes.iter().flat_map(|vote| vote.shown.iter().copied()).collect();
        }
        who.sort_unstable();
        who.dedup();
        let count = |winner: Who, other: Who| {
            let counts = |vote: &&Vote| vote.winner == Some(winner) && vote.shown.contains(&other);
            self.votes.iter().filter(counts).count() as u64
        };
        let mut tallies = Vec::new();
        for (index, a) in who.iter().enumerate() {
            for b in who.iter().skip(index + 1) {
                let (for_a, for_b) = (count(*a, *b), count(*b, *a));
                if for_a + for_b > 0 {
                    tallies.push(Tally { a: *a, b: *b, for_a, for_b, p: sign_test(for_a, for_b) });
                }
            }
        }
        tallies
    }
}

/// An order that follows from the prompt and the number of votes, and from nothing that can be seen.
fn shuffle(who: &mut [Who], prompt: &str, votes: u64) {
    let mut seed = prompt
        .bytes()
        .fold(votes.wrapping_add(1), |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
    for last in (1..who.len()).rev() {
        // SplitMix64 (Steele, Lea, Flood, 2014).
        seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = (seed ^ (seed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        let other = ((mixed ^ (mixed >> 31)) % (last as u64 + 1)) as usize;
        who.swap(last, other);
    }
}

/// Exact two-sided sign test: how likely a split at least as uneven as `one` to `other` is when both are equally likely.
#[must_use]
pub fn sign_test(one: u64, other: u64) -> f64 {
    let (fewer, all) = (one.min(other), one + other);
    // Logarithms, so that thousands of votes do not overflow: ln C(n, k+1) = ln C(n, k) + ln (n-k) - ln (k+1).
    let half = -(all as f64) * std::f64::consts::LN_2;
    let mut ways = 0.0;
    let mut tail = 0.0;
    for taken in 0..=fewer {
        tail += f64::exp(ways + half);
        ways += ((all - taken) as f64).ln() - ((taken + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

/// Words of a text with their places in bytes.
fn words(text: &str) -> Vec<(Range<usize>, &str)> {
    let start = text.as_ptr() as usize;
    let place = |word: &str| word.as_ptr() as usize - start;
    text.split_whitespace().map(|word| (place(word)..place(word) + word.len(), word)).collect()
}

/// Parts of `text` whose words are not in `first` at their place in the longest common sequence of words.
#[must_use]
pub fn differences(first: &str, text: &str) -> Vec<Range<usize>> {
    let (ours, theirs) = (words(text), words(first));
    let same = theirs.iter().zip(&ours).take_while(|((_, a), (_, b))| a == b).count();
    let (tail, other) = (ours.get(same..).unwrap_or_default(), theirs.get(same..).unwrap_or_default());
    let mut differs = vec![true; tail.len()];
    if tail.len() <= MOST_WORDS && other.len() <= MOST_WORDS {
        for index in common(tail, other) {
            if let Some(mark) = differs.get_mut(index) {
                *mark = false;
            }
        }
    }
    let mut marks: Vec<Range<usize>> = Vec::new();
    let mut joins = false;
    for ((place, _), differs) in tail.iter().zip(differs) {
        match marks.last_mut() {
            // Neighbours are one mark, with the space between them.
            Some(last) if differs && joins => last.end = place.end,
            _ if differs => marks.push(place.clone()),
            _ => {}
        }
        joins = differs;
    }
    marks
}

/// Places in `tail` of a longest sequence of words that is in `other` too.
fn common(tail: &[(Range<usize>, &str)], other: &[(Range<usize>, &str)]) -> Vec<usize> {
    let width = other.len() + 1;
    // Length of the longest common sequence of what is left of both from each place on.
    let mut left = vec![0_u16; (tail.len() + 1) * width];
    let at = |left: &[u16], i: usize, j: usize| left.get(i * width + j).copied().unwrap_or(0);
    for (i, (_, ours)) in tail.iter().enumerate().rev() {
        for (j, (_, theirs)) in other.iter().enumerate().rev() {
            let length =
                if ours == theirs { at(&left, i + 1, j + 1) + 1 } else { at(&left, i + 1, j).max(at(&left, i, j + 1)) };
            if let Some(cell) = left.get_mut(i * width + j) {
                *cell = length;
            }
        }
    }
    let (mut i, mut j, mut found) = (0, 0, Vec::new());
    while let (Some((_, ours)), Some((_, theirs))) = (tail.get(i), other.get(j)) {
        if ours == theirs {
            found.push(i);
            (i, j) = (i + 1, j + 1);
        } else if at(&left, i + 1, j) >= at(&left, i, j + 1) {
            i += 1;
        } else {
            j += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked<'a>(first: &str, text: &'a str) -> Vec<&'a str> {
        differences(first, text).into_iter().map(|mark| &text[mark]).collect()
    }

    #[test]
    fn differences_are_whole_words_beside_each_other() {
        let first = "Sorry that it is late. I will ask now.";
        assert!(marked(first, first).is_empty());
        assert_eq!(marked(first, "Sorry that it is  very late. I ask again now."), ["very", "again"]);
        assert_eq!(marked(first, "Grüße vom Händler. I will ask now."), ["Grüße vom Händler."]);
        assert_eq!(marked("", "all of it"), ["all of it"]);
        let long = "word ".repeat(MOST_WORDS + 1);
        assert_eq!(marked("same x", &format!("same {long}")), [long.trim_end()], "too long to look at word by word");
    }

    #[test]
    fn the_sign_test_is_exact() {
        for (one, other, p) in [(0, 0, 1.0), (1, 0, 1.0), (5, 0, 0.0625), (1, 7, 0.070_312_5), (3, 3, 1.0)] {
            assert!((sign_test(one, other) - p).abs() < 1e-12, "{one} to {other}: {}", sign_test(one, other));
        }
        assert!(sign_test(3000, 2000) < 1e-40, "no overflow");
    }

    fn answered() -> Answers {
        let mut answers = Answers { blind: true, ..Answers::default() };
        answers.begin("Hello".to_owned(), "/m".to_owned(), vec![None, Some(7), Some(5)]);
        for index in 0..3 {
            assert!(!answers.can_vote(), "answer {index} is not there");
            answers.take(index, "text".to_owned(), 1, "stop".to_owned(), 1.0);
        }
        answers
    }

    #[test]
    fn votes_are_counted_for_each_pair_and_show_the_names() {
        let mut answers = answered();
        let place = answers.columns.iter().position(|answer| answer.who == Some(7));
        answers.vote(place);
        assert!(!answers.hidden && !answers.can_vote(), "one vote for one set of answers");
        answers.vote(place);
        assert_eq!(answers.votes.len(), 1);
        let pairs: Vec<_> =
            answers.tallies().iter().map(|tally| (tally.a, tally.b, tally.for_a, tally.for_b)).collect();
        assert_eq!(pairs, [(None, Some(7), 0, 1), (Some(5), Some(7), 0, 1)]);
        answers.columns.clear();
        assert_eq!(answers.tallies().len(), 2, "votes of a project that was just opened");
        let mut none = answered();
        none.vote(None);
        assert!(none.tallies().is_empty() && none.votes.len() == 1 && !none.hidden);
    }

    #[test]
    fn names_are_hidden_only_as_long_as_there_can_be_a_vote() {
        let begun = || {
            let mut answers = Answers { blind: true, ..Answers::default() };
            answers.begin("Hello".to_owned(), "/m".to_owned(), vec![None, Some(7)]);
            answers.working = Some(0);
            answers.take(0, "text".to_owned(), 1, "stop".to_owned(), 1.0);
            answers.working = Some(1);
            assert!(answers.hides_names(), "the second one comes");
            answers
        };
        let mut whole = begun();
        whole.take(1, "text".to_owned(), 1, "stop".to_owned(), 1.0);
        whole.working = None;
        assert!(whole.hides_names() && whole.can_vote());
        let mut stopped = begun();
        stopped.take(1, "te".to_owned(), 1, String::new(), 1.0);
        stopped.working = None;
        assert!(!stopped.hides_names() && !stopped.can_vote());
        let mut failed = begun();
        failed.columns[1].problem = Some("no memory".to_owned());
        assert!(!failed.hides_names());
        whole.set_blind(false);
        assert!(!whole.hides_names() && !whole.can_vote());
        whole.set_blind(true);
        assert!(!whole.hides_names(), "who was seen is known");
    }

    #[test]
    fn blind_answers_come_in_an_order_that_changes_with_the_votes() {
        let order = |votes: u64| {
            let mut who = vec![None, Some(1), Some(2), Some(3), Some(4)];
            shuffle(&mut who, "Hello", votes);
            who
        };
        assert_eq!(order(3), order(3));
        assert!((0..8).any(|votes| order(votes) != order(votes + 1)));
        let mut sorted = order(5);
        sorted.sort_unstable();
        assert_eq!(sorted, [None, Some(1), Some(2), Some(3), Some(4)], "everyone is still there");
    }
}
