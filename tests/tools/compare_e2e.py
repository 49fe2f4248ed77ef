"""Compares three finished runs in the real window as a person would: table, curves, trade-off, settings, verdict on rows,
and the playground, once with names and once blind; plots leave as files, and runs are kept in order.

The second scripted use beside window_e2e.py, with the same parts: the program runs on a virtual screen with its real engine
behind it and nothing in it knows that it is tested. The three runs are trained by the command line before the window opens,
each with another method. `--shots` keeps a screenshot of every room, in both themes and at two sizes.

    python3 tests/tools/compare_e2e.py --temper BINARY --model FOLDER --data FILE --python VENV_PYTHON [--shots DIR]
"""
import json
import re

from window_e2e import check, parser_of, play, runs_of, until

METHODS = ["lora", "dora", "ia3"]
ROOMS = ["Home", "Setup", "Watch", "Compare", "Export"]

PROJECT = """schema = 1
name = "three-ways"
[model]
path = "{model}"
[data]
train = ["{data}"]
max_tokens = 128
[method]
id = "lora"
[train]
steps = {steps}
batch = 2
lr_peak = 2e-3
warmup_steps = 2
seed = 42
checkpoint_steps = 5
eval_steps = 2
[keep]
probes = ["builtin:prose"]
budget_nats = 0.5
every_steps = 5
[samples]
prompts = ["How much is the brass lantern?"]
every_steps = 10
max_tokens = 24
"""


def train_three(stage):
    """Three finished runs of one project, a method each."""
    project = stage.work / "three-ways"
    project.mkdir()
    text = PROJECT.format(model=stage.model, data=stage.data, steps=stage.arguments.steps)
    (project / "project.toml").write_text(text)
    for method in METHODS:
        stage.cli("train", project, "--method", method)
    found = [(run, status, steps) for run, status, steps in runs_of(project)]
    wanted = [(run, "finished", stage.arguments.steps) for run in (1, 2, 3)]
    check("three runs finished", found == wanted, runs=found)
    return project


def open_project(stage, project):
    """The window with the project in it, once it is read."""
    opened = stage.open(project)
    # A project that was open before begins in the room it was left in.
    opened.press("Setup", "page tab")
    opened.wait("Model: ready", "image", 60)
    opened.wait("Run 3 finished .*")
    return opened


def table_and_plots(stage, opened):
    opened.press("Compare", "page tab")
    opened.wait("Runs 3 runs, 3 of at most 5 chosen")
    for run in (1, 2, 3):
        opened.wait(f"Compare Run {run}", "check box")
    opened.wait("Losses of the chosen runs: Run [123] is lowest: .*", "image")
    opened.wait("Loss against forgetting: .*no other run is better.*", "image")
    stage.looks(opened, "30-compare-curves")
    opened.press("Sort by best loss, nats")
    opened.wait("Sorted by best loss, nats, smallest first")
    opened.press("Compare Run 2", "check box")
    opened.wait("Runs 3 runs, 2 of at most 5 chosen")
    opened.press("Compare Run 2", "check box")
    opened.wait("Runs 3 runs, 3 of at most 5 chosen")
    opened.press("View: Settings", "radio button")
    opened.wait("method.id")
    check("equal settings are counted, not shown", opened.find("Settings [0-9]+ equal settings not shown") is not None)
    stage.looks(opened, "31-compare-settings")


def files_of_plots(opened, project):
    """Both plots leave as table, drawing and picture, each by the menu in its head."""
    opened.press("View: Curves", "radio button")
    for menu, what, stem in [
        ("Save, copy, smoothing and axis of these curves", "compared curves", "compared-losses"),
        ("Save or copy this plot", "trade-off", "loss-over-forgetting"),
    ]:
        for end in ["csv", "svg", "png"]:
            opened.press(menu)
            opened.press(f"Save {what} as {end.upper()}", "push button")
            path = project / f"{stem}.{end}"
            until(f"{path.name} is written", path.exists, 30)
    head = (project / "compared-losses.png").read_bytes()[:8]
    check("both plots were written", head == b"\x89PNG\r\n\x1a\n")


def in_order(stage, opened, project):
    """A run gets a name and a star, goes to the trash and comes back."""
    opened.press("View: Notes and disk", "radio button")
    opened.wait("Notes and disk .* on disk in all")
    opened.set_field("Name of Run 2", "second try")
    opened.wait("second try", "label")
    opened.press("Star Run 2", "push button")
    opened.wait("Take the star off Run 2")
    opened.press("To trash: Run 1", "push button")
    opened.wait("1 run in the trash")
    check("the folder lies in the trash", (project / "trash/0001").is_dir() and not (project / "runs/0001").exists())
    stage.looks(opened, "36-compare-order")
    opened.press("Bring back: Run 1", "push button")
    opened.wait("Runs 3 runs, 3 of at most 5 chosen")
    check("it is back", (project / "runs/0001").is_dir() and not (project / "trash/0001").exists())
    listed = stage.cli("runs", project)[1]
    said = {run["run"]: run["labels"] for run in listed}
    check("the command line says the same", said[2]["name"] == "second try" and said[2]["starred"], names=said[2]["name"])


def verdict(stage, opened):
    opened.press("View: Verdict and rows", "radio button")
    opened.wait("No verdict yet")
    opened.set_field("Rows to compare on", "builtin:instructions")
    opened.press("Compare on rows", "push button")
    opened.wait(".*(beats|do not tell which is better).*", seconds=240)
    opened.wait("Rows shown: all [0-9]+", "radio button", 60)
    check("a verdict with its interval", opened.find(".*95 % interval.*") is not None)
    stage.looks(opened, "32-compare-verdict")


def answered(opened, count, seconds=240):
    """Waits until so many answers have ended."""
    pattern = r"[0-9,]+ tokens?(, [0-9,.]+/s)?, (stopped by itself|cut at the limit)"
    def done():
        return sum(1 for _, name, _ in opened.nodes() if re.fullmatch(pattern, name)) >= count
    until(f"{count} answers", done, seconds)


def playground(stage, opened):
    opened.press("View: Playground", "radio button")
    opened.wait("No answers yet")
    opened.set_field("Prompt for all", "How much is the brass lantern?")
    answered(opened, 4)
    for name in ["base model", "Run 1", "Run 2", "Run 3"]:
        opened.wait(name)
    check("base and three runs answered", True)
    stage.looks(opened, "33-playground")
    opened.press("Blind, with votes", "check box")
    opened.press("Ask all", "push button")
    answered(opened, 4)
    opened.wait("Which answer is best\\? The names are shown after your vote\\.")
    check("no name is shown before the vote", opened.find("base model") is None)
    stage.looks(opened, "34-playground-blind")
    opened.press("This is best: Answer B", "push button")
    opened.wait("1 vote in this project.*")
    stage.looks(opened, "35-playground-voted")


def rooms(stage, opened):
    """The other rooms, with three runs in the project."""
    for room in ROOMS:
        opened.press(room, "page tab")
        opened.settle()
        stage.looks(opened, f"40-{room.lower()}")
    check("every room was opened", True)


def remembered(stage, project):
    """A window that is opened again knows the choice of runs and the vote."""
    opened = open_project(stage, project)
    try:
        opened.press("Compare", "page tab")
        opened.wait("Runs 3 runs, 2 of at most 5 chosen")
        opened.press("View: Playground", "radio button")
        opened.wait("1 vote in this project.*")
        check("choice and votes are there after a new start", True)
    finally:
        opened.close()
    kept = json.loads((project / "compare.json").read_text())
    check("kept with the project", len(kept["votes"]) == 1 and len(kept["chosen"]) == 2, kept=sorted(kept))


def compare(stage):
    project = train_three(stage)
    opened = open_project(stage, project)
    try:
        table_and_plots(stage, opened)
        files_of_plots(opened, project)
        verdict(stage, opened)
        playground(stage, opened)
        in_order(stage, opened, project)
        rooms(stage, opened)
        opened.press("Compare", "page tab")
        opened.press("Compare Run 1", "check box")
        opened.wait("Runs 3 runs, 2 of at most 5 chosen")
    finally:
        opened.close()
    remembered(stage, project)


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, default=10, help="of each run")
    play(parser.parse_args(), {"compare": compare})


if __name__ == "__main__":
    main()
