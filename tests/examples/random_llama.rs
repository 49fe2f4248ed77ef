//! Writes a llama-type model with random weights in Q4_0 as a GGUF file: something large to measure with.
//!
//! `cargo run --release -p temper-tests --example random_llama -- OUT.gguf [SEED]`
//!
//! Shaped as TinyLlama: 1.1 billion parameters in 22 layers of width 2,048 with 32 query and 4 key heads, a gated MLP of
//! 5,632 and 32,000 tokens. Every block has the same scale and sixteen equally likely levels, so that the weights have a
//! standard deviation of about 0.02. Tensors are written one after the other from a buffer of a few megabytes; the same
//! seed gives the same file. It has no tokenizer: `temper bench train` needs none.

use anyhow::{Context as _, bail};
use half::f16;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use temper_models::gguf::{GgufTensorSink, GgufWriter};
use temper_nn::StorageKind;
use temper_nn::rng::Stream;

const LAYERS: usize = 22;
const HIDDEN: usize = 2048;
const MLP: usize = 5632;
const HEADS: usize = 32;
const KV_HEADS: usize = 4;
const VOCABULARY: usize = 32_000;
const CONTEXT: u32 = 2048;
/// Values of a Q4_0 block, and the bytes of its levels.
const BLOCK: usize = 32;
const LEVEL_BYTES: usize = BLOCK / 2;
/// Standard deviation of sixteen equally likely levels one apart.
const LEVEL_DEVIATION: f32 = 4.61;
const DEVIATION: f32 = 0.02;
/// Blocks made at a time.
const PIECE: usize = 1 << 16;

/// Names and shapes of all tensors, in the order in which they are written.
fn tensors() -> Vec<(String, Vec<usize>)> {
    let kv = HIDDEN / HEADS * KV_HEADS;
    let mut all = vec![("token_embd".to_owned(), vec![VOCABULARY, HIDDEN])];
    for layer in 0..LAYERS {
        let parts = [
            ("attn_norm", vec![HIDDEN]),
            ("attn_q", vec![HIDDEN, HIDDEN]),
            ("attn_k", vec![kv, HIDDEN]),
            ("attn_v", vec![kv, HIDDEN]),
            ("attn_output", vec![HIDDEN, HIDDEN]),
            ("ffn_norm", vec![HIDDEN]),
            ("ffn_gate", vec![MLP, HIDDEN]),
            ("ffn_up", vec![MLP, HIDDEN]),
            ("ffn_down", vec![HIDDEN, MLP]),
        ];
        all.extend(parts.into_iter().map(|(name, shape)| (format!("blk.{layer}.{name}"), shape)));
    }
    all.push(("output_norm".to_owned(), vec![HIDDEN]));
    all.push(("output".to_owned(), vec![VOCABULARY, HIDDEN]));
    all.into_iter().map(|(name, shape)| (format!("{name}.weight"), shape)).collect()
}

fn header() -> anyhow::Result<GgufWriter> {
    let mut header = GgufWriter::new();
    header.set("general.architecture", "llama")?;
    header.set("general.name", "random llama, 1.1 B")?;
    for (key, value) in [
        ("context_length", CONTEXT),
        ("embedding_length", HIDDEN as u32),
        ("block_count", LAYERS as u32),
        ("feed_forward_length", MLP as u32),
        ("attention.head_count", HEADS as u32),
        ("attention.head_count_kv", KV_HEADS as u32),
        ("rope.dimension_count", (HIDDEN / HEADS) as u32),
        ("vocab_size", VOCABULARY as u32),
    ] {
        header.set(&format!("llama.{key}"), value)?;
    }
    header.set("llama.attention.layer_norm_rms_epsilon", 1e-5_f32)?;
    header.set("llama.rope.freq_base", 10_000.0_f32)?;
    for (name, shape) in tensors() {
        let kind = if shape.len() == 1 { StorageKind::F32 } else { StorageKind::Q4_0 };
        header.declare(&name, &shape, kind)?;
    }
    Ok(header)
}

fn write_matrix(sink: &mut GgufTensorSink<impl Write>, name: &str, values: usize, seed: u64) -> anyhow::Result<()> {
    let mut stream = Stream::new(seed, name);
    let scale = f16::from_f32(DEVIATION / LEVEL_DEVIATION).to_le_bytes();
    let mut left = values / BLOCK;
    let mut bytes = Vec::with_capacity(PIECE * (scale.len() + LEVEL_BYTES));
    while left > 0 {
        let blocks = left.min(PIECE);
        bytes.clear();
        for _ in 0..blocks {
            bytes.extend(scale);
            bytes.extend(stream.next_u64().to_le_bytes());
            bytes.extend(stream.next_u64().to_le_bytes());
        }
        sink.write(name, &bytes)?;
        left -= blocks;
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (out, seed) = match arguments.as_slice() {
        [out] => (out, 1),
        [out, seed] => (out, seed.parse().context("SEED is not a number")?),
        _ => bail!("usage: random_llama OUT.gguf [SEED]"),
    };
    let part = format!("{out}.part");
    let file = File::create(&part).with_context(|| format!("{part} cannot be written"))?;
    let mut sink = header()?.start(BufWriter::new(file))?;
    for (name, shape) in tensors() {
        if let [width] = shape.as_slice() {
            sink.write(&name, &1_f32.to_le_bytes().repeat(*width))?;
        } else {
            write_matrix(&mut sink, &name, shape.iter().product(), seed)?;
        }
    }
    sink.finish()?.into_inner().context("the file cannot be flushed")?.sync_all()?;
    std::fs::rename(&part, Path::new(out)).with_context(|| format!("{out} cannot be written"))
}
