//! What a path holds, from its headers alone: for the drop zone and `inspect`.

use crate::gguf::GgufFile;
use crate::hf::HfFolder;
use crate::names::{self, Slot};
use crate::source::ModelSource;
use crate::vision::{VisionConfig, VisionSlot};
use crate::{Result, files, weights};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use temper_protocol::Event;
use temper_protocol::event::SiteInfo;

/// A model as the drop zone would say it.
#[derive(Debug, Clone, PartialEq)]
pub struct Description {
    /// Path.
    pub path: PathBuf,
    /// `gguf` or `huggingface`.
    pub format: String,
    /// Family, such as `llama`.
    pub architecture: String,
    /// Parameters; a tied head counts once.
    pub parameters: u64,
    /// Blocks.
    pub layers: u64,
    /// Width.
    pub hidden_size: u64,
    /// Vocabulary entries; classes of a vision model.
    pub vocabulary: u64,
    /// Longest context, tokens; tokens an image of a vision model.
    pub context: u64,
    /// Storage of most weights.
    pub storage: String,
    /// What the file says of its tokenizer; empty if it has none.
    pub tokenizer: String,
    /// Whether there is a chat template: `its own`, or empty.
    pub chat_template: String,
    /// Adaptable linear layers with shapes and storage.
    pub sites: Vec<SiteInfo>,
    /// Licence if stated.
    pub licence: String,
    /// Size of the weight files.
    pub disk_bytes: u64,
    /// Memory of the frozen weights as they are stored.
    pub memory_bytes: u64,
}

/// Looks at a path without reading weights. Whatever would keep the model from loading by its headers is an error.
///
/// # Errors
/// There is no model, it is damaged, of an unknown architecture, or its tensors do not fit its configuration.
pub fn describe(path: &Path) -> Result<Description> {
    let source = ModelSource::open(path)?;
    if let ModelSource::HfFolder(folder) = &source
        && VisionConfig::describes(&folder.config_json)
    {
        return describe_vision(path, folder);
    }
    let Some(config) = source.config()? else {
        return Err(crate::ModelError::not_a_model(path, "there is no configuration"));
    };
    let slots = names::slots(&config);
    let tensors = source.tensors()?;
    weights::check(&config, &source, &slots, &tensors)?;
    let by_name: BTreeMap<String, &Slot> = slots.iter().map(|slot| (source.name_of(slot), slot)).collect();
    let mut by_kind: BTreeMap<&str, u64> = BTreeMap::new();
    let mut site_storage: BTreeMap<&str, &str> = BTreeMap::new();
    let mut memory_bytes = 0;
    for tensor in &tensors {
        let (Some(slot), Some(kind)) = (by_name.get(&tensor.name), tensor.kind) else { continue };
        memory_bytes += tensor.data.len() as u64;
        *by_kind.entry(kind.name()).or_default() += slot.shape.iter().map(|&dim| dim as u64).product::<u64>();
        if let (Some(site), 2) = (slot.site.as_deref(), slot.shape.len()) {
            site_storage.insert(site, kind.name());
        }
    }
    let storage = by_kind.into_iter().max_by_key(|(_, elements)| *elements).map_or("", |(kind, _)| kind);
    let sites = names::sites(&config)
        .into_iter()
        .map(|site| SiteInfo {
            storage: site_storage.get(site.name.as_str()).copied().unwrap_or_default().to_owned(),
            site: site.name,
            out_features: site.out_features as u64,
            in_features: site.in_features as u64,
        })
        .collect();
    let text = match &source {
        ModelSource::Gguf(file) => TextSide::of_gguf(file)?,
        ModelSource::HfFolder(folder) => TextSide::of_folder(folder),
        ModelSource::Random => TextSide::default(),
    };
    Ok(Description {
        path: path.to_owned(),
        format: source.format().to_owned(),
        architecture: config.family.id.to_owned(),
        parameters: names::parameter_count(&config),
        layers: config.layers as u64,
        hidden_size: config.hidden_size as u64,
        vocabulary: config.vocab_size as u64,
        context: config.context as u64,
        storage: storage.to_owned(),
        tokenizer: text.tokenizer,
        chat_template: if text.has_template { "its own".to_owned() } else { String::new() },
        sites,
        licence: text.licence,
        disk_bytes: source.files().iter().map(|(_, bytes)| bytes).sum(),
        memory_bytes,
    })
}

/// A classifier of images: it has classes in the place of a vocabulary, and tokens (or one vector) an image in the place
/// of a context.
fn describe_vision(path: &Path, folder: &HfFolder) -> Result<Description> {
    let (config, tensors) = crate::vision::files::matched(folder)?;
    let buffer = |slot: &VisionSlot| slot.name.ends_with(".mean") || slot.name.ends_with(".variance");
    let (mut parameters, mut by_kind, mut sites) = (0, BTreeMap::<&str, u64>::new(), Vec::new());
    for (slot, _, kind) in tensors.iter().filter(|(slot, ..)| !buffer(slot)) {
        let elements = slot.elements() as u64;
        parameters += elements;
        *by_kind.entry(kind.name()).or_default() += elements;
        let of_head = slot.name.starts_with("head");
        if let (Some(site), Some(out), false) = (&slot.site, slot.shape.first(), of_head)
            && slot.name.ends_with(".weight")
        {
            let (out_features, storage) = (*out as u64, kind.name().to_owned());
            sites.push(SiteInfo { site: site.clone(), out_features, in_features: elements / out_features, storage });
        }
    }
    let storage = by_kind.into_iter().max_by_key(|(_, elements)| *elements).map_or("", |(kind, _)| kind);
    Ok(Description {
        path: path.to_owned(),
        format: "huggingface".to_owned(),
        architecture: config.family().to_owned(),
        parameters,
        layers: config.layers() as u64,
        hidden_size: config.hidden_size() as u64,
        vocabulary: config.classes().labels.len() as u64,
        context: config.positions() as u64,
        storage: storage.to_owned(),
        tokenizer: String::new(),
        chat_template: String::new(),
        sites,
        licence: TextSide::of_folder(folder).licence,
        disk_bytes: folder.files.iter().map(|(_, bytes)| bytes).sum(),
        // held in f32
        memory_bytes: 4 * tensors.iter().map(|(slot, ..)| slot.elements() as u64).sum::<u64>(),
    })
}

/// What concerns text rather than weights.
#[derive(Default)]
struct TextSide {
    tokenizer: String,
    has_template: bool,
    licence: String,
}

impl TextSide {
    fn of_gguf(file: &GgufFile) -> Result<Self> {
        let model = file.get_string("tokenizer.ggml.model")?.unwrap_or_default();
        let pre = file.get_string("tokenizer.ggml.pre")?;
        Ok(Self {
            tokenizer: pre.map_or_else(|| model.clone(), |pre| format!("{model} ({pre})")),
            has_template: file.has("tokenizer.chat_template"),
            licence: file.get_string("general.license")?.unwrap_or_default(),
        })
    }

    /// A folder's text files may be broken without keeping its weights from being described.
    fn of_folder(folder: &HfFolder) -> Self {
        let dir = &folder.dir;
        let settings = files::json(&dir.join("tokenizer_config.json")).unwrap_or(Value::Null);
        let class = settings.get("tokenizer_class").and_then(Value::as_str).unwrap_or("tokenizer.json");
        let has_tokenizer = dir.join("tokenizer.json").is_file() || dir.join("tokenizer.model").is_file();
        let template = settings.get("chat_template").is_some_and(|template| !template.is_null());
        Self {
            tokenizer: if has_tokenizer { class.to_owned() } else { String::new() },
            has_template: template || dir.join("chat_template.jinja").is_file(),
            licence: card_licence(&dir.join("README.md")).unwrap_or_default(),
        }
    }
}

/// `license:` in the front matter of a model card.
fn card_licence(card: &Path) -> Option<String> {
    let text = std::fs::read_to_string(card).ok()?;
    let front = text.strip_prefix("---")?.split("\n---").next()?;
    let line = front.lines().find_map(|line| line.strip_prefix("license:"))?;
    Some(line.trim().trim_matches(['"', '\'']).to_owned())
}

impl From<Description> for Event {
    fn from(model: Description) -> Self {
        Self::Model {
            path: model.path,
            format: model.format,
            architecture: model.architecture,
            parameters: model.parameters,
            layers: model.layers,
            hidden_size: model.hidden_size,
            vocabulary: model.vocabulary,
            context: model.context,
            storage: model.storage,
            tokenizer: model.tokenizer,
            chat_template: model.chat_template,
            sites: model.sites,
            licence: model.licence,
            disk_bytes: model.disk_bytes,
            memory_bytes: model.memory_bytes,
        }
    }
}
