//! Makes the starter model's tokenizer: byte-level BPE with 4,096 entries, from plain text.
//!
//! `cargo run --release -p temper-tests --example starter_tokenizer -- TEXT OUT_TOKENIZER_JSON [ENTRIES]`
//!
//! Split as SmolLM2's tokenizer is (single digits, then byte level without a space in front), with the same three
//! special tokens at the same ids, so that a GGUF file can name the splitting rule (`smollm`). The same text gives the
//! same file.

use anyhow::{Context as _, bail};
use std::path::Path;
use tokenizers::decoders::DecoderWrapper;
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::pre_tokenizers::digits::Digits;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, ModelWrapper, PreTokenizerWrapper, Tokenizer};

/// End of a document, start and end of a message; ids 0, 1, 2.
const SPECIAL: [&str; 3] = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"];

fn train(text: &Path, entries: usize) -> anyhow::Result<Tokenizer> {
    let mut trainer: TrainerWrapper = BpeTrainer::builder()
        .vocab_size(entries)
        .min_frequency(2)
        .special_tokens(SPECIAL.iter().map(|token| AddedToken::from(*token, true)).collect())
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .show_progress(false)
        .build()
        .into();
    let mut tokenizer = Tokenizer::new(ModelWrapper::BPE(BPE::default()));
    let byte_level = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(PreTokenizerWrapper::Sequence(Sequence::new(vec![
        PreTokenizerWrapper::Digits(Digits::new(true)),
        PreTokenizerWrapper::ByteLevel(byte_level),
    ]))));
    tokenizer.with_decoder(Some(DecoderWrapper::ByteLevel(byte_level)));
    let file = text.to_str().context("the path of the text is not UTF-8")?.to_owned();
    tokenizer
        .train_from_files(&mut trainer, vec![file])
        .map_err(|error| anyhow::anyhow!("the tokenizer cannot be trained: {error}"))?;
    Ok(tokenizer)
}

fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (text, out, entries) = match arguments.as_slice() {
        [text, out] => (text, out, 4096),
        [text, out, entries] => (text, out, entries.parse().context("ENTRIES is not a number")?),
        _ => bail!("usage: starter_tokenizer TEXT OUT_TOKENIZER_JSON [ENTRIES]"),
    };
    let tokenizer = train(Path::new(text), entries)?;
    if tokenizer.get_vocab_size(true) != entries {
        bail!("the text gives {} entries, not {entries}: give more text", tokenizer.get_vocab_size(true));
    }
    for (id, token) in SPECIAL.iter().enumerate() {
        if tokenizer.token_to_id(token).map(|found| found as usize) != Some(id) {
            bail!("{token} did not get id {id}");
        }
    }
    let json = tokenizer.to_string(true).map_err(|error| anyhow::anyhow!("{error}"))?;
    std::fs::write(out, json + "\n").with_context(|| format!("cannot write {out}"))
}
