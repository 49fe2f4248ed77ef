//! The run store: one SQLite database per project, and the lock that keeps two engines apart.
