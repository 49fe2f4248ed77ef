//! The starter with an adapter leaves as merged GGUF in K-quants. Its rows have 192 values, no whole super-block, but those
//! of the down projections, which have two: both ways of a mixture are in every file.

use std::path::{Path, PathBuf};
use temper_data::TextCodec;
use temper_export::{Card, Cases, ExportError, ExportRequest, Exported, export, merged_values, verify};
use temper_models::gguf::GgufFile;
use temper_models::{BaseKind, Model, names};
use temper_nn::StorageKind;
use temper_nn::rng::Stream;
use temper_nn::slots::{Chain, Core, Delta, Factor, Init, Scale, Slots};
use temper_protocol::{ExportFormat, StorageType};

const BLOCKS: &str = "blocks hold the merged values";
const SURVIVAL: &str = "share of the change that survives";

fn starter() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/starter")
}

fn codec() -> TextCodec {
    TextCodec::from_hf_folder(&starter()).expect("the starter's tokenizer")
}

fn load(path: &Path) -> Model {
    Model::load(path, BaseKind::Auto, &mut |_, _, _| {}).expect("loads")
}

/// A base with adapters of rank 4 on most layers, their factors drawn with this standard deviation.
fn adapted(base: &Path, std: f64) -> Model {
    let mut model = load(base);
    let factor = || Factor::trained(Init::Zeros);
    for (_, site) in model.sites_mut().into_iter().enumerate().filter(|(index, _)| index % 7 != 3) {
        let slots = Slots {
            delta: Delta::Chain(Chain { rank: 4, b: factor(), core: Core::None, a: factor() }),
            scale: Scale::AlphaOverRank(8.0),
            ..Slots::default()
        };
        site.attach(&slots, 5).expect("attaches");
        for param in site.params() {
            let mut values = vec![0f32; param.elements()];
            Stream::new(3, &param.name).fill_normal(&mut values, std);
            let shape = param.var.shape().clone();
            let tensor = candle_core::Tensor::from_vec(values, shape, &candle_core::Device::Cpu).expect("tensor");
            param.var.set(&tensor).expect("sets");
        }
    }
    model
}

fn cases() -> Cases {
    let codec = codec();
    let texts = [
        "The sea was calm and the ship went on. The captain looked at the water and said that it would rain.",
        "How much is 12 + 30? It is 42. How much is 7 + 8? It is 15.",
        "fn main() { let x = 3; let y = x + 4; println!(\"{y}\"); }",
        "In the morning the people of the town went to the market and bought bread.",
    ];
    let encode = |text: &str| codec.encode(text, false).expect("encodes");
    Cases {
        windows: texts.iter().map(|text| ("probe".to_owned(), encode(text))).collect(),
        prompts: vec![encode("The captain said")],
    }
}

fn try_write(
    model: &Model,
    format: ExportFormat,
    dtype: Option<StorageType>,
    out: &Path,
) -> Result<Exported, ExportError> {
    let (codec, cases) = (codec(), cases());
    let card = Card { name: "test".into(), base_name: "base".into(), method: "lora".into(), ..Card::default() };
    let request = ExportRequest { model, codec: &codec, format, dtype, out, card: &card, cases: &cases };
    export(&request, &mut |_| {}, &|| false)
}

fn write(model: &Model, dtype: StorageType, out: &Path) -> Exported {
    try_write(model, ExportFormat::Gguf, Some(dtype), out).expect("exports")
}

fn files(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("lists");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("entry").file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn every_k_quant_passes_again_and_says_what_it_is() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&starter(), 0.04);
    for (dtype, number, narrow, wide) in [
        (StorageType::Q4K, 15, StorageKind::Q5_0, StorageKind::Q4K),
        (StorageType::Q5K, 17, StorageKind::Q5_1, StorageKind::Q5K),
        (StorageType::Q6K, 18, StorageKind::Q8_0, StorageKind::Q6K),
    ] {
        let folder = dir.path().join(dtype.name());
        std::fs::create_dir(&folder).expect("creates");
        let out = folder.join("merged.gguf");
        let exported = write(&model, dtype, &out);
        assert!(exported.certificate.pass(), "{dtype:?}: {:#?}", exported.certificate);
        assert!(exported.certificate.checks.iter().any(|check| check.name == BLOCKS));
        let again = verify(&model, &codec(), (&out, &[]), &cases(), &mut |_| {}, &|| false).expect("verifies");
        assert!(again.pass(), "{dtype:?}: {:#?}", again.checks);
        assert_eq!(files(&folder), ["merged.gguf", "merged.temper.json"], "the rounded base is gone");

        let file = GgufFile::open(&out).expect("opens");
        assert_eq!(file.get_usize("general.file_type").expect("a number"), Some(number));
        assert_eq!(file.get_usize("general.quantization_version").expect("a number"), Some(2));
        let kind = |name: &str| file.tensor(name).and_then(|tensor| tensor.kind()).expect("a kind");
        assert_eq!((kind("blk.0.attn_q.weight"), kind("blk.0.ffn_down.weight")), (narrow, wide));
        // of six layers, the third and the sixth have more bits
        assert_eq!(kind("blk.2.ffn_down.weight"), StorageKind::Q6K);
        assert_eq!(kind("blk.5.attn_v.weight"), StorageKind::Q8_0);
        assert_eq!(kind("token_embd.weight"), StorageKind::Q8_0, "it is the output too");
        let vectors = file.tensors().iter().filter(|tensor| tensor.shape().len() == 1);
        assert!(vectors.map(|tensor| tensor.kind()).all(|kind| kind == Some(StorageKind::F32)));
    }
}

#[test]
fn what_is_written_loads_as_any_model_with_the_merged_values() {
    let dir = tempfile::tempdir().expect("folder");
    let model = adapted(&starter(), 0.04);
    for (dtype, most) in [(StorageType::Q4K, 0.15), (StorageType::Q6K, 0.04)] {
        let out = dir.path().join(format!("{}.gguf", dtype.name()));
        write(&model, dtype, &out);
        let back = load(&out);
        for slot in names::slots(model.config.as_llama()) {
            let (wanted, stored) =
                (merged_values(&model, &slot).expect("merges"), back.read_weight(&slot.name).expect("reads"));
            let size: f64 = wanted.iter().map(|value| f64::from(*value).powi(2)).sum();
            let off: f64 = wanted.iter().zip(&stored).map(|(a, b)| f64::from(a - b).powi(2)).sum();
            assert!(off.sqrt() <= most * size.sqrt(), "{dtype:?} {}: {}", slot.name, (off / size).sqrt());
            assert!(slot.shape.len() == 2 || off == 0.0, "{}: norms are not rounded", slot.name);
        }
    }
}

#[test]
fn the_base_under_the_name_of_the_trained_model_is_found() {
    let dir = tempfile::tempdir().expect("folder");
    let (base, merged) = (dir.path().join("base"), dir.path().join("merged"));
    assert!(write(&load(&starter()), StorageType::Q4K, &base).certificate.pass(), "a base alone is rounded as well");
    let model = adapted(&starter(), 0.04);
    write(&model, StorageType::Q4K, &merged);
    let written = files(&merged);
    std::fs::copy(base.join("model.gguf"), merged.join("model.gguf")).expect("copies");
    let verdict = verify(&model, &codec(), (&merged, &[]), &cases(), &mut |_| {}, &|| false).expect("runs");
    let failed: Vec<&str> =
        verdict.checks.iter().filter(|check| !check.pass).map(|check| check.name.as_str()).collect();
    assert!(failed.contains(&BLOCKS), "{failed:?}");
    assert!(!verdict.pass() && !verdict.reasons.is_empty());
    assert_eq!(files(&merged), written, "nothing is left beside the files");
}

#[test]
fn a_change_that_rounding_back_onto_the_base_erases_is_refused() {
    let dir = tempfile::tempdir().expect("folder");
    let base = dir.path().join("base.gguf");
    write(&load(&starter()), StorageType::Q4K, &base);
    // a thousandth of the steps of the blocks that it is merged into
    let model = adapted(&base, 0.002);
    let exported = write(&model, StorageType::Q4K, &dir.path().join("merged.gguf"));
    assert!(!exported.certificate.pass(), "{:#?}", exported.certificate);
    let survival = exported.certificate.checks.iter().find(|check| check.name == SURVIVAL).expect("is asked");
    assert!(!survival.pass, "{survival:?}");
    assert!(exported.path.display().to_string().ends_with(".rejected"), "{}", exported.path.display());
}

#[test]
fn blocks_have_no_place_in_a_folder() {
    let dir = tempfile::tempdir().expect("folder");
    let out = dir.path().join("hf");
    let error = try_write(&load(&starter()), ExportFormat::Hf, Some(StorageType::Q5K), &out).expect_err("refused");
    assert!(matches!(error, ExportError::NotRepresentable { .. }) && error.to_string().contains("q5_k"), "{error}");
    assert!(!out.exists());
}
