//! Configuration of a small convolutional network.

use crate::vision::config::{Classes, number, size};
use crate::vision::slots::{SlotList, Start};
use serde_json::{Map, Value, json};
use temper_nn::ConvShape;
use temper_nn::ops::Slide;

/// Side of every kernel.
const KERNEL: usize = 3;

/// Configuration of a small convolutional network.
#[derive(Debug, Clone, PartialEq)]
pub struct CnnConfig {
    /// Images and classes.
    pub classes: Classes,
    /// Channels after the stem.
    pub stem_width: usize,
    /// Whether the largest of each 2 x 2 values is kept after the stem.
    pub stem_pool: bool,
    /// Channels after each block.
    pub widths: Vec<usize>,
    /// How far each block's window moves: 2 halves the map.
    pub strides: Vec<usize>,
    /// Whether kernels have biases: a norm of channels makes up for them, so usually not.
    pub conv_bias: bool,
    /// Added to the variance in every norm.
    pub norm_eps: f64,
    /// Share by which running statistics move towards those of a batch.
    pub norm_momentum: f64,
}

/// One convolution with its norm.
#[derive(Debug, Clone)]
pub(crate) struct Convolution {
    pub(crate) name: String,
    pub(crate) file: String,
    pub(crate) out: usize,
    pub(crate) shape: ConvShape,
    pub(crate) pool: bool,
}

impl CnnConfig {
    /// A stem, and blocks of which each halves the map.
    #[must_use]
    pub fn new(classes: Classes, stem_width: usize, widths: &[usize]) -> Self {
        Self {
            classes,
            stem_width,
            stem_pool: false,
            widths: widths.to_vec(),
            strides: vec![2; widths.len()],
            conv_bias: false,
            norm_eps: 1e-5,
            norm_momentum: 0.1,
        }
    }

    /// Stem and blocks, first to last.
    pub(crate) fn convolutions(&self) -> Vec<Convolution> {
        let mut in_channels = self.classes.channels;
        let stem = ("stem".to_owned(), "stem".to_owned(), self.stem_width, 1, self.stem_pool);
        let blocks = self.widths.iter().zip(&self.strides).enumerate().map(|(layer, (&width, &stride))| {
            (format!("layers.{layer}"), format!("blocks.{layer}"), width, stride, false)
        });
        let all = std::iter::once(stem).chain(blocks).map(|(name, file, out, stride, pool)| {
            let slide = Slide::even(stride, KERNEL / 2);
            let shape = ConvShape { in_channels, kernel: (KERNEL, KERNEL), slide, groups: 1 };
            in_channels = out;
            Convolution { name, file, out, shape, pool }
        });
        all.collect()
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.widths.len() != self.strides.len() || self.widths.len() > 1 << 8 {
            return Err(format!("{} widths and {} strides do not fit", self.widths.len(), self.strides.len()));
        }
        if let Some(width) = self.widths.iter().chain([&self.stem_width]).find(|&&width| width == 0 || width > 1 << 14)
        {
            return Err(format!("a width of {width}, from 1 to {} are possible", 1 << 14));
        }
        if let Some(stride) = self.strides.iter().find(|&&stride| stride == 0 || stride > 8) {
            return Err(format!("a stride of {stride}, from 1 to 8 are possible"));
        }
        if self.stem_pool && (self.classes.image_size.0 < 2 || self.classes.image_size.1 < 2) {
            return Err("images of one row or column cannot be pooled by 2 x 2".to_owned());
        }
        if self.norm_momentum > 1.0 {
            return Err(format!("norm_momentum is {}, from 0 to 1 are possible", self.norm_momentum));
        }
        Ok(())
    }

    pub(crate) fn from_json(json: &Value) -> Result<Self, String> {
        let list = |key: &str| -> Result<Vec<usize>, String> {
            let wrong = || format!("{key} is no list of sizes");
            let values = json.get(key).and_then(Value::as_array).ok_or_else(wrong)?;
            let whole = |value: &Value| value.as_u64().and_then(|value| usize::try_from(value).ok());
            values.iter().map(whole).collect::<Option<Vec<_>>>().ok_or_else(wrong)
        };
        Ok(Self {
            classes: Classes::read(json)?,
            stem_width: size(json, "stem_width", 16)?,
            stem_pool: json.get("stem_pool").and_then(Value::as_bool).unwrap_or(false),
            widths: list("widths")?,
            strides: list("strides")?,
            conv_bias: json.get("conv_bias").and_then(Value::as_bool).unwrap_or(false),
            norm_eps: number(json, "norm_eps", 1e-5)?,
            norm_momentum: number(json, "norm_momentum", 0.1)?,
        })
    }

    /// Everything but images and classes.
    pub(crate) fn to_json(&self) -> Map<String, Value> {
        let all = [
            ("architectures", json!(["TemperCnn"])),
            ("conv_bias", json!(self.conv_bias)),
            ("dtype", json!("float32")),
            ("model_type", json!("temper-cnn")),
            ("norm_eps", json!(self.norm_eps)),
            ("norm_momentum", json!(self.norm_momentum)),
            ("stem_pool", json!(self.stem_pool)),
            ("stem_width", json!(self.stem_width)),
            ("strides", json!(self.strides)),
            ("widths", json!(self.widths)),
        ];
        all.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
    }

    /// Kernels, norms, running statistics. Kernels start as He et al. 2015
    /// (arXiv:1502.01852) for ReLU: √2 / √(inputs).
    pub(crate) fn slots(&self, slots: &mut SlotList) {
        for Convolution { name, file, out, shape, .. } in self.convolutions() {
            let kernel = [out, shape.in_channels, shape.kernel.0, shape.kernel.1];
            let (conv, norm) = (format!("{name}.conv"), format!("{name}.norm"));
            slots.site(&conv, &format!("{file}.conv"), &kernel, std::f64::consts::SQRT_2, self.conv_bias);
            slots.norm(&norm, &format!("{file}.norm"), out);
            slots.own(&format!("{norm}.mean"), &format!("{file}.norm.running_mean"), &[out], Start::Value(0.0));
            slots.own(&format!("{norm}.variance"), &format!("{file}.norm.running_var"), &[out], Start::Value(1.0));
        }
    }
}
