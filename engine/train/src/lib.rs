//! The training loop: schedules, accumulation, evaluation, probes, checkpoints, guards.
