//! Text to token ids and back: tokenizer, chat template and special tokens of one model.
//!
//! A [`TextCodec`] comes from a Hugging Face folder or from the metadata of a GGUF file; the second is
//! turned into the same `tokenizer.json` that the first brings along, so that there is one code path
//! and an export can write the files.

mod gguf;
mod hf;
mod pieces;
mod pre;
mod python;
mod read;
mod special;
mod stream;
mod template;
mod to_gguf;

pub use python::TemplateDate;
pub use special::{SpecialTokens, TemplateOrigin, TokenizerKind};
pub use stream::StreamDecoder;
pub use temper_protocol::GgufTokenizer;
pub use template::{ChatMessage, PLAIN_TEMPLATE, Rendered};

use crate::{DataError, hash};
use special::{END_NAMES, added_by_post_processor, kind_of, template_tokens};
use std::collections::BTreeMap;
use std::ops::Range;
use template::ChatTemplate;
use tokenizers::PostProcessorWrapper;
use tokenizers::tokenizer::Tokenizer;

/// Tokenizer, chat template and special tokens of one model.
pub struct TextCodec {
    /// Without post-processor, truncation and padding: special tokens are added here, nothing is cut.
    tokenizer: Tokenizer,
    kind: TokenizerKind,
    place: String,
    special: SpecialTokens,
    /// Ids and contents of control tokens.
    control: BTreeMap<u32, String>,
    vocabulary: usize,
    /// What `encode(text, true)` puts before and after.
    prefix: Vec<u32>,
    suffix: Vec<u32>,
    /// What every separately encoded text begins with; see [`pieces`].
    piece_start: Option<Vec<u32>>,
    template: ChatTemplate,
    template_origin: TemplateOrigin,
    date: TemplateDate,
    tokenizer_json: Vec<u8>,
    /// What travels with `tokenizer.json`.
    files: Vec<(String, Vec<u8>)>,
    fingerprint: String,
}

impl std::fmt::Debug for TextCodec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextCodec")
            .field("kind", &self.kind)
            .field("vocabulary", &self.vocabulary)
            .field("special", &self.special)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

/// What a source of tokenizers hands over.
struct Parts {
    /// File or folder, for messages.
    place: String,
    /// What [`read::tokenizer`] made of `tokenizer_json`.
    tokenizer: Tokenizer,
    tokenizer_json: Vec<u8>,
    special: SpecialTokens,
    /// Overrides what the post-processor of `tokenizer_json` adds.
    add_bos: Option<bool>,
    add_eos: Option<bool>,
    template: Option<String>,
    /// All others that travel with it.
    files: Vec<(String, Vec<u8>)>,
}

impl TextCodec {
    fn assemble(parts: Parts) -> Result<Self, DataError> {
        let bad = |what: String| {
            DataError::tokenizer(
                what,
                &parts.place,
                "use a tokenizer.json written by transformers or a newer GGUF file",
            )
        };
        let mut tokenizer = parts.tokenizer;
        let kind = kind_of(&tokenizer);
        let (prefix, suffix) = added_by_post_processor(&tokenizer).map_err(bad)?;
        tokenizer.with_post_processor(None::<PostProcessorWrapper>);
        let override_with = |own: Vec<u32>, wanted: Option<bool>, token: Option<u32>| match (wanted, token) {
            (Some(true), Some(token)) if own.is_empty() => vec![token],
            (Some(false), _) => Vec::new(),
            _ => own,
        };
        let prefix = override_with(prefix, parts.add_bos, parts.special.bos);
        let suffix = override_with(suffix, parts.add_eos, parts.special.eos);
        let added: BTreeMap<u32, _> = tokenizer.get_added_tokens_decoder().into_iter().collect();
        let control: BTreeMap<u32, String> =
            added.into_iter().filter(|(_, token)| token.special).map(|(id, token)| (id, token.content)).collect();
        let highest = tokenizer.get_vocab(true).into_values().max();
        let vocabulary = highest.map_or(0, |id| id as usize + 1);
        if vocabulary == 0 {
            return Err(bad("the tokenizer has no tokens".to_owned()));
        }
        let (source, template_origin) = match parts.template.filter(|text| !text.trim().is_empty()) {
            Some(text) => (text, TemplateOrigin::Model),
            None => (plain_template(prefix.is_empty()), TemplateOrigin::Plain),
        };
        let date = TemplateDate::default();
        let names = template_tokens(&tokenizer, &parts.special);
        let template = compile(&source, names, date, &parts.place)?;
        let mut codec = Self {
            tokenizer,
            kind,
            place: parts.place,
            special: parts.special,
            control,
            vocabulary,
            prefix,
            suffix,
            piece_start: None,
            template,
            template_origin,
            date,
            tokenizer_json: parts.tokenizer_json,
            files: parts.files,
            fingerprint: String::new(),
        };
        codec.piece_start = codec.find_piece_start()?;
        codec.refresh();
        Ok(codec)
    }

    /// The same codec with another chat template (`chat_template` of the project file).
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] with the line of a syntax error.
    pub fn with_chat_template(mut self, source: &str) -> Result<Self, DataError> {
        let names = template_tokens(&self.tokenizer, &self.special);
        self.template = compile(source, names, self.date, "data.chat_template")?;
        self.template_origin = TemplateOrigin::Project;
        self.refresh();
        Ok(self)
    }

    /// The same codec with another "today" for templates that print the date.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the template cannot be compiled again.
    pub fn with_date(mut self, date: TemplateDate) -> Result<Self, DataError> {
        let names = template_tokens(&self.tokenizer, &self.special);
        let source = self.template.source().to_owned();
        self.template = compile(&source, names, date, &self.place)?;
        self.date = date;
        self.refresh();
        Ok(self)
    }

    /// Finds the turn end anew, completes the stop ids and the fingerprint.
    fn refresh(&mut self) {
        if let Some(old) = self.special.turn_end.take()
            && Some(old) != self.special.eos
        {
            self.special.stop.retain(|id| *id != old);
        }
        self.special.turn_end = self.find_turn_end();
        let found = [self.special.eos, self.special.turn_end];
        let named = self.control.iter().filter(|(_, content)| END_NAMES.contains(&content.as_str())).map(|(id, _)| *id);
        self.special.stop.extend(found.into_iter().flatten().chain(named));
        self.special.stop.sort_unstable();
        self.special.stop.dedup();
        let flags = format!("{:?} {:?} {:?} {:?}", self.special, self.prefix, self.suffix, self.date);
        let digest =
            hash::of_parts([self.tokenizer_json.as_slice(), self.template.source().as_bytes(), flags.as_bytes()]);
        self.fingerprint = hash::hex(&digest);
    }

    /// The special token that the template writes behind an answer.
    fn find_turn_end(&self) -> Option<u32> {
        const ANSWER: &str = "Qanswerq";
        let turns = [ChatMessage::new("user", "Qquestionq"), ChatMessage::new("assistant", ANSWER)];
        let text = self.render_chat(&turns, None, false).ok()?;
        let rest = text.split_once(ANSWER)?.1.trim_start();
        self.control_at(rest).map(|(id, _)| id)
    }

    /// The control token that `text` begins with, the longest that fits.
    pub(crate) fn control_at(&self, text: &str) -> Option<(u32, usize)> {
        let fits = self.control.iter().filter(|(_, content)| !content.is_empty() && text.starts_with(content.as_str()));
        fits.map(|(id, content)| (*id, content.len())).max_by_key(|(_, len)| *len)
    }

    /// Token ids of `text`; `add_special` adds what the tokenizer adds to every text by itself (a
    /// beginning-of-text token for some models). Special tokens written out in `text` become their ids.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when a character cannot be encoded.
    pub fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, DataError> {
        let encoding = self.tokenizer.encode_fast(text, false).map_err(|error| self.failed(&error))?;
        let mut ids = Vec::with_capacity(encoding.len() + 2);
        if add_special {
            ids.extend_from_slice(&self.prefix);
        }
        ids.extend_from_slice(encoding.get_ids());
        if add_special {
            ids.extend_from_slice(&self.suffix);
        }
        Ok(ids)
    }

    /// Token ids of `text` without additions, and for each the range of **bytes** of `text` that it stands
    /// for. Tokens inside one character share its range; blanks belong to the token that holds them.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when a character cannot be encoded.
    pub fn encode_with_offsets(&self, text: &str) -> Result<(Vec<u32>, Vec<Range<usize>>), DataError> {
        let encoding = self.tokenizer.encode(text, false).map_err(|error| self.failed(&error))?;
        let offsets = encoding.get_offsets().iter().map(|(start, end)| *start..*end).collect();
        Ok((encoding.get_ids().to_vec(), offsets))
    }

    /// Text of `ids`; `skip_special` leaves control tokens out. Broken characters become U+FFFD.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when the decoder fails.
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> Result<String, DataError> {
        if ids.is_empty() {
            return Ok(String::new());
        }
        self.tokenizer.decode(ids, skip_special).map_err(|error| self.failed(&error))
    }

    /// A conversation as the model's template writes it. The text holds its special tokens already:
    /// encode it without adding any.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] with what the template says.
    pub fn render_chat(
        &self,
        messages: &[ChatMessage],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<String, DataError> {
        Ok(self.render_marked(messages, tools, add_generation_prompt)?.text)
    }

    /// Like [`Self::render_chat`], with the ranges of the template's `{% generation %}` blocks.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] with what the template says.
    pub fn render_marked(
        &self,
        messages: &[ChatMessage],
        tools: Option<&serde_json::Value>,
        add_generation_prompt: bool,
    ) -> Result<Rendered, DataError> {
        self.template.render(messages, tools, &[], add_generation_prompt).map_err(|message| {
            DataError::tokenizer(
                format!("the chat template refuses this conversation: {message}"),
                &self.place,
                "change the conversation, or give another template as data.chat_template",
            )
        })
    }

    /// Ids of a prompt for generation: through the template as a user's question when `chat`, else as it is.
    ///
    /// # Errors
    /// [`DataError::Tokenizer`] when rendering or encoding fails.
    pub fn encode_prompt(&self, prompt: &str, chat: bool) -> Result<Vec<u32>, DataError> {
        if chat {
            let text = self.render_chat(&[ChatMessage::new("user", prompt)], None, true)?;
            self.encode(&text, false)
        } else {
            let plain = self.encode(prompt, false)?;
            Ok(self.prefix.iter().copied().chain(plain).collect())
        }
    }

    /// Ids with a meaning of their own.
    #[must_use]
    pub fn special(&self) -> &SpecialTokens {
        &self.special
    }

    /// The id that fills short rows: padding, else end of text, else 0. It is never trained.
    #[must_use]
    pub fn pad_id(&self) -> u32 {
        self.special.pad.or(self.special.eos).unwrap_or(0)
    }

    /// What `encode(text, true)` puts before a text; empty for most byte-level tokenizers.
    #[must_use]
    pub fn text_prefix(&self) -> &[u32] {
        &self.prefix
    }

    /// Highest id plus one.
    #[must_use]
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// What kind of tokenizer it is.
    #[must_use]
    pub fn kind(&self) -> TokenizerKind {
        self.kind
    }

    /// The text of token `id`, as the vocabulary holds it.
    #[must_use]
    pub fn token(&self, id: u32) -> Option<String> {
        self.tokenizer.id_to_token(id)
    }

    /// The id of a token written as the vocabulary holds it.
    #[must_use]
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.tokenizer.token_to_id(token)
    }

    /// The chat template in use.
    #[must_use]
    pub fn chat_template(&self) -> &str {
        self.template.source()
    }

    /// Where the chat template comes from.
    #[must_use]
    pub fn template_origin(&self) -> TemplateOrigin {
        self.template_origin
    }

    /// Whether the template marks what the assistant says with `{% generation %}` blocks.
    #[must_use]
    pub fn template_marks_answers(&self) -> bool {
        self.template.has_generation()
    }

    /// Hash of everything that decides which ids a conversation becomes.
    #[must_use]
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The tokenizer as the bytes of a `tokenizer.json`.
    #[must_use]
    pub fn to_tokenizer_json(&self) -> &[u8] {
        &self.tokenizer_json
    }

    /// The tokenizer's files for an export, name and bytes: the originals of a Hugging Face folder, made
    /// ones for a GGUF file. A chat template that is not the model's own comes as `chat_template.jinja`,
    /// which wins over the one in `tokenizer_config.json`.
    #[must_use]
    pub fn hf_files(&self) -> Vec<(String, Vec<u8>)> {
        let whole = (hf::TOKENIZER.to_owned(), self.tokenizer_json.clone());
        let mut files: Vec<_> = std::iter::once(whole).chain(self.files.iter().cloned()).collect();
        if self.template_origin != TemplateOrigin::Model {
            files.retain(|(name, _)| name != hf::TEMPLATE_FILE);
            files.push((hf::TEMPLATE_FILE.to_owned(), self.template.source().as_bytes().to_vec()));
        }
        files
    }

    fn failed(&self, error: &tokenizers::Error) -> DataError {
        DataError::tokenizer(
            format!("the tokenizer failed: {error}"),
            &self.place,
            "the vocabulary lacks a character and an unknown token: use the tokenizer that came with the model",
        )
    }
}

fn plain_template(without_bos: bool) -> String {
    if without_bos { PLAIN_TEMPLATE.to_owned() } else { format!("{{{{ bos_token }}}}{PLAIN_TEMPLATE}") }
}

fn compile(
    source: &str,
    names: BTreeMap<String, String>,
    date: TemplateDate,
    place: &str,
) -> Result<ChatTemplate, DataError> {
    ChatTemplate::new(source, names, date).map_err(|message| {
        DataError::tokenizer(
            format!("the chat template cannot be compiled: {message}"),
            place,
            "correct the template, or give another one as data.chat_template",
        )
    })
}
