//! The proof of `tests/vision.rs` over three seeds and more steps: minutes on two cores, so `tests/slow.sh` runs it.

use anyhow::{Result, ensure};
use temper_tests::fashion::{Fashion, settings};

#[expect(clippy::print_stdout, reason = "its result is what it prints")]
fn main() -> Result<()> {
    let fashion = Fashion::open()?;
    let turned = fashion.turned();
    for case in fashion.cases() {
        let family = case.config.family();
        for seed in 1..=3 {
            let model = fashion.trained(&case, &settings(2000, case.lr_whole, seed), false)?;
            let whole = fashion.accuracy(&model, 0)?;
            let dir = tempfile::tempdir()?;
            model.save(dir.path())?;
            let train = settings(1000, case.lr_adapter, seed);
            let (adapted, _) = turned.second_task(dir.path(), &train, false)?;
            let (head, _) = turned.second_task(dir.path(), &train, true)?;
            println!("[info] {family}, seed {seed}: {whole:.3}; turned {adapted:.3} with LoRA, {head:.3} without");
            ensure!(whole > 0.82, "{family}, seed {seed}: {whole}");
            ensure!(adapted > head + 0.05, "{family}, seed {seed}: {adapted} with LoRA, {head} without");
            println!("[PASS] {family}, seed {seed}");
        }
    }
    Ok(())
}
