//! What the program carries inside itself: the starter model, its data, the probe sets, the examples.
//!
//! Place in the data flow: [`crate::builtin`] writes these bytes to a folder of the person's cache when
//! they are first needed. A new file is one line here.

/// A file inside the program.
pub(crate) struct EmbeddedFile {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its content.
    pub(crate) bytes: &'static [u8],
}

/// Files that lie in one folder, under the name that people write behind `builtin:`.
pub(crate) struct EmbeddedFolder {
    /// The name.
    pub(crate) name: &'static str,
    /// The file meant by the name; the folder itself when absent.
    pub(crate) entry: Option<&'static str>,
    /// The files.
    pub(crate) files: &'static [EmbeddedFile],
}

macro_rules! files {
    ($folder:literal: $($name:literal),* $(,)?) => {
        &[$(EmbeddedFile {
            name: $name,
            bytes: include_bytes!(concat!("../../../", $folder, "/", $name)),
        }),*]
    };
}

/// Model, data and probe sets, by the name behind `builtin:`.
pub(crate) const BUILTINS: &[EmbeddedFolder] = &[
    EmbeddedFolder {
        name: "starter",
        entry: None,
        files: files!("assets/starter": "config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json",
                      "README.md"),
    },
    EmbeddedFolder { name: "starter-data", entry: Some("data.jsonl"), files: files!("assets/starter": "data.jsonl") },
    EmbeddedFolder { name: "prose", entry: Some("prose.txt"), files: files!("assets/probes": "prose.txt") },
    EmbeddedFolder {
        name: "instructions",
        entry: Some("instructions.jsonl"),
        files: files!("assets/probes": "instructions.jsonl"),
    },
    EmbeddedFolder { name: "code", entry: Some("code.txt"), files: files!("assets/probes": "code.txt") },
    EmbeddedFolder {
        name: "arithmetic",
        entry: Some("arithmetic.txt"),
        files: files!("assets/probes": "arithmetic.txt"),
    },
];

/// Example projects, by the name of their folder.
pub(crate) const EXAMPLES: &[EmbeddedFolder] = &[EmbeddedFolder {
    name: "quickstart",
    entry: None,
    files: files!("projects/quickstart": "project.toml", "README.md"),
}];
