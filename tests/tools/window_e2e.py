"""Uses the real window as a person would: drops, a form, a run with pause and resume, an export with its certificate.

The program runs on a virtual screen with its real engine behind it; nothing in it knows that it is tested. Files come by
real drops from another program, everything else by accessible names and by keys. Scenes: `whole` (an empty start to an
exported model, and the same model refused after it was damaged), `errors` (what cannot be used is said in its card),
`killed` (the window dies, the run goes on, a new window shows and stops it), `steps` (a step is asked, a run is given
more steps, the next one waits), `one` (a second start hands its files to the window that is open). `--shots` keeps the
screenshots.

    python3 tests/tools/window_e2e.py --temper BINARY --model FOLDER --data FILE --python VENV_PYTHON [--shots DIR]
"""
import argparse
import contextlib
import json
import os
import pathlib
import pickle
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

import window
from window import Failed


class Stage:
    """What all scenes share: a home folder, a screen, the program, the files that are dropped."""

    def __init__(self, arguments, work):
        self.arguments = arguments
        self.work = pathlib.Path(work)
        self.home = self.work / "home"
        self.home.mkdir()
        self.binary = self.work / "temper"
        shutil.copy2(arguments.temper, self.binary)
        self.model = pathlib.Path(arguments.model).resolve()
        if self.model.is_dir():
            # a copy under a name of its own, without the data that lies beside the bundled model
            self.model = shutil.copytree(self.model, self.work / "small-model",
                                         ignore=shutil.ignore_patterns("data.jsonl", "README.md"))
        self.data = self.work / "answers.jsonl"
        shutil.copyfile(arguments.data, self.data)
        self.shots = pathlib.Path(arguments.shots) if arguments.shots else None
        if self.shots:
            self.shots.mkdir(parents=True, exist_ok=True)
        self.env = {"HOME": str(self.home), "XDG_CONFIG_HOME": str(self.home / ".config"),
                    "XDG_DATA_HOME": str(self.home / ".local/share"), "XDG_CACHE_HOME": str(self.home / ".cache")}
        self.screen = window.Screen(1280, 800)

    def open(self, *paths, env=None):
        env = {**self.env, **(env or {})}
        opened = window.Window(self.screen, self.binary, *paths, env=env, python=self.arguments.python,
                               patience=self.arguments.patience)
        opened.wait("Setup", "page tab", 60)
        opened.wait_drawn()
        opened.focus_window()
        return opened

    def shot(self, opened, name, settle_secs=10):
        """A screenshot under this name; the picture must show something. While a run goes on no frame is the last one."""
        if self.shots:
            opened.settle(settle_secs)
            colours = opened.shot(self.shots / f"{name}.png")
            check(f"screenshot {name}", colours > 50, colours=colours)

    def small_shot(self, opened, name):
        """The same at 1024 x 700, then back to the whole screen."""
        if self.shots:
            opened.resize(1024, 700)
            opened.settle()
            opened.shot(self.shots / f"{name}.png", "1024x700+0+0")
            opened.resize(1280, 800)

    def light_shot(self, opened, name, small=False):
        """The same in the light theme, then back to the dark one."""
        if self.shots:
            opened.theme("light")
            self.shot(opened, name)
            if small:
                self.small_shot(opened, f"{name}-1024")
            opened.theme("dark")

    def looks(self, opened, name):
        """Both themes at both sizes."""
        self.shot(opened, f"{name}-dark")
        self.small_shot(opened, f"{name}-dark-1024")
        self.light_shot(opened, f"{name}-light", small=True)

    def cli(self, *words, ok=True):
        done = subprocess.run([str(self.binary), *map(str, words), "--json"], capture_output=True, text=True,
                              env={**os.environ, **self.env})
        if ok and done.returncode != 0:
            raise Failed(f"temper {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
        return done.returncode, [json.loads(line) for line in done.stdout.splitlines()]


def check(name, ok, **facts):
    print(f"[{'PASS' if ok else 'FAIL'}] {name} " + " ".join(f"{key}={value}" for key, value in facts.items()), flush=True)
    if not ok:
        raise Failed(name)


def until(what, question, seconds=60):
    """Asks until the answer is true, and gives it."""
    end = time.monotonic() + seconds
    while True:
        answer = question()
        if answer:
            return answer
        if time.monotonic() > end:
            raise Failed(f"{what}: not after {seconds} s")
        time.sleep(0.2)


def runs_of(project):
    """(run, status, step) of each run, straight from the store; nothing when there is no store yet."""
    path = project / "temper.db"
    if not path.exists():
        return []
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as store:
        try:
            return store.execute(RUNS_QUERY).fetchall()
        except sqlite3.OperationalError:
            return []  # the moment between the file and its tables


RUNS_QUERY = "SELECT run, status, steps FROM runs ORDER BY run"


def engines(binary):
    """Process ids of engines of this binary."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if len(words) > 1 and words[0].decode(errors="replace") == str(binary) and words[1] == b"engine":
            found.append(int(folder.name))
    return found


def set_up(stage, opened, steps, keep_every):
    """Both drops are done: lowers the steps, and waits until Train can be pressed."""
    opened.set_field("Steps", steps)
    opened.set_field("Batch", 2)
    opened.set_field("Interval", keep_every)
    opened.wait_enabled("Train", "push button", 60)


def whole(stage):
    """From nothing to an exported model."""
    opened = stage.open()
    try:
        stage.shot(opened, "01-home-empty-dark")
        opened.press("Setup", "page tab")
        opened.wait("drop a model and data, or choose them in the cards|.*Setup.*")
        stage.shot(opened, "02-setup-empty-dark")
        drop_both(stage, opened)
        train_and_steer(stage, opened)
        _, models = export_all(stage, opened, TARGETS)
        refuse(stage, opened, models[0])
    finally:
        opened.close()


def drop_both(stage, opened):
    with opened.hovering([stage.model]):
        opened.wait("Drop: Llama-type model, .* parameters, .*")
        opened.wait("Use as model")
        stage.shot(opened, "03-hover-model")
    opened.wait_gone("Drop: .*")
    check("a hover that leaves changes nothing", opened.find("Model: not chosen yet", "image") is not None)
    opened.drop([stage.model])
    opened.wait("Model: ready", "image")
    opened.wait(f"{stage.model.name} is the model now")
    stage.shot(opened, "04-model-filled")
    with opened.hovering([stage.data]):
        opened.wait("Drop: chat messages, .* rows, .*")
        opened.wait("Keep what it says")
        stage.shot(opened, "05-hover-data")
    opened.wait_gone("Drop: .*")
    opened.drop([stage.data])
    opened.wait("Data: ready", "image")
    opened.wait("[0-9,]+ train [0-9,]+ validation")
    for card in ["Model", "Data", "Method", "Keep"]:
        opened.wait(f"{card}: ready", "image")
    check("both drops filled their cards", True)
    opened.wait("measured .*", seconds=120)
    stage.looks(opened, "06-setup-filled")


def train_and_steer(stage, opened):
    # long enough that Pause is pressed in time, pictures included
    set_up(stage, opened, stage.arguments.steps, stage.arguments.steps // 4)
    project = stage.home / "Temper" / "first"
    opened.press("Train", "push button")
    opened.wait("Where shall this project live.")
    opened.set_field("Project folder", project, enter=False)
    stage.shot(opened, "10-project-folder")
    opened.press("Create and train", "push button")
    opened.wait("preparing|queued|live|Preparing.*", seconds=30)
    stage.shot(opened, "11-preparing", 1)
    opened.wait("live", "label", 120)
    until("the run has steps", lambda: any(step >= 3 for _, _, step in runs_of(project)), 120 * opened.patience)
    stage.shot(opened, "12-training-dark", 1)
    opened.press("Pause", "push button")
    opened.wait("paused", "label", 60)
    paused = runs_of(project)[-1]
    stage.shot(opened, "13-paused")
    check("paused in the store", paused[1] == "paused", run=paused[0], step=paused[2])
    opened.press("Go on", "push button")
    opened.wait("finished", "label", 400)
    status, steps = runs_of(project)[-1][1:]
    check("the run finished", (status, steps) == ("finished", stage.arguments.steps), status=status, steps=steps)
    stage.shot(opened, "14-finished-dark")
    stage.small_shot(opened, "15-finished-dark-1024")
    stage.light_shot(opened, "16-finished-light")
    stage.project = project


def export_all(stage, opened, targets):
    """Writes each target and sees its certificate; gives what lies on the disk then, adapters before models."""
    opened.press("Export…", "push button")
    opened.wait("Targets.*")
    stage.shot(opened, "17-export-ready")
    for number, name in enumerate(targets):
        opened.press(f"Target {name}", "radio button")
        opened.keys("ctrl+e")
        if number + 1 == len(targets):
            # the last one is the largest: it takes long enough to be seen
            opened.wait(f"(Writing|Passed:) {name}.*", seconds=120)
            stage.shot(opened, "18-exporting", 0)
        opened.wait(f"Passed: {name}", seconds=120)
    stage.shot(opened, "18-certificate-passed-dark")
    stage.small_shot(opened, "19-certificate-passed-dark-1024")
    stage.light_shot(opened, "20-certificate-passed-light")
    # beside a file lies what was noted about it
    exports = [path for path in stage.project.glob("exports/*") if path.suffix != ".json"]
    adapters = [path for path in exports if (path / "adapter_config.json").exists() or path.name.endswith("-lora.gguf")]
    models = [path for path in exports if path not in adapters]
    check("an adapter and a model were written", bool(adapters) and bool(models), adapters=len(adapters), models=len(models))
    for path in [*adapters, *models]:
        code, events = stage.cli("verify", path, "--against", "last", "--project", stage.project)
        certificate = next(event for event in events if event["event"] == "certificate")
        check(f"verify {path.name}", code == 0 and certificate["pass"], relative=certificate["relative_diff"])
    return adapters, models


def refuse(stage, opened, folder):
    """A model damaged after it was written is refused, in the window and on the command line."""
    path = folder / "model.safetensors" if folder.is_dir() else folder
    with open(path, "r+b") as weights:
        weights.seek(path.stat().st_size // 2)
        weights.write(bytes(256 * 1024))
    opened.press("Check again", "push button")
    opened.wait("Refused: .*", seconds=120)
    stage.shot(opened, "21-certificate-refused-dark")
    stage.light_shot(opened, "22-certificate-refused-light")
    code, events = stage.cli("verify", folder, "--against", "last", "--project", stage.project, ok=False)
    certificate = next(event for event in events if event["event"] == "certificate")
    first = next(iter(certificate["reasons"]), "")
    check("a damaged export is refused", code == 1 and not certificate["pass"] and "files changed" in first, why=first)


TARGETS = ["PEFT adapter", "merged folder, bf16"]


def errors(stage):
    """What cannot be used is said in the card it was meant for, with what to do."""
    opened = stage.open()
    try:
        opened.press("Setup", "page tab")
        bad_model = stage.work / "pytorch_model.bin"
        bad_model.write_bytes(pickle.dumps({"weights": [1.0, 2.0]}))
        with opened.hovering([bad_model]):
            opened.wait("Not something Temper can use")
            stage.shot(opened, "23-hover-pickle")
        opened.drop([bad_model])
        opened.wait("Model: has a problem", "image")
        opened.wait(".*pytorch_model.bin.*")
        bad_data = stage.work / "broken.jsonl"
        bad_data.write_text('{"messages": [\nnot json at all\n' * 30)
        opened.drop([bad_data])
        opened.wait("Data: has a problem", "image", 30)
        stage.shot(opened, "24-errors-dark")
        opened.drop([stage.model])
        opened.wait("Model: ready", "image")
        check("a good drop takes the error away", True)
        stage.shot(opened, "25-data-error-model-ready")
    finally:
        opened.close()


def killed(stage):
    """The window dies; the run goes on; a new window shows it and stops it, and what it learnt is kept."""
    project = stage.work / "second"
    stage.cli("new", project, "--model", stage.model, "--data", stage.data)
    opened = stage.open(project)
    try:
        opened.press("Setup", "page tab")
        set_up(stage, opened, 5000, 500)
        opened.press("Train", "push button")
        opened.wait("live", "label", 120)
        until("the run has steps", lambda: any(step >= 2 for _, _, step in runs_of(project)), 120)
        engine = engines(stage.binary)
        opened.process.send_signal(signal.SIGKILL)
        opened.process.wait()
    finally:
        opened.close()
    check("the engine lives on", bool(set(engine) & set(engines(stage.binary))), engines=engine)
    run, _, before = runs_of(project)[-1]
    until("steps advance without a window", lambda: runs_of(project)[-1][2] >= before + 3, 120)
    check("steps advance without a window", True, before=before, now=runs_of(project)[-1][2])
    opened = stage.open(project)
    try:
        opened.press("Watch", "page tab")
        opened.wait("live", "label", 60)
        shown = runs_of(project)[-1][2]
        until("the new window follows", lambda: runs_of(project)[-1][2] > shown, 60)
        stage.shot(opened, "26-reattached")
        opened.press("Stop and keep", "push button")
        opened.wait("stopped at step [0-9,]+, kept", "label", 120)
        stage.shot(opened, "27-stopped")
        number, status, step = runs_of(project)[-1]
        check("stopped and kept from the new window", (number, status) == (run, "stopped"), step=step)
    finally:
        opened.close()
    until("the engine ends by itself", lambda: not engines(stage.binary), 60)
    check("no engine is left", True)


def steps(stage):
    """A finished run answers as of a step, beside its base; it is given more steps; the next run waits for it."""
    project = stage.work / "third"
    stage.cli("new", project, "--model", stage.model, "--data", stage.data)
    text = (project / "project.toml").read_text()
    lines = [f"steps = {STEPS_FIRST}" if line.startswith("steps = ") else line for line in text.splitlines()]
    (project / "project.toml").write_text("\n".join(lines) + "\n")
    stage.cli("train", project)
    kept = {int(path.stem.split("-")[1]) for path in project.glob("runs/*/snapshots/*.snapshot")}
    opened = stage.open(project)
    try:
        opened.press("Watch", "page tab")
        opened.wait("finished", "label", 30)
        step = ask_step(opened, "Are you open on Sundays?", 2)
        check("a kept step has answered", step in kept and step < STEPS_FIRST, step=step, kept=len(kept))
        stage.shot(opened, "28-step-asked")
        opened.press("Show the samples", "push button")
        opened.press("More steps…", "push button")
        opened.set_field("Steps in all", STEPS_MORE, enter=False)
        opened.press("Train on", "push button")
        until("it goes on", lambda: runs_of(project)[0][2] > STEPS_FIRST, 120)
        opened.keys("ctrl+Return")
        opened.wait("1 run waits", "push button", 30)
        check("the next run waits", runs_of(project)[1][1] == "queued", status=runs_of(project)[1][1])
        stage.shot(opened, "29-run-waits", 1)
        ended = [(1, "finished", STEPS_MORE), (2, "finished", STEPS_FIRST)]
        until("both have finished", lambda: runs_of(project) == ended, 300)
        check("more steps, then the run that waited", True, runs=runs_of(project))
    finally:
        opened.close()


def one(stage):
    """A second start hands its files to the window that is open and ends; the next start after a kill is the window."""
    runtime = stage.work / "runtime"
    runtime.mkdir(mode=0o700)
    own = {"XDG_RUNTIME_DIR": str(runtime)}
    opened = stage.open(env=own)
    try:
        folder = runtime / "temper"
        check("only its owner can reach the window", folder.stat().st_mode & 0o777 == 0o700)
        hand_over(stage, opened, stage.model)
        opened.wait("Model: ready", "image")
        hand_over(stage, opened, stage.data.name, folder=stage.work)
        opened.wait("Data: ready", "image")
        place = next(folder.glob("*.socket"))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
            other.connect(str(place))
            other.sendall(b"nonsense\n")
            answer = other.recv(64)
        check("nonsense is refused", answer == b"refused", answer=answer)
        until("the log says so", lambda: "a message of another start is ignored" in opened.tail(), 10)
        hand_over(stage, opened)
        stage.shot(opened, "34-handed-over")
        opened.process.send_signal(signal.SIGKILL)
        opened.process.wait()
        check("a killed window leaves its socket", place.exists())
    finally:
        opened.close()
    opened = stage.open(stage.model, env=own)
    try:
        opened.wait("Model: ready", "image")
        hand_over(stage, opened, stage.data)
        opened.wait("Data: ready", "image")
        check("the next start is the window", True)
        another = subprocess.Popen([str(stage.binary), "--new-window"], env=opened.env, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            until("another window opens when it is asked for", lambda: len(windows(opened)) == 2)
            check("it stays beside the first", another.poll() is None and opened.process.poll() is None)
        finally:
            another.kill()
            another.wait()
    finally:
        opened.close()


def hand_over(stage, opened, *paths, folder=None):
    """Starts the program again beside an open window; it must hand over and end."""
    done = subprocess.run([str(stage.binary), *map(str, paths)], env=opened.env, cwd=folder, capture_output=True, text=True,
                          timeout=60)
    check("a second start hands over and ends", done.returncode == 0 and "has taken it" in done.stdout,
          code=done.returncode, said=done.stdout.strip() + done.stderr.strip())


def windows(opened):
    """Windows of the program on this screen."""
    found = subprocess.run(["xdotool", "search", "--onlyvisible", "--name", "^Temper$"], env=opened.env, check=False,
                           capture_output=True, text=True)
    return found.stdout.split()


def ask_step(opened, prompt, back):
    """Goes so many kept states back in a finished run 1 and asks there; gives the step whose adapter has answered."""
    opened.keys("Escape", *["comma"] * back)
    opened.wait("adapter as of step [0-9,]+", "label")
    opened.press("Ask a step…", "push button")
    opened.set_field("Prompt for this step", prompt)
    opened.wait("Base: [0-9,]+ tokens?, .*", seconds=60)
    answered = opened.wait(r"Run 1 at step [0-9,]+: [0-9,]+ tokens?, .*", seconds=60).get_name()
    return int(answered.split("step ")[1].split(":")[0].replace(",", ""))


STEPS_FIRST = 24
STEPS_MORE = 150


def showcase(stage):
    """The bundled example with more measurements, for pictures; only on request."""
    project = stage.work / "shop-assistant"
    stage.cli("new", project, "--model", "builtin:starter", "--data", "builtin:starter-data")
    (project / "project.toml").write_text(SHOWCASE)
    opened = stage.open(project)
    try:
        opened.press("Setup", "page tab")
        opened.wait("measured .*", seconds=120)
        stage.light_shot(opened, "setup-light")
        opened.press("Train", "push button")
        until("most steps are done", lambda: any(step >= 106 for _, _, step in runs_of(project)), 400)
        opened.press("Watch", "page tab")
        opened.click("Rank by module and layer at.*", "image", 0.6, 0.4)
        stage.shot(opened, "watch-dark")
        opened.press("Stop and keep", "push button")
        opened.wait("stopped at step [0-9,]+, kept", "label", 120)
        opened.press("Home", "page tab")
        stage.shot(opened, "home-recent-dark")
    finally:
        opened.close()


SHOWCASE = """schema = 1
name = "shop-assistant"
[model]
path = "builtin:starter"
[data]
train = ["builtin:starter-data"]
max_tokens = 256
packing = true
loss_on = "answers"
[method]
id = "lora"
rank = 16
alpha = 32
[train]
steps = 150
batch = 4
lr_peak = 8e-4
warmup_steps = 10
seed = 42
checkpoint_steps = 30
eval_steps = 10
[keep]
probes = ["builtin:prose", "builtin:instructions", "builtin:code", "builtin:arithmetic"]
budget_nats = 0.8
every_steps = 10
[samples]
prompts = ["How much is the brass lantern?", "Are you open on Sundays?"]
every_steps = 30
max_tokens = 40
"""

DEFAULT_SCENES = {"whole": whole, "errors": errors, "killed": killed, "steps": steps, "one": one}
SCENES = {**DEFAULT_SCENES, "showcase": showcase}


def parser_of(words):
    """What every script over the real window is told."""
    parser = argparse.ArgumentParser(description=words.splitlines()[0])
    parser.add_argument("--temper", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--python", default=sys.executable, help="a Python with python-xlib, for the drops")
    parser.add_argument("--shots", help="keep screenshots in this folder")
    parser.add_argument("--patience", type=float, default=1, help="every wait may last this many times longer")
    return parser


def play(arguments, scenes):
    """Plays scenes, by name, one after the other on one stage."""
    window.in_session()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        stage = Stage(arguments, work)
        try:
            for name, scene in scenes.items():
                print(f"-- {name}", flush=True)
                scene(stage)
        except Failed as failed:
            print(f"FAILED: {failed}", file=sys.stderr)
            if stage.shots:
                stage.screen.shot(stage.shots / "failed.png")
            sys.exit(1)
        finally:
            for process in engines(stage.binary):
                os.kill(process, signal.SIGTERM)
            stage.screen.close()
    print(f"all scenes passed in {time.monotonic() - begin:.0f} s")


def main():
    parser = parser_of(__doc__)
    parser.add_argument("--steps", type=int, help="of the first scene; 100, with pictures 400")
    parser.add_argument("--scene", choices=SCENES, action="append", help="only these scenes")
    arguments = parser.parse_args()
    arguments.steps = arguments.steps or (400 if arguments.shots else 100)
    play(arguments, {name: SCENES[name] for name in arguments.scene or DEFAULT_SCENES})


if __name__ == "__main__":
    main()
