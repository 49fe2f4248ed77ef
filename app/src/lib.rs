//! Temper: a desktop studio for model adaptation.
