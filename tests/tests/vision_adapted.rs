//! Methods that need an encoder learn a second task on the small ViT, frozen and trained on Fashion-MNIST before: pictures
//! turned by a quarter.
//!
//! As in `vision.rs`, each is compared with the training of the second task's classifier alone, which is what would be left
//! if what was inserted did nothing. Over seeds, and merging with gates against merging without: `examples/encoder_seeds.rs`.

use temper_protocol::Value;
use temper_tests::fashion::{Fashion, method, settings};

#[test]
fn each_learns_more_of_turned_pictures_than_a_classifier_alone() {
    let fashion = Fashion::open().expect("Fashion-MNIST");
    let turned = fashion.turned();
    let [case, _] = fashion.cases();
    let model = fashion.trained(&case, &settings(250, case.lr_whole, 5), false).expect("trains");
    let whole = fashion.accuracy(&model, 0).expect("measures");
    let dir = tempfile::tempdir().expect("a folder");
    model.save(dir.path()).expect("saves");
    let train = settings(150, case.lr_adapter, 6);
    let (head, _) = turned.second_task_by(dir.path(), None, &train).expect("adapts");
    let (text, number) = (|value: &str| Value::Text(value.to_owned()), Value::Integer);
    let second = || ("tasks", text("second"));
    let methods = [
        method("p-adapter", &[("reduction", number(2)), ("p", Value::Number(1.75))]),
        method("pyra", &[("merge", text("2"))]),
        method("das", &[("width", number(32)), ("instead_width", number(32)), ("every", number(3))]),
        method("mtlora", &[second(), ("rank", number(4))]),
        method("polyhistor", &[second(), ("reduction", number(2))]),
        method("adapter", &[second(), ("width", number(16)), ("placement", text("houlsby"))]),
    ];
    let mut found = Vec::new();
    for method in &methods {
        let (adapted, model) = turned.second_task_by(dir.path(), Some(method), &train).expect("adapts");
        // The base below is what it was.
        model.set_enabled(false);
        let base = fashion.accuracy(&model, 0).expect("measures");
        found.push((method.id.clone(), adapted, base));
    }
    for (id, adapted, base) in &found {
        // One of three blocks is left out, or layers have to be learned by way of a vector: both learn less in so few steps.
        let bar = if matches!(id.as_str(), "das" | "polyhistor") { 0.02 } else { 0.06 };
        assert!(*adapted > head + bar, "{id}: {adapted} against {head} by the classifier alone, of {found:?}");
        assert!((base - whole).abs() < 2e-3, "{id}: the base has changed from {whole} to {base}");
    }
}
