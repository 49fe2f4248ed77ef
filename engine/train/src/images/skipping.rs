//! Which blocks to leave out: a search by reward while the adapters learn.
//!
//! Place in the data flow: [`super::fit()`] makes one of these when a model has blocks that can be left out, asks it before
//! each step which ones are, and feeds it with the rewards of subsets on images that are not trained on.
//!
//! ```text
//! p_i = σ(a_i)      each step leaves out k blocks, drawn without replacement in proportion to p
//! every so many steps, over some subsets S with R = exp(−loss):   a_i ← a_i + (R − R̄) p_i (1 − p_i)   for i in S
//! at the end of the search the k largest a stay left out
//! ```
//!
//! Wu et al. 2023, "Parameter and Computation Efficient Transfer Learning for Vision-Language Pre-trained Models" (arXiv
//! 2309.01479). Its program defines a rate for the last line and never applies it: the step is 1 there and here.

use temper_models::VisionModel;
use temper_nn::insertion::SkipSearch;
use temper_nn::rng::Stream;

/// Draws tried to find subsets that differ.
const DRAWS: usize = 64;

/// A search for the blocks to leave out.
#[derive(Debug, Clone, PartialEq)]
pub struct Skipping {
    /// Names of the stages that can be left out.
    stages: Vec<String>,
    logits: Vec<f64>,
    search: SkipSearch,
    seed: u64,
    /// Steps after which the search begins and ends.
    span: (u64, u64),
}

/// What the search saw at a step.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchPoint {
    /// The step.
    pub step: u64,
    /// Subsets of the blocks and their rewards.
    pub tried: Vec<(Vec<usize>, f64)>,
    /// a of every block afterwards.
    pub logits: Vec<f64>,
}

impl Skipping {
    /// The search that a model's insertions ask for, over a training of so many steps; none where nothing is searched.
    #[must_use]
    pub fn of(model: &VisionModel, steps: u64, seed: u64) -> Option<Self> {
        let searched: Vec<(String, SkipSearch)> = model.searched();
        let (_, search) = searched.first()?;
        let at = |share: f64| (share * steps as f64).round() as u64;
        let span = (at(search.from), at(search.until).max(1).min(steps));
        let (search, stages) = (search.clone(), searched.iter().map(|(stage, _)| stage.clone()).collect());
        Some(Self::new(stages, search, seed, span))
    }

    /// A search over these stages between two steps.
    #[must_use]
    pub fn new(stages: Vec<String>, search: SkipSearch, seed: u64, span: (u64, u64)) -> Self {
        let search = SkipSearch { count: search.count.min(stages.len()), ..search };
        Self { logits: vec![0.0; stages.len()], stages, search, seed, span }
    }

    /// Names of the stages that can be left out.
    #[must_use]
    pub fn stages(&self) -> &[String] {
        &self.stages
    }

    /// How likely each block is to be left out, relative to the others.
    #[must_use]
    pub fn probabilities(&self) -> Vec<f64> {
        self.logits.iter().map(|logit| 1.0 / (1.0 + (-logit).exp())).collect()
    }

    /// `count` blocks without replacement, each draw in proportion to p, in ascending order.
    #[must_use]
    pub fn draw(&self, stream: &mut Stream) -> Vec<usize> {
        let mut left: Vec<(usize, f64)> = self.probabilities().into_iter().enumerate().collect();
        let mut drawn = Vec::with_capacity(self.search.count);
        while drawn.len() < self.search.count && !left.is_empty() {
            let total: f64 = left.iter().map(|(_, p)| p).sum();
            let mut rest = stream.uniform() * total;
            let found = left.iter().position(|(_, p)| {
                rest -= p;
                rest < 0.0
            });
            drawn.push(left.remove(found.unwrap_or(left.len() - 1)).0);
        }
        drawn.sort_unstable();
        drawn
    }

    /// Subsets to compare, all different: fewer than asked for where there are not as many.
    #[must_use]
    pub fn subsets(&self, stream: &mut Stream) -> Vec<Vec<usize>> {
        let mut found: Vec<Vec<usize>> = Vec::new();
        for _ in 0..DRAWS {
            if found.len() >= self.search.subsets {
                break;
            }
            let drawn = self.draw(stream);
            if !found.contains(&drawn) {
                found.push(drawn);
            }
        }
        found
    }

    /// Moves a by the rewards of subsets.
    pub fn update(&mut self, tried: &[(Vec<usize>, f64)]) {
        let mean = tried.iter().map(|(_, reward)| reward).sum::<f64>() / tried.len().max(1) as f64;
        let slopes: Vec<f64> = self.probabilities().into_iter().map(|p| p * (1.0 - p)).collect();
        for (subset, reward) in tried {
            for block in subset {
                if let (Some(logit), Some(slope)) = (self.logits.get_mut(*block), slopes.get(*block)) {
                    *logit += (reward - mean) * slope;
                }
            }
        }
    }

    /// The blocks with the largest a, in ascending order; of equal ones the first.
    #[must_use]
    pub fn chosen(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.logits.len()).collect();
        let logit = |block: &usize| self.logits.get(*block).copied().unwrap_or(f64::NEG_INFINITY);
        order.sort_by(|left, right| logit(right).total_cmp(&logit(left)).then(left.cmp(right)));
        order.truncate(self.search.count);
        order.sort_unstable();
        order
    }

    /// Names of these blocks.
    #[must_use]
    pub fn names(&self, blocks: &[usize]) -> Vec<&str> {
        blocks.iter().filter_map(|block| self.stages.get(*block)).map(String::as_str).collect()
    }

    /// The blocks that a step is trained without: drawn until the search is over, chosen afterwards.
    #[must_use]
    pub fn for_step(&self, step: u64) -> Vec<usize> {
        if step > self.span.1 {
            return self.chosen();
        }
        self.draw(&mut Stream::new(self.seed, &format!("skip/{step}")))
    }

    /// Whether subsets are compared after a step.
    #[must_use]
    pub fn is_due(&self, step: u64) -> bool {
        let (from, until) = self.span;
        step > from && step <= until && (step - from).is_multiple_of(self.search.every.max(1))
    }

    /// Compares subsets after a step by what `reward` says of a model without these blocks.
    ///
    /// # Errors
    /// Those of `reward`.
    pub fn compare<E>(
        &mut self,
        step: u64,
        mut reward: impl FnMut(&[&str]) -> Result<f64, E>,
    ) -> Result<SearchPoint, E> {
        let subsets = self.subsets(&mut Stream::new(self.seed, &format!("skip/compare/{step}")));
        let mut tried = Vec::with_capacity(subsets.len());
        for subset in subsets {
            let reward = reward(&self.names(&subset))?;
            tried.push((subset, reward));
        }
        self.update(&tried);
        Ok(SearchPoint { step, tried, logits: self.logits.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(blocks: usize, count: usize, subsets: usize) -> Skipping {
        let search = SkipSearch { count, every: 10, subsets, from: 0.1, until: 0.4 };
        Skipping::new((0..blocks).map(|block| format!("layers.{block}")).collect(), search, 3, (20, 80))
    }

    #[test]
    fn draws_without_replacement_have_equal_marginals_for_equal_p() {
        let (search, mut stream) = (search(12, 4, 3), Stream::new(1, "draws"));
        let mut counts = [0u32; 12];
        for _ in 0..6000 {
            let drawn = search.draw(&mut stream);
            assert!(drawn.len() == 4 && drawn.windows(2).all(|pair| pair[0] < pair[1]), "{drawn:?}");
            drawn.into_iter().for_each(|block| counts[block] += 1);
        }
        // Expected 2000 each; the standard deviation is 37.
        assert!(counts.iter().all(|count| count.abs_diff(2000) < 150), "{counts:?}");
    }

    #[test]
    fn equal_rewards_change_nothing_and_better_subsets_gain() {
        let mut search = search(6, 2, 3);
        search.update(&[(vec![0, 1], 0.5), (vec![2, 3], 0.5), (vec![0, 4], 0.5)]);
        assert_eq!(search.logits, [0.0; 6]);
        search.update(&[(vec![0, 1], 0.8), (vec![2, 3], 0.4)]);
        for (logit, wanted) in search.logits.iter().zip([0.05, 0.05, -0.05, -0.05, 0.0, 0.0]) {
            assert!((logit - wanted).abs() < 1e-12, "{:?}", search.logits);
        }
        assert_eq!(search.chosen(), [0, 1]);
    }

    #[test]
    fn subsets_differ_and_too_few_of_them_are_no_endless_search() {
        let mut stream = Stream::new(2, "subsets");
        let found = search(6, 2, 3).subsets(&mut stream);
        assert!(found.len() == 3 && found[0] != found[1] && found[1] != found[2] && found[0] != found[2]);
        assert_eq!(search(2, 2, 3).subsets(&mut stream), [vec![0, 1]]);
        assert_eq!(search(2, 5, 3).for_step(1), [0, 1], "no more blocks than there are");
    }

    #[test]
    fn the_search_has_a_beginning_and_an_end() {
        let search = search(6, 2, 3);
        let due: Vec<u64> = (1..=100).filter(|step| search.is_due(*step)).collect();
        assert_eq!(due, [30, 40, 50, 60, 70, 80]);
        assert_eq!(search.for_step(81), search.chosen());
        assert!((1..=80).any(|step| search.for_step(step) != search.chosen()));
    }

    #[test]
    fn all_four_planted_blocks_are_found_under_every_one_of_twenty_seeds() {
        // Four blocks cost .01, eight .1 to .5, the reward's noise is .1, 200 comparisons.
        let mut missed = Vec::new();
        for seed in 0..20 {
            let (mut search, mut stream) = (search(12, 4, 3), Stream::new(seed, "planted"));
            let cost: Vec<f64> =
                (0..12).map(|block| if block % 3 == 1 { 0.01 } else { 0.1 + 0.4 * stream.uniform() }).collect();
            for step in 0..200 {
                search.seed = seed;
                let noise: Vec<f64> = (0..3).map(|_| 0.1 * stream.normal()).collect();
                let mut noise = noise.into_iter();
                let reward = |names: &[&str]| -> Result<f64, std::convert::Infallible> {
                    let block =
                        |name: &&str| name.strip_prefix("layers.").and_then(|block| block.parse::<usize>().ok());
                    let loss: f64 = names.iter().filter_map(block).map(|block| cost[block]).sum();
                    Ok((-loss).exp() + noise.next().unwrap_or(0.0))
                };
                let Ok(_) = search.compare(step, reward);
            }
            if search.chosen() != [1, 4, 7, 10] {
                missed.push((seed, search.chosen()));
            }
        }
        assert!(missed.is_empty(), "all four of every seed are to be found: {missed:?}");
    }
}
