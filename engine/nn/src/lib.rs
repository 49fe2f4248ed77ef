//! Differentiable operations, frozen weights, adapters' slots, parameters, generators and optimisers.
//!
//! Place in the data flow: the numerics below models, methods and trainer. Activations and parameters are candle
//! tensors (f32); weights that are not trained are [`FrozenWeight`]s over the bytes of the model file. The layers,
//! from the bottom: [`bytes`] and [`storage`] (what files hold), [`kernels`] and [`gemm`] (arithmetic on slices),
//! [`ops`] (differentiable operations), [`fused`] (halves of a block without a graph), [`param`] and [`optim`] (what is trained and how); above them [`site`] (linear
//! layers with adapters made of [`slots`]), [`conv_site`] (convolutions as such layers), [`insertion`] (what methods put
//! at named points of a stage) and [`rules`] (the step of a whole model and what changes after it). [`mod@bench`]
//! measures the operations, [`gradcheck`] proves them.

pub mod adapter;
pub mod at_once;
pub mod bench;
pub mod budget;
pub mod bytes;
pub mod context;
pub mod conv_site;
pub mod device;
pub mod error;
pub mod frozen;
pub mod fused;
pub mod gemm;
pub mod gradcheck;
pub mod insertion;
pub mod kernels;
pub mod layer_stats;
pub mod linalg;
pub mod ops;
pub mod optim;
pub mod param;
pub mod repair;
pub mod rng;
pub mod rules;
pub mod site;
pub mod sketch;
pub mod slot_adapter;
pub mod slots;
pub mod storage;
pub mod telemetry;

pub use adapter::{
    Adapter, AdapterExport, Edit, Edited, Entries, Find, FusedChange, FusedRows, MergedWeight, PeftLayer, PeftSetting,
};
pub use bytes::{Bytes, Map};
pub use context::ForwardContext;
pub use conv_site::{ConvShape, ConvSite};
pub use error::{NnError, Result};
pub use frozen::{CpuBackend, FrozenBackend, FrozenWeight, RowChange, set_backend};
pub use fused::FusedBlock;
pub use insertion::{FusedInserts, Insert, InsertDims, Insertion, Inserts, Point, Spread};
pub use kernels::grouped::{Bits, Group, GroupedInt};
pub use layer_stats::{Gather, LayerStats};
pub use ops::FrozenLinear;
pub use optim::{AdamW, AdamWConfig, MomentStorage, OptimiserEdit, StateTensor, StateValues};
pub use param::{Grads, Param, ParamSet, Role, Update};
pub use site::{Layer, LinearSite, Weight};
pub use slot_adapter::SlotAdapter;
pub use slots::Slots;
pub use storage::{StorageKind, dequantise, quantise};
pub use telemetry::{Routing, SiteTelemetry, Throttle};
