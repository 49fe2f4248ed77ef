//! Methods that need an encoder over several seeds: minutes on two cores, so `tests/slow.sh` runs it.
//!
//! On a small ViT trained on Fashion-MNIST and then frozen, each learns the pictures turned by a quarter. Beside their
//! accuracy: what the paper of PYRA promises, that its gates do no worse than merging without them, and how many
//! multiplications merging and left-out blocks save. PELA makes the layers of the same ViT thin and trains it on with the
//! pictures that it knows, healed, decomposed alone and from drawn factors. Words after the program's name choose methods
//! by parts of their names.

use anyhow::{Result, ensure};
use std::path::Path;
use temper_models::VisionModel;
use temper_protocol::Value;
use temper_protocol::project::Method;
use temper_tests::fashion::{Fashion, method, settings};

/// Seeds.
const SEEDS: u64 = 5;
/// By how much the mean of the gates may fall below merging without them: the spread of such a mean.
const TOLERANCE: f64 = 0.005;

fn methods() -> Vec<(&'static str, Method)> {
    let (text, number) = (|value: &str| Value::Text(value.to_owned()), Value::Integer);
    let second = || ("tasks", text("second"));
    let merge = |gates: bool| method("pyra", &[("merge", text("5,3,0")), ("gates", Value::Flag(gates))]);
    vec![
        ("p-adapter", method("p-adapter", &[("reduction", number(2)), ("p", Value::Number(1.75))])),
        ("pyra, strong merging", merge(true)),
        ("the same without gates", merge(false)),
        ("das", method("das", &[("width", number(32)), ("instead_width", number(32))])),
        ("mtlora", method("mtlora", &[second(), ("rank", number(4))])),
        ("polyhistor", method("polyhistor", &[second(), ("reduction", number(2))])),
        ("adapter of a task", method("adapter", &[second(), ("width", number(16)), ("placement", text("houlsby"))])),
    ]
}

/// Seeds of the comparison of thin layers.
const THIN_SEEDS: u64 = 3;
/// Its steps, equal for all.
const THIN_STEPS: u64 = 400;
/// The learning rates that each side may choose from.
const THIN_RATES: [f64; 2] = [1e-3, 3e-3];
/// How far the whole model may be ahead of the healed one.
const THIN_GAP: f64 = 0.02;

/// Mean accuracy of the model in `base`, trained on with a method at the better of its rates.
fn trained_on(fashion: &Fashion, base: &Path, method: &Method, drawn: bool) -> Result<(f64, f64)> {
    let mut best = (0.0, 0.0);
    for rate in THIN_RATES {
        let mut mean = 0.0;
        for seed in 1..=THIN_SEEDS {
            mean += fashion.trained_on(base, method, &settings(THIN_STEPS, rate, seed), drawn)? / THIN_SEEDS as f64;
        }
        if mean > best.0 {
            best = (mean, rate);
        }
    }
    Ok(best)
}

/// PELA at a ratio of 2 beside the whole model, all trained on for the same steps.
#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn thin_layers(fashion: &Fashion, base: &Path) -> Result<()> {
    let pela = |healing: f64| method("pela", &[("healing_share", Value::Number(healing))]);
    let sides = [
        ("the whole model", method("full", &[]), false),
        ("thin layers, healed", pela(0.5), false),
        ("thin layers, decomposed alone", pela(0.0), false),
        ("thin layers, drawn", pela(0.0), true),
    ];
    let mut means = Vec::new();
    for (name, method, drawn) in &sides {
        let (mean, rate) = trained_on(fashion, base, method, *drawn)?;
        println!("[info] pela, {name}: {mean:.4} upright, mean of {THIN_SEEDS} seeds at {rate:e}");
        means.push(mean);
    }
    let [whole, healed, decomposed, drawn] = means.as_slice() else { anyhow::bail!("four sides") };
    ensure!(healed > decomposed, "healed {healed}, decomposed alone {decomposed}");
    ensure!(decomposed > drawn, "decomposed {decomposed}, drawn {drawn}");
    ensure!(whole - healed <= THIN_GAP, "healed {healed}, whole {whole}");
    println!("[PASS] pela, healed above decomposed alone above drawn, and within 2 points of the whole model");
    Ok(())
}

fn multiplications(model: &VisionModel) -> u64 {
    model.multiplications().iter().map(|(_, count)| count).sum()
}

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    let fashion = Fashion::open()?;
    let turned = fashion.turned();
    let [case, _] = fashion.cases();
    let model = fashion.trained(&case, &settings(1000, case.lr_whole, 1), false)?;
    let (whole, plain) = (fashion.accuracy(&model, 0)?, multiplications(&model));
    let dir = tempfile::tempdir()?;
    model.save(dir.path())?;
    println!("[info] the base: {whole:.3} upright, {plain} multiplications an image in its blocks");
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    let is_chosen = |name: &str| chosen.is_empty() || chosen.iter().any(|part| name.contains(part.as_str()));
    if is_chosen("pela") {
        thin_layers(&fashion, dir.path())?;
    }
    let mut means = Vec::new();
    for (name, method) in methods().into_iter().filter(|(name, _)| is_chosen(name)) {
        let (mut sum, mut saved) = (0.0, 0.0);
        for seed in 1..=SEEDS {
            let (accuracy, model) =
                turned.second_task_by(dir.path(), Some(&method), &settings(300, case.lr_adapter, seed))?;
            sum += accuracy / SEEDS as f64;
            saved = 100.0 * (1.0 - multiplications(&model) as f64 / plain as f64);
        }
        println!("[info] {name}: {sum:.4} turned, mean of {SEEDS} seeds; {saved:.0} % fewer multiplications");
        means.push((name, sum));
    }
    if means.is_empty() {
        return Ok(());
    }
    let mut head = 0.0;
    for seed in 1..=SEEDS {
        head += turned.second_task_by(dir.path(), None, &settings(300, case.lr_adapter, seed))?.0 / SEEDS as f64;
    }
    println!("[info] the classifier alone: {head:.4}");
    for (name, mean) in &means {
        ensure!(*mean > head + 0.02, "{name}: {mean} against {head} by the classifier alone");
    }
    println!("[PASS] every method beats the classifier alone");
    let of = |wanted: &str| means.iter().find(|(name, _)| *name == wanted).map(|(_, mean)| *mean);
    if let (Some(gates), Some(without)) = (of("pyra, strong merging"), of("the same without gates")) {
        ensure!(gates >= without - TOLERANCE, "gates {gates}, without them {without}");
        println!("[PASS] gates are no worse than merging without them");
    }
    Ok(())
}
