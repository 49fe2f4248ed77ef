//! Methods that need an encoder over several seeds: minutes on two cores, so `tests/slow.sh` runs it.
//!
//! On a small ViT trained on Fashion-MNIST and then frozen, each learns the pictures turned by a quarter. Beside their
//! accuracy: what the paper of PYRA promises, that its gates do no worse than merging without them, and how many
//! multiplications merging and left-out blocks save. Words after the program's name choose methods by parts of their names.

use anyhow::{Result, ensure};
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
