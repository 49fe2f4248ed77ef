//! The self-test: a small new model learns a few rows, and what training rests on is checked one by one.
//!
//! Place in the data flow: part of `doctor`. Each check says what was measured and, when it failed, what a person can do; the
//! window and the command line show them as they are.

use crate::memory::LOW_MIB;
use candle_core::Tensor;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Instant;
use temper_models::{LlamaConfig, Model};
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads, ParamSet, gemm};
use temper_protocol::event::{MachineCheck, SelfTest};
use temper_protocol::{Event, Problem};

/// Steps of the training.
const STEPS: usize = 12;
/// Its batch rows and width.
const BATCH: usize = 4;
const WIDTH: usize = 64;
/// Its seed and learning rate.
const SEED: u64 = 7;
const RATE: f64 = 3e-3;
/// How far the weights are moved along their gradient, as a length; far enough for f32 to see the loss change.
const MOVED: f64 = 5e-3;
/// How far the change of the loss may be from what the gradient says.
const GRADIENT_ERROR: f64 = 0.05;
/// What is written and read back, bytes.
const FILE_BYTES: usize = 4 << 20;
/// Below this rate something is badly wrong, 10^9 operations a second: a processor of 2010 reaches several.
const LEAST_GFLOPS: f64 = 1.0;

/// Does everything.
pub(super) fn self_test() -> Result<Event, Problem> {
    let started = Instant::now();
    let small = Small::new()?;
    let gradients = gradients(&small)?;
    // The weights were moved: training starts from new ones.
    let small = Small::new()?;
    let training = Instant::now();
    let losses = small.train()?;
    let secs = training.elapsed().as_secs_f64().max(1e-9);
    let again = Small::new()?.train()?;
    let tokens_per_sec = (STEPS * BATCH * WIDTH) as f64 / secs;
    let gemm_gflops = matrix_rate();
    let (first, last) = (losses.first().copied().unwrap_or(f64::NAN), losses.last().copied().unwrap_or(f64::NAN));
    let same = losses.iter().zip(&again).take_while(|(one, other)| one.to_bits() == other.to_bits()).count();
    let checks = vec![
        check(
            "learning",
            last.is_finite() && last < 0.9 * first,
            format!("loss {first:.2} to {last:.2} nats in {STEPS} steps"),
            "this program computes wrongly on this processor: note its name and report it",
        ),
        gradients,
        check(
            "repeating",
            same == STEPS && again.len() == STEPS,
            format!("{same} of {STEPS} losses the same bits the second time"),
            "results of this machine cannot be repeated exactly: suspect its memory or an unstable clock rate",
        ),
        saving(),
        memory(),
        check(
            "speed",
            gemm_gflops >= LEAST_GFLOPS,
            format!("{tokens_per_sec:.0} tokens/s, matrix product {gemm_gflops:.0} GFLOP/s"),
            "another program takes the processor, or it runs far below its clock rate: close programs and test again",
        ),
    ];
    Ok(Event::Selftest(SelfTest {
        pass: checks.iter().all(|check| check.pass),
        text: format!(
            "trained {:.1} M parameters for {STEPS} steps, loss {first:.2} to {last:.2}",
            small.params.elements() as f64 / 1e6
        ),
        secs: started.elapsed().as_secs_f64(),
        tokens_per_sec,
        gemm_gflops,
        checks,
    }))
}

/// What is to be done is said of what failed only.
fn check(name: &str, pass: bool, measured: String, action: &str) -> MachineCheck {
    let action = if pass { String::new() } else { action.to_owned() };
    MachineCheck { name: name.to_owned(), pass, measured, action }
}

fn failed(error: impl std::fmt::Display) -> Problem {
    Problem::internal(format!("the self-test failed: {error}"))
}

/// A model of about a million parameters, all of them trained, and the one batch that it learns.
struct Small {
    model: Model,
    params: ParamSet,
    tokens: Arc<[u32]>,
    targets: Arc<[u32]>,
    forward: ForwardContext,
}

impl Small {
    fn new() -> Result<Self, Problem> {
        let config = LlamaConfig { intermediate_size: 384, kv_heads: 2, ..LlamaConfig::new(1024, 128, 4, 4) };
        let mut model = Model::random(&config, SEED)?;
        model.promote(&|_| true)?;
        let params = model.params()?;
        let tokens: Arc<[u32]> = (0..(BATCH * WIDTH) as u32).map(|index| index * 37 % 1021).collect();
        let targets = tokens.iter().skip(1).chain(std::iter::once(&1)).copied().collect();
        Ok(Self { model, params, tokens, targets, forward: ForwardContext::plain(BATCH, WIDTH) })
    }

    /// Mean loss of a token, nats.
    fn loss(&self) -> Result<Tensor, Problem> {
        let sum = self.model.loss(&self.tokens, &self.targets, &self.forward)?;
        (sum / (BATCH * WIDTH) as f64).map_err(failed)
    }

    fn gradients(&self, loss: &Tensor) -> Result<Grads, Problem> {
        let mut store = loss.backward().map_err(failed)?;
        let mut grads = Grads::new();
        grads.collect(self.params.iter(), &mut store).map_err(failed)?;
        Ok(grads)
    }

    /// The loss before each step.
    fn train(&self) -> Result<Vec<f64>, Problem> {
        let mut optimiser = AdamW::new(AdamWConfig::default());
        let mut losses = Vec::with_capacity(STEPS);
        for _ in 0..STEPS {
            let loss = self.loss()?;
            losses.push(number(&loss)?);
            let grads = self.gradients(&loss)?;
            optimiser.step(self.params.iter(), &grads, RATE).map_err(failed)?;
        }
        Ok(losses)
    }

    /// Moves every weight along its gradient.
    fn shift(&self, grads: &Grads, by: f64) -> candle_core::Result<()> {
        for param in self.params.iter() {
            let Some(gradient) = grads.get(&param.name) else { continue };
            let moved = param.var.as_tensor().add(&gradient.affine(by, 0.0)?)?;
            param.var.set(&moved)?;
        }
        Ok(())
    }
}

fn number(loss: &Tensor) -> Result<f64, Problem> {
    Ok(f64::from(loss.to_scalar::<f32>().map_err(failed)?))
}

/// Moves the weights a little along their gradient, there and back: the loss must change by the gradient's length times the
/// way.
fn gradients(small: &Small) -> Result<MachineCheck, Problem> {
    let grads = small.gradients(&small.loss()?)?;
    let norm = grads.global_norm().map_err(failed)?;
    small.shift(&grads, MOVED / norm).map_err(failed)?;
    let ahead = number(&small.loss()?)?;
    small.shift(&grads, -2.0 * MOVED / norm).map_err(failed)?;
    let behind = number(&small.loss()?)?;
    let error = ((ahead - behind) / (2.0 * MOVED) / norm - 1.0).abs();
    Ok(check(
        "gradients",
        error < GRADIENT_ERROR,
        format!("{:.2} % beside the measured change of the loss", error * 100.0),
        "this program computes wrongly on this processor: note its name and report it",
    ))
}

/// Writes a file, reads it back and compares.
fn saving() -> MachineCheck {
    let action = "free some disk, or see that the folder for temporary files can be written, and test again";
    let bytes: Vec<u8> = (0..FILE_BYTES).map(|index| (index * 31 % 251) as u8).collect();
    let begun = Instant::now();
    let read = tempfile::NamedTempFile::new().and_then(|mut file| {
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        std::fs::read(file.path())
    });
    let secs = begun.elapsed().as_secs_f64().max(1e-9);
    match read {
        Ok(read) if read == bytes => {
            let mib_per_sec = FILE_BYTES as f64 / 1_048_576.0 / secs;
            check("saving", true, format!("written, read back and equal, {mib_per_sec:.0} MiB/s"), action)
        }
        Ok(_) => check("saving", false, "what was read back is not what was written".to_owned(), action),
        Err(error) => check("saving", false, error.to_string(), action),
    }
}

/// Whether there is memory to begin with; 0 is "not known".
fn memory() -> MachineCheck {
    let free_mib = temper_train::meter::free_memory_mib();
    let known = free_mib > 0.0;
    let measured = if known { format!("{free_mib:.0} MiB free") } else { "the system does not tell".to_owned() };
    check("memory", !known || free_mib >= LOW_MIB, measured, "close other programs and test again")
}

/// Rate of a matrix product of the size that training uses, GFLOP/s; the best of a few.
fn matrix_rate() -> f64 {
    const N: usize = 512;
    let a = vec![0.5f32; N * N];
    let b = vec![0.25f32; N * N];
    let mut out = vec![0f32; N * N];
    let mut best = 0f64;
    for _ in 0..5 {
        let started = Instant::now();
        gemm::gemm_nt(&a, &b, &mut out, N, N, N, 1.0, false);
        let secs = started.elapsed().as_secs_f64().max(1e-9);
        best = best.max(2.0 * (N * N * N) as f64 / secs / 1e9);
    }
    best
}
