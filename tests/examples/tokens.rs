//! Token numbers of texts by the tokenizer of a GGUF file, for judges that know other tokenizers.
//!
//! `cargo run --release -p temper-tests --example tokens -- MODEL.gguf [TEMPLATE] < LINES > IDS`
//!
//! Reads one JSON string per line, or with TEMPLATE (a file with a chat template) one JSON list of messages, and writes
//! one line for each: a JSON object with `text`, what was encoded, `ids`, what the tokenizer makes of it without
//! additions, and `again`, what it makes of those ids.

use anyhow::Context as _;
use serde_json::json;
use std::io::{BufRead as _, Write as _};
use std::path::Path;
use temper_data::{ChatMessage, TextCodec};
use temper_models::gguf::{GgufFile, gguf_tokenizer_parts};

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let model = arguments.next().context("usage: tokens MODEL.gguf [TEMPLATE] < LINES > IDS")?;
    let parts = gguf_tokenizer_parts(&GgufFile::open(Path::new(&model))?)?.context("the file has no tokenizer")?;
    let mut codec = TextCodec::from_gguf(parts)?;
    let template = arguments.next().map(std::fs::read_to_string).transpose().context("the template cannot be read")?;
    if let Some(template) = &template {
        codec = codec.with_chat_template(template)?;
    }
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let text: String = if template.is_some() {
            let messages: Vec<ChatMessage> = serde_json::from_str(&line).context("a line is no list of messages")?;
            codec.render_chat(&messages, None, true)?
        } else {
            serde_json::from_str(&line).context("a line is no JSON string")?
        };
        let ids = codec.encode(&text, false)?;
        let again = codec.decode(&ids, false)?;
        writeln!(out, "{}", json!({"text": text, "ids": ids, "again": again}))?;
    }
    out.flush()?;
    Ok(())
}
