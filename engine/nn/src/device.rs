//! Where graphs are computed: the processor, or a graphics card that this build knows.
//!
//! Place in the data flow: the trainer and the doctor choose; [`crate::ops`] do the rest. Trained parameters, their
//! gradients and the optimiser's state stay in main memory, whatever is chosen, so that checkpoints, telemetry and
//! merges are the same everywhere. Hidden states live on the device; a frozen weight has one copy there
//! ([`crate::FrozenWeight::on`]); a trained value is copied there within the graph, which brings its gradient back.
//! The operations' kernels are for the processor: elsewhere their references of plain tensors run.

use candle_core::Device;
use parking_lot::RwLock;

/// A kind of device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceKind {
    /// The processor.
    Cpu,
    /// A card by NVIDIA.
    Cuda,
    /// A card by Apple.
    Metal,
}

impl DeviceKind {
    /// All of them, the processor first.
    pub const ALL: [Self; 3] = [Self::Cpu, Self::Cuda, Self::Metal];

    /// The name in project files and events.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Cuda => "cuda",
            Self::Metal => "metal",
        }
    }

    /// Whether this build has it.
    #[must_use]
    pub const fn is_built(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Metal => cfg!(feature = "metal"),
        }
    }
}

/// Opens the first device of a kind.
///
/// # Errors
/// Why it cannot be used, as a sentence for people.
pub fn open(kind: DeviceKind) -> Result<Device, String> {
    if !kind.is_built() {
        return Err(format!("this build trains on the processor: it was made without {}", kind.name()));
    }
    let opened = match kind {
        DeviceKind::Cpu => Ok(Device::Cpu),
        DeviceKind::Cuda => Device::new_cuda(0),
        DeviceKind::Metal => Device::new_metal(0),
    };
    opened.map_err(|error| {
        let text = error.to_string();
        format!("no usable device: {}", text.lines().next().unwrap_or_default())
    })
}

/// The device that `wanted` means (`auto`, `cpu`, `cuda`, `metal`), and why it is not another one where a person could
/// have expected that. `auto` takes a card where the build has one that works.
///
/// # Errors
/// A device was asked for by name and cannot be used.
pub fn choose(wanted: &str) -> Result<(DeviceKind, Device, Option<String>), String> {
    let cards = [DeviceKind::Cuda, DeviceKind::Metal];
    if let Some(kind) = DeviceKind::ALL.into_iter().find(|kind| kind.name() == wanted) {
        return open(kind).map(|device| (kind, device, None));
    }
    let mut why = None;
    for kind in cards.into_iter().filter(|kind| kind.is_built()) {
        match open(kind) {
            Ok(device) => return Ok((kind, device, None)),
            Err(reason) => why = Some(format!("training on the processor, not on {}: {reason}", kind.name())),
        }
    }
    Ok((DeviceKind::Cpu, Device::Cpu, why))
}

/// Free and total memory of a card, MiB; `None` where the driver is not asked.
#[must_use]
pub fn memory_mib(device: &Device) -> Option<(f64, f64)> {
    const MIB: f64 = 1_048_576.0;
    match device {
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            let (free, total) = candle_core::cuda_backend::cudarc::driver::result::mem_get_info().ok()?;
            Some((free as f64 / MIB, total as f64 / MIB))
        }
        #[cfg(feature = "metal")]
        Device::Metal(metal) => {
            let total = metal.metal_device().recommended_max_working_set_size() as f64 / MIB;
            let used = metal.metal_device().current_allocated_size() as f64 / MIB;
            Some((total - used, total))
        }
        _ => {
            let _unused_without_cards = MIB;
            None
        }
    }
}

static DEVICE: RwLock<Device> = RwLock::new(Device::Cpu);

/// Where graphs are computed now.
#[must_use]
pub fn current() -> Device {
    DEVICE.read().clone()
}

/// Computes graphs on `device` from here on. Models that are loaded already follow.
pub fn set(device: Device) {
    *DEVICE.write() = device;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_processor_is_always_there_and_a_device_that_is_not_says_why() {
        let (kind, device, _) = choose("cpu").unwrap();
        assert!(kind == DeviceKind::Cpu && device.is_cpu());
        let (_, _, why) = choose("auto").unwrap();
        for kind in [DeviceKind::Cuda, DeviceKind::Metal] {
            if !kind.is_built() {
                let refused = choose(kind.name()).unwrap_err();
                assert!(refused.contains(kind.name()), "{refused}");
                assert!(why.is_none(), "nobody expects a card of a build without one");
            }
        }
        assert!(memory_mib(&Device::Cpu).is_none());
    }
}
