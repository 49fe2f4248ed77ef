//! `doctor`: devices, threads, memory, and the self-test.

use super::selftest::self_test;
use crate::job::JobContext;
use sysinfo::System;
use temper_nn::device::{self, DeviceKind};
use temper_protocol::{Event, Problem};

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
