"""The first use of a real model in the real window: from an empty home to a certified export, with pictures of every step.

The walk of window_e2e.py with other material: SmolLM2 as GGUF, a set of questions and answers, a method chosen in the
gallery. In between it opens every room, sheet and view that a person meets on the way. The program starts with a home of
its own that is empty; nothing in it knows that it is tested. Each step waits for what the screen says, and a step that
fails is named. What was written is opened by the program's own check and by the gguf package. `--shots` keeps a picture
of every step; `--until` ends after one.

    python3 tests/tools/first_use.py --temper BINARY --model FILE.gguf --data FILE.jsonl --python VENV_PYTHON [--shots DIR]
"""
import subprocess

import window_e2e as walk
from compare_e2e import answered
from window import Failed, HERE
from window_e2e import check, parser_of, play, runs_of

PROMPT = "What is artificial intelligence?"
TARGETS = ["PEFT adapter", "GGUF LoRA", "merged GGUF, f16"]


def empty_rooms(stage, opened):
    """Every room says what would be here and offers the next step."""
    stage.looks(opened, "01-home-empty")
    for room, words in EMPTY.items():
        opened.press(room, "page tab")
        opened.wait(words)
        stage.shot(opened, f"02-{room.lower()}-empty-dark")
        stage.light_shot(opened, f"02-{room.lower()}-empty-light")


EMPTY = {"Watch": "No run yet", "Compare": "Nothing to compare yet", "Export": "No result yet",
         "Setup": "drop a model and data, or choose them in the cards|.*Setup.*"}


def self_test(stage, opened):
    opened.press("Home", "page tab")
    opened.command("Run the self-test")
    opened.wait("self-test passed", seconds=120)
    stage.shot(opened, "03-home-self-test-dark")
    stage.light_shot(opened, "03-home-self-test-light")


def help_and_palette(stage, opened):
    opened.keys("F1")
    opened.wait("certificate")
    stage.shot(opened, "03-help-dark")
    opened.keys("Escape")
    opened.wait_gone("certificate")
    opened.keys("ctrl+k")
    opened.wait("Search commands", "entry|text")
    stage.shot(opened, "03-palette-dark")
    opened.type("export")
    opened.wait("Go to Export", "menu item")
    stage.shot(opened, "03-palette-typed-dark")
    opened.keys("Escape")
    opened.wait_gone("Go to Export", "menu item")


def drops(stage, opened):
    opened.press("Setup", "page tab")
    walk.drop_both(stage, opened)


def gallery(stage, opened):
    """All methods, the search, and the choice of one that is not the first."""
    method = stage.arguments.method
    opened.press("Show all", "push button")
    opened.wait("Show fewer", "push button")
    stage.looks(opened, "10-gallery")
    opened.press("Show fewer", "push button")
    opened.set_field("Search methods", method, enter=False)
    opened.wait(f"Method {method}", "radio button")
    stage.shot(opened, "10-gallery-search-dark")
    opened.press(f"Method {method}", "radio button")
    opened.press("Show all", "push button")  # an empty search again
    opened.wait("Method: ready", "image")
    opened.press("More settings", "push button")
    opened.wait("All settings are shown")
    stage.shot(opened, "10-method-settings-dark")
    opened.press("More settings", "push button")


def what_to_keep(stage, opened):
    """A prompt of one's own, and a short run."""
    opened.set_field("New sample prompt", PROMPT)
    opened.wait("Remove prompt 1", "push button")
    walk.set_up(stage, opened, stage.arguments.steps, stage.arguments.steps // 4)
    opened.wait("measured .*", seconds=240)
    opened.wait("All checks pass.*")
    stage.looks(opened, "10-preflight")


def sheets(stage, opened):
    """The equal command line and the project file."""
    opened.press("Show command", "push button")
    opened.wait("The equal command line")
    stage.shot(opened, "10-command-dark")
    opened.keys("Escape")
    opened.wait_gone("The equal command line")
    opened.command("Project file")
    opened.wait("not saved yet.*")
    stage.shot(opened, "10-project-file-dark")
    opened.keys("Escape")
    opened.wait_gone("not saved yet.*")


def lens(stage, opened):
    opened.keys("ctrl+t")
    opened.wait("Rows of the data", "list box|list")
    opened.wait("[0-9]+ rows", seconds=60)
    stage.shot(opened, "10-token-lens-dark")
    stage.small_shot(opened, "10-token-lens-dark-1024")
    opened.set_field("Go to row", "77")
    opened.wait("Row 77( .*)?")
    stage.shot(opened, "10-token-lens-row-dark")
    opened.keys("Escape")
    opened.wait_gone("Rows of the data")


def train(stage, opened):
    walk.train_and_steer(stage, opened)
    learnt = runs_of(stage.project)
    check("one run, finished", [status for _, status, _ in learnt] == ["finished"], runs=learnt)


def watch(stage, opened):
    """What a finished run shows: the layers, an earlier step that answers, the loss as a table."""
    opened.click("Rank by module and layer at.*", "image", 0.6, 0.4)
    stage.shot(opened, "16-watch-cell-dark")
    step = walk.ask_step(opened, PROMPT, 1)
    check("an earlier step has answered", step < stage.arguments.steps, step=step)
    stage.shot(opened, "16-watch-step-asked-dark")
    opened.press("Show the samples", "push button")
    opened.keys("Escape", "End")


def compare(stage, opened):
    """One run beside its base."""
    opened.press("Compare", "page tab")
    opened.wait("Runs 1 run, 1 of at most 5 chosen")
    stage.looks(opened, "16-compare-curves")
    for view in ["Settings", "Verdict and rows", "Notes and disk"]:
        opened.press(f"View: {view}", "radio button")
        stage.shot(opened, f"16-compare-{view.lower().replace(' ', '-')}-dark")
    opened.press("View: Playground", "radio button")
    opened.set_field("Prompt for all", PROMPT)
    answered(opened, 2, 240 * opened.patience)
    stage.looks(opened, "16-playground")


def export(stage, opened):
    """Three targets with their certificates; the files are opened again, by this program and by another reader."""
    opened.press("Watch", "page tab")
    adapters, models = walk.export_all(stage, opened, TARGETS)
    merged = models[0]
    lora = next(path for path in adapters if path.is_file())
    words = ["--base", stage.model, "--merged", merged, "--lora", lora]
    done = subprocess.run([stage.arguments.python, HERE / "judge_gguf.py", *words], capture_output=True, text=True)
    verdict = (done.stdout + done.stderr).strip().splitlines()
    check("the gguf package agrees", done.returncode == 0, says=verdict[-1:] if done.returncode == 0 else verdict[-12:])
    walk.refuse(stage, opened, merged)


def home_again(stage, opened):
    opened.press("Home", "page tab")
    opened.wait("Open smollm2.*")
    stage.looks(opened, "23-home-recent")


STEPS = {"empty rooms": empty_rooms, "self-test": self_test, "help and palette": help_and_palette, "drops": drops,
         "gallery": gallery, "what to keep": what_to_keep, "sheets": sheets, "token lens": lens, "train": train,
         "watch": watch, "compare": compare, "export": export, "home again": home_again}


def first_use(stage):
    opened = stage.open()
    try:
        for name, step in STEPS.items():
            if name in stage.arguments.skip:
                continue
            print(f"   step: {name}", flush=True)
            try:
                step(stage, opened)
            except Failed as failed:
                raise Failed(f"step \"{name}\": {failed}") from failed
            if name == stage.arguments.until:
                break
    finally:
        opened.close()


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=24, help="of the run")
    parser.add_argument("--method", default="MiSS", help="title of the method chosen in the gallery")
    parser.add_argument("--skip", choices=STEPS, action="append", default=[], help="leave a step out")
    parser.add_argument("--until", choices=STEPS, help="end after this step")
    play(parser.parse_args(), {"first use": first_use})


if __name__ == "__main__":
    main()
