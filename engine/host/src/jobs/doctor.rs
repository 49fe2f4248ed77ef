//! `doctor`: devices, threads, memory, and a self-test that trains a small new model for a few steps.

use crate::job::JobContext;
use std::sync::Arc;
use std::time::Instant;
use sysinfo::System;
use temper_models::{LlamaConfig, Model};
use temper_nn::device::{self, DeviceKind};
use temper_nn::{AdamW, AdamWConfig, ForwardContext, Grads, gemm};
use temper_protocol::event::SelfTest;
use temper_protocol::{Event, Problem};

/// Steps of the self-test.
const STEPS: usize = 12;
/// Batch rows and width of the self-test.
const BATCH: usize = 4;
const WIDTH: usize = 64;

/// Says what there is to compute with, and whether it computes.
pub(super) fn examine(context: &JobContext) -> Result<(), Problem> {
    for device in devices() {
        context.emit(device);
    }
    context.check_cancelled()?;
    context.emit(self_test()?);
    Ok(())
}

fn devices() -> Vec<Event> {
    // Where the system tells nothing, what is known is still said.
    let system = System::new().ok().map(|mut system| {
        system.refresh_memory();
        system.refresh_cpu_all();
        system
    });
    let name = system
        .as_ref()
        .and_then(|system| system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "processor".to_owned());
    let (total_memory, free_memory) =
        system.as_ref().map_or((0, 0), |system| (system.total_memory(), system.available_memory()));
    let threads = temper_nn::kernels::threads::threads() as u64;
    let mut features = Vec::new();
    #[cfg(target_arch = "x86_64")]
    for (name, present) in [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("AVX-512", std::is_x86_feature_detected!("avx512f")),
    ] {
        if present {
            features.push(name);
        }
    }
    let mib = |bytes: u64| bytes as f64 / 1_048_576.0;
    vec![
        Event::Device {
            kind: "cpu".to_owned(),
            name,
            usable: true,
            note: format!(
                "{}; {:.0} MiB free",
                if features.is_empty() { "no vector extensions found".to_owned() } else { features.join(", ") },
                mib(free_memory)
            ),
            threads,
            memory_mib: mib(total_memory),
        },
        card(DeviceKind::Cuda),
        card(DeviceKind::Metal),
    ]
}

/// Whether a card of this kind can train, and how much memory it has.
fn card(kind: DeviceKind) -> Event {
    let opened = device::open(kind);
    let memory = opened.as_ref().ok().and_then(device::memory_mib);
    Event::Device {
        kind: kind.name().to_owned(),
        name: kind.name().to_ascii_uppercase(),
        usable: opened.is_ok(),
        note: match (opened, memory) {
            (Err(why), _) => why,
            (Ok(_), Some((free_mib, _))) => format!("{free_mib:.0} MiB free"),
            (Ok(_), None) => "its memory is not known".to_owned(),
        },
        threads: 0,
        memory_mib: memory.map_or(0.0, |(_, total_mib)| total_mib),
    }
}

/// Trains a new model of about a million parameters on one batch: the loss must fall by a tenth.
fn self_test() -> Result<Event, Problem> {
    let started = Instant::now();
    let config = LlamaConfig { intermediate_size: 384, kv_heads: 2, ..LlamaConfig::new(1024, 128, 4, 4) };
    let mut model = Model::random(&config, 7)?;
    model.promote(&|_| true)?;
    let internal = |error: temper_nn::NnError| Problem::internal(format!("the self-test failed: {error}"));
    let candle = |error: candle_core::Error| Problem::internal(format!("the self-test failed: {error}"));
    let params = model.params()?;
    let mut optimiser = AdamW::new(AdamWConfig::default());
    let count = BATCH * WIDTH;
    let tokens: Arc<[u32]> = (0..count as u32).map(|index| index * 37 % 1021).collect();
    let targets: Arc<[u32]> = tokens.iter().skip(1).chain(std::iter::once(&1)).copied().collect();
    let forward = ForwardContext::plain(BATCH, WIDTH);
    let mut losses = Vec::new();
    let training = Instant::now();
    for _ in 0..STEPS {
        let loss = (model.loss(&tokens, &targets, &forward)? / count as f64).map_err(candle)?;
        losses.push(f64::from(loss.to_scalar::<f32>().map_err(candle)?));
        let mut store = loss.backward().map_err(candle)?;
        let mut grads = Grads::new();
        grads.collect(params.iter(), &mut store).map_err(internal)?;
        optimiser.step(params.iter(), &grads, 3e-3).map_err(internal)?;
    }
    let secs = training.elapsed().as_secs_f64().max(1e-9);
    let (first, last) = (losses.first().copied().unwrap_or(f64::NAN), losses.last().copied().unwrap_or(f64::NAN));
    let pass = last.is_finite() && last < 0.9 * first;
    Ok(Event::Selftest(SelfTest {
        pass,
        text: format!(
            "trained {:.1} M parameters for {STEPS} steps, loss {first:.2} to {last:.2}",
            params.elements() as f64 / 1e6
        ),
        secs: started.elapsed().as_secs_f64(),
        tokens_per_sec: (STEPS * count) as f64 / secs,
        gemm_gflops: matrix_rate(),
    }))
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
