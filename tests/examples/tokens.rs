//! Token numbers of texts by the tokenizer of a GGUF file, for judges that know other tokenizers.
//!
//! `cargo run --release -p temper-tests --example tokens -- MODEL.gguf < TEXTS > IDS`
//!
//! Reads one JSON string per line and writes one line per text: a JSON object with `ids`, what the tokenizer makes of the
//! text without additions, and `text`, what it makes of those ids again.

use anyhow::Context as _;
use serde_json::json;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use temper_data::TextCodec;
use temper_models::gguf::{GgufFile, gguf_tokenizer_parts};

fn main() -> anyhow::Result<()> {
    let model = std::env::args().nth(1).context("usage: tokens MODEL.gguf < TEXTS > IDS")?;
    let parts = gguf_tokenizer_parts(&GgufFile::open(Path::new(&model))?)?.context("the file has no tokenizer")?;
    let codec = TextCodec::from_gguf(parts)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let text: String = serde_json::from_str(&line?).context("a line is no JSON string")?;
        let ids = codec.encode(&text, false)?;
        let again = codec.decode(&ids, false)?;
        writeln!(out, "{}", json!({"ids": ids, "text": again}))?;
    }
    out.flush()?;
    Ok(())
}
