//! Where the test kit is: a real model and real data that `tests/tools/kit.py` took from packages.
//!
//! Tests that need them ask [`Kit::find`] and fail with a clear word when the kit is not there; `bash tests/run.sh --kit`
//! makes it. Files of the repository itself are found by [`asset`] and [`tool`].

use std::path::{Path, PathBuf};

/// Paths of the kit.
#[derive(Debug, Clone)]
pub struct Kit {
    /// SmolLM2-135M-Instruct with Q4_1 blocks, one file.
    pub smollm2_gguf: PathBuf,
    /// The same model as a Hugging Face folder in f32.
    pub smollm2_hf: PathBuf,
    /// English dialogues, JSON Lines with `messages`.
    pub chatterbot: PathBuf,
    /// Words in random order, plain text.
    pub shuffled: PathBuf,
    /// Fashion-MNIST: a folder of IDX files.
    pub fashion_mnist: PathBuf,
    /// The Python that has torch, transformers, peft and gguf.
    pub python: PathBuf,
}

impl Kit {
    /// Reads `kit.json` under `$TEMPER_CACHE/kit`, else under the user's cache folder.
    ///
    /// # Errors
    /// What is missing and how to make it.
    pub fn find() -> Result<Self, String> {
        let cache = match std::env::var_os("TEMPER_CACHE") {
            Some(folder) => PathBuf::from(folder),
            None => {
                let home = std::env::var_os("HOME").ok_or("neither TEMPER_CACHE nor HOME is set")?;
                Path::new(&home).join(".cache/temper")
            }
        };
        let file = cache.join("kit/kit.json");
        let hint = "make the kit with: bash tests/run.sh --kit";
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}; {hint}", file.display()))?;
        let json: serde_json::Value =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}; {hint}", file.display()))?;
        let path = |key: &str| {
            let path = PathBuf::from(json[key].as_str().unwrap_or_default());
            if path.exists() { Ok(path) } else { Err(format!("{key} is not at \"{}\"; {hint}", path.display())) }
        };
        Ok(Self {
            smollm2_gguf: path("smollm2_gguf")?,
            smollm2_hf: path("smollm2_hf")?,
            chatterbot: path("chatterbot")?,
            shuffled: path("shuffled")?,
            fashion_mnist: path("fashion_mnist")?,
            python: path("python")?,
        })
    }
}

/// Root of the repository.
#[must_use]
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// A file under `assets/`.
#[must_use]
pub fn asset(path: &str) -> PathBuf {
    root().join("assets").join(path)
}

/// A script under `tests/tools/`.
#[must_use]
pub fn tool(name: &str) -> PathBuf {
    root().join("tests/tools").join(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_repository_is_found_from_the_tests_crate() {
        assert!(asset("golden/llama_tied/golden.safetensors").is_file());
        assert!(tool("kit.py").is_file());
    }
}
