//! What the drop zone says of a path.

use crate::tools::{golden, load, write_gguf};
use temper_models::describe;
use temper_nn::StorageKind;
use temper_protocol::Event;

#[test]
fn a_folder_and_a_gguf_file_are_described_from_their_headers() {
    let folder = describe(&golden("bf16")).unwrap();
    assert_eq!((folder.format.as_str(), folder.architecture.as_str()), ("huggingface", "llama"));
    assert_eq!((folder.layers, folder.hidden_size, folder.vocabulary, folder.context), (2, 64, 96, 64));
    assert_eq!(folder.storage, "bf16");
    assert_eq!(folder.sites.len(), 14);
    assert_eq!((folder.sites[1].site.as_str(), folder.sites[1].out_features), ("layers.0.attn.k", 32));
    assert_eq!(folder.sites[1].storage, "bf16");
    assert_eq!(folder.memory_bytes, 2 * folder.parameters);
    assert!(folder.disk_bytes > folder.memory_bytes);
    assert_eq!((folder.tokenizer.as_str(), folder.chat_template.as_str()), ("", ""));

    let model = load(&golden("bf16")).unwrap();
    assert_eq!(folder.parameters, model.parameter_count());
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.gguf");
    write_gguf(&model, StorageKind::Q8_0, &path);
    let file = describe(&path).unwrap();
    assert_eq!((file.format.as_str(), file.storage.as_str()), ("gguf", "Q8_0"));
    assert_eq!(file.parameters, folder.parameters);
    assert_eq!(file.sites.len(), 14);
    assert!(matches!(Event::from(file), Event::Model { layers: 2, .. }));
}

#[test]
fn the_text_side_of_a_folder_is_described_too() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(golden("mha").join(name), dir.path().join(name)).unwrap();
    }
    std::fs::write(dir.path().join("tokenizer.json"), "{}").unwrap();
    let settings = r#"{"tokenizer_class": "GPT2Tokenizer", "chat_template": "{{ messages }}"}"#;
    std::fs::write(dir.path().join("tokenizer_config.json"), settings).unwrap();
    std::fs::write(dir.path().join("README.md"), "---\nlanguage: en\nlicense: apache-2.0\n---\n# Model\n").unwrap();
    let folder = describe(dir.path()).unwrap();
    assert_eq!(folder.tokenizer, "GPT2Tokenizer");
    assert_eq!(folder.chat_template, "its own");
    assert_eq!(folder.licence, "apache-2.0");
}

#[test]
fn a_model_that_would_not_load_is_not_described() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::copy(golden("mha").join("model.safetensors"), dir.path().join("model.safetensors")).unwrap();
    std::fs::copy(golden("gqa_untied").join("config.json"), dir.path().join("config.json")).unwrap();
    let error = describe(dir.path()).unwrap_err().to_string();
    assert!(error.contains("lm_head.weight is missing") && error.contains("k_proj.weight has shape"), "{error}");
}
