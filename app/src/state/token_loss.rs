//! What each token of a row costs the base, for the token lens.
//!
//! Place in the data flow: the engine measures the chosen row while this is shown; an edit of the row makes what was
//! measured that of another row.

use super::lens_edit::Texts;

/// Loss at which the tint is full, nats: such a token was given a chance of one in four hundred.
pub const MOST_NATS: f64 = 6.0;

/// What tokens cost the base.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TokenLosses {
    /// Whether it is shown.
    pub shown: bool,
    /// The row that was measured, its edited texts, and the loss of each token, nats.
    measured: Option<(u64, Texts, Vec<f64>)>,
}

impl TokenLosses {
    /// The losses of a row with these texts edited, where they are shown and were measured.
    #[must_use]
    pub fn of(&self, row: u64, texts: Option<&Texts>) -> Option<&[f64]> {
        let (measured, edited, losses) = self.measured.as_ref().filter(|_| self.shown)?;
        let same = match texts {
            Some(texts) => texts == edited,
            None => edited.is_empty(),
        };
        (*measured == row && same).then_some(losses.as_slice())
    }

    /// Whether the engine has to measure a row.
    #[must_use]
    pub fn wants(&self, row: u64, texts: Option<&Texts>) -> bool {
        self.shown && self.of(row, texts).is_none()
    }

    /// Takes in what was measured.
    pub fn take(&mut self, row: u64, texts: Texts, losses: Vec<f64>) {
        self.measured = Some((row, texts, losses));
    }
}

/// How strongly a loss is tinted, 0 to 1; nothing where there is none.
#[must_use]
pub fn strength(loss: f64) -> Option<f32> {
    loss.is_finite().then(|| (loss / MOST_NATS).clamp(0.0, 1.0) as f32)
}

/// Mean loss of the trained tokens, nats; nothing where none of them has one.
#[must_use]
pub fn mean_trained(losses: &[f64], marks: &str) -> Option<f64> {
    let trained = losses.iter().zip(marks.chars()).filter(|(loss, mark)| *mark == 't' && loss.is_finite());
    let (sum, count) = trained.fold((0.0, 0_u32), |(sum, count), (loss, _)| (sum + loss, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_belong_to_a_row_and_to_its_texts() {
        let edited = Texts::from([("/a".to_owned(), "uno".to_owned())]);
        let mut losses = TokenLosses { shown: true, ..TokenLosses::default() };
        assert!(losses.wants(3, None));
        losses.take(3, Texts::new(), vec![1.0]);
        assert_eq!(losses.of(3, None), Some(&[1.0][..]));
        assert!(losses.wants(4, None) && losses.wants(3, Some(&edited)));
        losses.take(3, edited.clone(), vec![2.0]);
        assert_eq!(losses.of(3, Some(&edited)), Some(&[2.0][..]));
        assert!(losses.wants(3, None));
        losses.shown = false;
        assert!(losses.of(3, Some(&edited)).is_none() && !losses.wants(3, None));
    }

    #[test]
    fn only_trained_tokens_with_a_loss_are_in_the_mean() {
        assert_eq!(mean_trained(&[f64::NAN, 9.0, 1.0, 2.0], "tctt"), Some(1.5));
        assert_eq!(mean_trained(&[f64::NAN, 9.0], "tc"), None);
        assert_eq!((strength(f64::NAN), strength(3.0), strength(60.0)), (None, Some(0.5), Some(1.0)));
    }
}
