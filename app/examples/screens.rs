//! Renders every state of the window in every theme and both sizes into the folder given by `TEMPER_SCREENS`:
//! `cargo xtask screens --out DIR` runs it. Not a command of the program, which would carry the test harness then.
//! `TEMPER_LANGUAGE=de` renders them in German.
//! Words behind the command pick the scenes whose name contains one of them.

#[path = "../tests/window/compared.rs"]
mod compared;
#[path = "../tests/window/drawn.rs"]
mod drawn;
#[path = "../tests/window/export_scenes.rs"]
mod export_scenes;
#[path = "../tests/window/kit.rs"]
#[expect(dead_code, reason = "shared with the tests, which use the rest")]
mod kit;
#[path = "../tests/window/machine_scenes.rs"]
mod machine_scenes;
#[path = "../tests/window/preset_scenes.rs"]
mod preset_scenes;
#[path = "../tests/window/project_scenes.rs"]
mod project_scenes;
#[path = "../tests/window/race_scenes.rs"]
mod race_scenes;
#[path = "../tests/window/rows.rs"]
mod rows;
#[path = "../tests/window/run_kit.rs"]
mod run_kit;
#[path = "../tests/window/scenes.rs"]
mod scenes;
#[path = "../tests/window/step_scenes.rs"]
mod step_scenes;
#[path = "../tests/window/way_scenes.rs"]
mod way_scenes;

use temper::state::settings::LanguageChoice;
use temper::theme::Look;

fn main() {
    let Some(folder) = std::env::var_os("TEMPER_SCREENS").map(std::path::PathBuf::from) else { return };
    std::fs::create_dir_all(&folder).expect("folder for the pictures");
    let german = std::env::var("TEMPER_LANGUAGE").is_ok_and(|language| language == "de");
    let language = if german { LanguageChoice::German } else { LanguageChoice::English };
    let words: Vec<String> = std::env::args().skip(1).collect();
    for scene in scenes::SCENES {
        if !words.is_empty() && !words.iter().any(|word| scene.name.contains(word.as_str())) {
            continue;
        }
        for (size, name) in kit::SIZES.iter().zip(["1280", "1024"]) {
            for look in Look::ALL {
                let picture = drawn::draw(scene, *size, look, language);
                let theme = look.name();
                let file = folder.join(format!("{}-{theme}-{name}.png", scene.name.replace('_', "-")));
                picture.save(&file).expect("written");
            }
        }
    }
}
