//! The model card of the next export: what a person does with it. Its text is in the sheet while it is edited, and with
//! the run it is of in [`super::export::Export`] once it is kept.

/// Something with the model card.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CardAct {
    /// Shows it.
    Open,
    /// Its text, as typed.
    Text(String),
    /// The next export of the run takes it along.
    Keep,
    /// Fills it from the run again.
    FromRun,
}
