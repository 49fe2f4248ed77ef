//! Series that the reader thread keeps in memory and extends by what is new, instead of reading them again each time.
//!
//! Place in the data flow: [`super::view`] follows the series of the open run, [`super::beside`] those of the runs
//! drawn behind it; both ask the [`Pyramid`]s here for as many points as the plot has pixels.

use super::curves;
use super::pyramid::Pyramid;
use temper_store::{Point, Reader, SeriesMeta, StoreError};

/// More points than any series has: everything is wanted.
const ALL: usize = usize::MAX / 4;

/// What a series holds that was not read before.
#[derive(Debug, Default)]
pub struct News {
    /// What was read before is no longer so: the run went back, or another run has its number.
    pub restart: bool,
    /// New points, or all of them after a restart.
    pub points: Vec<Point>,
}

/// How far a series was read.
#[derive(Debug, Clone, Default)]
pub struct Follower {
    last: Option<Point>,
    count: u64,
}

fn same(a: f64, b: f64) -> bool {
    a.total_cmp(&b).is_eq() || (a.is_nan() && b.is_nan())
}

impl Follower {
    /// Reads what is new of series `name`; `meta` is what the store says about it now, nothing when it has none.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn news(
        &mut self,
        reader: &Reader,
        run: u64,
        name: &str,
        meta: Option<&SeriesMeta>,
    ) -> Result<News, StoreError> {
        let Some(meta) = meta else {
            let restart = self.last.is_some();
            *self = Self::default();
            return Ok(News { restart, points: Vec::new() });
        };
        if let Some(last) = self.last {
            if meta.count == self.count && meta.last_step == last.step && same(meta.last, last.value) {
                return Ok(News::default());
            }
            // The newest point is read once more: when it is another one, the run went back to a checkpoint.
            let points = reader.points(run, name, last.step, u64::MAX, ALL)?;
            let goes_on = meta.count >= self.count
                && points.first().is_some_and(|first| first.step == last.step && same(first.value, last.value));
            if goes_on {
                let points: Vec<Point> = points.into_iter().skip(1).collect();
                self.take(&points);
                return Ok(News { restart: false, points });
            }
        }
        let restart = self.last.is_some();
        *self = Self::default();
        let points = reader.points(run, name, 0, u64::MAX, ALL)?;
        self.take(&points);
        Ok(News { restart, points })
    }

    fn take(&mut self, points: &[Point]) {
        self.count += points.len() as u64;
        self.last = points.last().copied().or(self.last);
    }
}

/// A series as it is.
#[derive(Debug, Clone, Default)]
pub struct Track {
    follower: Follower,
    /// Its points.
    pub points: Pyramid,
}

impl Track {
    /// Reads what is new and says it.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn follow(
        &mut self,
        reader: &Reader,
        run: u64,
        name: &str,
        meta: Option<&SeriesMeta>,
    ) -> Result<News, StoreError> {
        let news = self.follower.news(reader, run, name, meta)?;
        if news.restart {
            self.points = Pyramid::default();
        }
        news.points.iter().for_each(|point| self.points.push(*point));
        Ok(news)
    }
}

/// Points from which on the smoothed curve has its full memory (see [`curves::smooth`]).
const SETTLED: usize = 200;

/// A smoothed series that grows: the same curve as [`curves::smooth`] over all points.
#[derive(Debug, Clone)]
pub struct Smooth {
    early: Vec<Point>,
    average: Option<curves::Average>,
    /// The curve.
    pub points: Pyramid,
    most: usize,
    stride: u64,
    seen: u64,
}

impl Smooth {
    /// A curve of at most `most` points: when it has more, only every second one is kept, then every fourth, which a
    /// curve with a memory of 20 points hardly shows.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { early: Vec::new(), average: None, points: Pyramid::default(), most, stride: 1, seen: 0 }
    }

    /// Takes news of the raw series in.
    pub fn take(&mut self, news: &News) {
        if news.restart {
            *self = Self::new(self.most);
        }
        if news.points.is_empty() {
            return;
        }
        if self.average.is_none() {
            // While a run is short its memory grows with it, so the curve is made again from its start.
            self.early.extend(&news.points);
            self.points = Pyramid::default();
            if self.early.len() < SETTLED {
                curves::smooth(&self.early).into_iter().for_each(|point| self.points.push(point));
                return;
            }
            self.average = Some(curves::Average::over(self.early.len()));
            let early = std::mem::take(&mut self.early);
            early.iter().for_each(|point| self.push(*point));
            return;
        }
        news.points.iter().for_each(|point| self.push(*point));
    }

    fn push(&mut self, point: Point) {
        let Some(smoothed) = self.average.as_mut().and_then(|average| average.push(point)) else { return };
        if self.seen.is_multiple_of(self.stride) {
            self.points.push(smoothed);
        }
        self.seen += 1;
        if self.points.len() > self.most {
            self.points.halve();
            self.stride *= 2;
        }
    }
}

/// Seconds of one phase of the work, summed from the start.
#[derive(Debug, Clone, Default)]
pub struct Work {
    follower: Follower,
    steps: Vec<u64>,
    sums: Vec<f64>,
}

impl Work {
    /// Reads what is new.
    ///
    /// # Errors
    /// Whatever the store says.
    pub fn follow(&mut self, reader: &Reader, run: u64, meta: &SeriesMeta) -> Result<(), StoreError> {
        let news = self.follower.news(reader, run, &meta.name, Some(meta))?;
        if news.restart {
            self.steps.clear();
            self.sums.clear();
        }
        for point in news.points.iter().filter(|point| point.value.is_finite()) {
            self.steps.push(point.step);
            self.sums.push(self.total() + point.value);
        }
        Ok(())
    }

    /// Seconds so far.
    #[must_use]
    pub fn total(&self) -> f64 {
        self.sums.last().copied().unwrap_or(0.0)
    }

    /// Seconds up to and with `step`.
    #[must_use]
    pub fn until(&self, step: u64) -> f64 {
        let after = self.steps.partition_point(|other| *other <= step);
        after.checked_sub(1).and_then(|index| self.sums.get(index)).copied().unwrap_or(0.0)
    }

    /// Its steps.
    #[must_use]
    pub fn steps(&self) -> &[u64] {
        &self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use temper_protocol::Event;
    use temper_store::{NewRun, Store};

    fn wave(step: u64) -> f64 {
        if step % 97 == 13 { f64::NAN } else { 2.0 + (step as f64 * 0.37).sin() + 40.0 / (step as f64 + 9.0) }
    }

    fn line(steps: std::ops::RangeInclusive<u64>) -> Vec<Point> {
        steps.map(|step| Point { step, value: wave(step) }).collect()
    }

    #[test]
    fn a_curve_that_grows_is_the_curve_over_all_points() {
        for pieces in [vec![1, 5, 150, 199, 200, 900], vec![1000], vec![199, 201], vec![10, 700]] {
            let mut grown = Smooth::new(usize::MAX);
            let mut first = 1;
            for last in pieces {
                grown.take(&News { restart: false, points: line(first..=last) });
                first = last + 1;
                let whole = curves::smooth(&line(1..=last));
                let found = grown.points.window(0, u64::MAX, usize::MAX);
                assert_eq!(found.len(), whole.len());
                assert!(found.iter().zip(&whole).all(|(a, b)| a.step == b.step && (a.value - b.value).abs() < 1e-12));
            }
            grown.take(&News { restart: true, points: line(1..=3) });
            assert_eq!(grown.points.len(), 3, "after a restart nothing is left of before");
        }
    }

    #[test]
    fn a_long_curve_is_kept_in_bounded_memory() {
        let mut curve = Smooth::new(1_000);
        curve.take(&News { restart: false, points: line(1..=30_000) });
        assert!(curve.points.len() <= 1_000 && curve.points.len() > 400, "{}", curve.points.len());
        let whole = curves::smooth(&line(1..=30_000));
        for kept in curve.points.window(0, u64::MAX, 1_000) {
            let same = whole.iter().find(|point| point.step == kept.step).expect("a point of the curve");
            assert!((same.value - kept.value).abs() < 1e-12);
        }
    }

    fn step(step: u64, train_loss: f64) -> Event {
        Event::Step {
            step,
            max_steps: 100,
            train_loss,
            lr: 1e-3,
            grad_norm: 1.0,
            tokens_per_sec: 1.0,
            trained_tokens: step,
            rss_mib: 1.0,
        }
    }

    #[test]
    fn only_what_is_new_is_read_and_a_run_that_went_back_is_read_again() {
        let folder = tempfile::tempdir().expect("temporary folder");
        let store = Store::open(folder.path()).expect("a store");
        let run = store.create_run(&NewRun { method: "lora".to_owned(), ..NewRun::default() }).expect("a run");
        let write = |steps: std::ops::RangeInclusive<u64>, shift: f64| {
            for number in steps {
                store.push_event(run, &step(number, wave(number) + shift)).expect("pushed");
            }
            store.flush().expect("written");
        };
        write(1..=50, 0.0);
        let reader = Reader::open(folder.path()).expect("a reader");
        let mut track = Track::default();
        let follow = |track: &mut Track| {
            let series = reader.series_names(run).expect("series");
            let meta = series.iter().find(|meta| meta.name == "train_loss");
            track.follow(&reader, run, "train_loss", meta).expect("read")
        };
        assert_eq!(follow(&mut track).points.len(), 50);
        let nothing = follow(&mut track);
        assert!(!nothing.restart && nothing.points.is_empty(), "nothing changed");
        write(51..=60, 0.0);
        let more = follow(&mut track);
        assert!(!more.restart);
        assert_eq!(more.points.iter().map(|point| point.step).collect::<Vec<_>>(), (51..=60).collect::<Vec<_>>());
        // Back to step 40 and on, further than before: the last point that is known is another one now.
        write(41..=75, 0.5);
        let again = follow(&mut track);
        assert!(again.restart);
        assert_eq!(track.points.len(), 75);
        let late = track.points.window(60, 60, 10);
        assert!(late.iter().any(|point| point.step == 60 && (point.value - wave(60) - 0.5).abs() < 1e-12));
    }
}
