"""What must survive in the real window: an engine that is killed under the room Watch, and a run database that is damaged.

Scenes: `engine` (the engine of a live run is killed: the window says so, offers to go on, and the same run is trained to
its end), `database` (the database of that project is overwritten while the window is closed: the window opens, says what
is wrong without changing a byte, repairs when it is asked to, keeps the damaged file and lists the run again). That a
window may die under a run is a scene of window_e2e.py, whose stage this uses.

    python3 tests/tools/window_kill_test.py --temper BINARY --model FOLDER --data FILE --python VENV_PYTHON [--shots DIR]
"""
import argparse
import hashlib
import os
import re
import signal
import sys
import tempfile
import time

import window
from window import Failed
from window_e2e import Stage, check, engines, runs_of, until

STEPS = 120
# Often enough that a kill soon after the start finds one, and rare enough that steps are lost by it.
CHECKPOINT_STEPS = 10


def new_project(stage, folder):
    """A project with many checkpoints, written on the command line."""
    stage.cli("new", folder, "--model", stage.model, "--data", stage.data)
    file = folder / "project.toml"
    text = file.read_text()
    for key, value in [("steps", STEPS), ("batch", 2), ("checkpoint_steps", CHECKPOINT_STEPS)]:
        text, found = re.subn(rf"^{key} = .*$", f"{key} = {value}", text, count=1, flags=re.M)
        if not found:
            text = re.sub(r"^\[train\]$", f"[train]\n{key} = {value}", text, count=1, flags=re.M)
    file.write_text(text)


def digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def engine(stage):
    """The engine dies; the run goes on from its last checkpoint when the person says so."""
    stage.project = stage.work / "killed-engine"
    new_project(stage, stage.project)
    opened = stage.open(stage.project)
    try:
        opened.press("Setup", "page tab")
        opened.wait_enabled("Train", "push button", 120)
        opened.press("Train", "push button")
        opened.wait("live", "label", 120)
        run = until("the run is past a checkpoint",
                    lambda: next((run for run, _, step in runs_of(stage.project) if step >= CHECKPOINT_STEPS + 2), None), 240)
        for process in engines(stage.binary):
            os.kill(process, signal.SIGKILL)
        opened.wait("Training stopped at step [0-9,]+: the engine stopped unexpectedly .*", seconds=60)
        opened.wait("interrupted", "label")
        check("the window lives and says that the engine is gone", opened.process.poll() is None)
        stage.shot(opened, "28-engine-killed-dark")
        stage.small_shot(opened, "29-engine-killed-dark-1024")
        opened.press("Go on from the last checkpoint", "push button")
        opened.wait("live", "label", 120)
        opened.wait_gone("Training stopped at step .*")
        stage.shot(opened, "30-engine-killed-went-on")
        opened.wait("finished", "label", 400)
        runs = runs_of(stage.project)
        check("the same run was trained to its end", runs == [(run, "finished", STEPS)], runs=runs)
    finally:
        opened.close()
    until("the engine ends by itself", lambda: not engines(stage.binary), 60)


def database(stage):
    """The database is overwritten; nothing is changed before the person asks, and the damaged file stays."""
    folder = stage.project
    file = folder / "temper.db"
    for companion in ["temper.db-wal", "temper.db-shm"]:
        (folder / companion).unlink(missing_ok=True)
    with open(file, "r+b") as raw:
        raw.write(b"this is no database any more " * 512)
    damaged = digest(file)
    opened = stage.open(folder)
    try:
        opened.press("Watch", "page tab")
        opened.wait("(?s).*database.*damaged.*", seconds=60)
        opened.wait("Repair the run database", "push button")
        stage.shot(opened, "31-database-damaged-dark")
        stage.small_shot(opened, "32-database-damaged-dark-1024")
        check("looking changed nothing", digest(file) == damaged)
        opened.press("Repair the run database", "push button")
        opened.wait("finished", "label", 60)
        opened.wait_gone("Repair the run database", "push button")
        stage.shot(opened, "33-database-repaired-dark")
        kept = sorted(path.name for path in folder.glob("temper.db.damaged-*") if digest(path) == damaged)
        check("the damaged file is kept as it was", kept == ["temper.db.damaged-1"], kept=kept)
        runs = runs_of(folder)
        check("the run is listed again", [(status, step) for _, status, step in runs] == [("finished", STEPS)], runs=runs)
        opened.press("Export…", "push button")
        opened.wait("Targets.*")
        opened.press("Target PEFT adapter", "radio button")
        opened.keys("ctrl+e")
        opened.wait("Passed: PEFT adapter", seconds=120)
        check("what the run learned is exported", True)
    finally:
        opened.close()


SCENES = {"engine": engine, "database": database}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--temper", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--python", default=sys.executable, help="a Python with python-xlib, for the drops")
    parser.add_argument("--shots", help="keep screenshots in this folder")
    arguments = parser.parse_args()
    window.in_session()
    begin = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        stage = Stage(arguments, work)
        try:
            for name, scene in SCENES.items():
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


if __name__ == "__main__":
    main()
