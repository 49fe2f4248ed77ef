//! The small ViT and the small CNN learn Fashion-MNIST, and LoRA on the frozen base learns a second task.
//!
//! Each result is compared with the same training of the classifier alone, which is what would be left if no gradient
//! reached the layers below it, or a wrong one: the bar is not a number that any training passes. Over three seeds and
//! ten times the steps: `examples/vision_seeds.rs`.

use temper_models::VisionModel;
use temper_tests::fashion::{Fashion, settings};

#[test]
fn both_models_learn_and_lora_on_the_frozen_base_learns_a_second_task() {
    let fashion = Fashion::open().expect("Fashion-MNIST");
    let turned = fashion.turned();
    for case in fashion.cases() {
        let family = case.config.family();
        let train = settings(250, case.lr_whole, 5);
        let model = fashion.trained(&case, &train, false).expect("trains");
        let head_only = fashion.trained(&case, &train, true).expect("trains");
        let accuracy = |model: &VisionModel| fashion.accuracy(model, 0).expect("measures");
        let (whole, head) = (accuracy(&model), accuracy(&head_only));
        assert!(whole > 0.72 && whole > head + 0.12, "{family}: {whole} whole, {head} by the classifier alone");

        let dir = tempfile::tempdir().expect("a folder");
        model.save(dir.path()).expect("saves");
        let base = VisionModel::load(dir.path()).expect("loads");
        let unchanged = accuracy(&base);
        let train = settings(250, case.lr_adapter, 6);
        let (adapted, model) = turned.second_task(dir.path(), &train, false).expect("adapts");
        let (head, _) = turned.second_task(dir.path(), &train, true).expect("adapts");
        // kernels of the CNN tell turned pictures apart as they are: less is left to learn there
        let bar = if family == "vit" { 0.08 } else { 0.03 };
        assert!(adapted > head + bar, "{family}: {adapted} with LoRA, {head} without");
        // the base below is what it was
        model.set_enabled(false);
        assert!(accuracy(&model) == unchanged, "{family}: the base has changed");
        assert!((unchanged - whole).abs() < 2e-3, "{family}: the file tells {unchanged}, the trained model {whole}");
    }
}
