//! Adapters, merged models and their certificates.
