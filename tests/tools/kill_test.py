#!/usr/bin/env python3
"""Kills a training run at random steps and demands that resuming gives the same bytes as never having been killed.

    kill_test.py --temper PROGRAM --model MODEL --data DATA [--repeat 50] [--steps 24] [--seed 1] [--max-tokens 64]

One run is left alone and its weights are hashed. Then, REPEAT times in a fresh project: train, kill -9 after a random
step (and sometimes in the middle of writing a checkpoint), `train --resume last`, and compare: the final weights have
the same hash, the database is whole, and every step up to the last checkpoint is still recorded with the same loss.
"""
import argparse
import contextlib
import json
import pathlib
import random
import shutil
import signal
import sqlite3
import tempfile

import temper_cli
from temper_cli import Failed, check, last


def losses(events):
    return {e["step"]: e["train_loss"] for e in events if e.get("event") == "step"}


def final_hash(events):
    done = last(events, "finished")
    if not done or done["status"] != "finished":
        raise Failed(f"the run did not finish: {done}")
    return temper_cli.sha256_of_folder(done["adapter"])


def killed(temper, project, step, delay_lines):
    """Trains until `step` was reported and `delay_lines` more lines came, then kills. Gives the events seen."""
    process = temper.start("train", project)
    seen, left = [], None
    for line in process.stdout:
        seen.append(json.loads(line))
        if left is None and seen[-1].get("event") == "step" and seen[-1]["step"] >= step:
            left = delay_lines
        if left is not None:
            if left == 0:
                break
            left -= 1
    process.send_signal(signal.SIGKILL)
    process.stdout.close()
    process.wait()
    return seen


def database_is_whole(project):
    with contextlib.closing(sqlite3.connect(f"file:{project / 'temper.db'}?mode=ro", uri=True)) as database:
        return database.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def body(args, work):
    temper = temper_cli.Temper(args.temper)
    keys = {"steps": args.steps, "checkpoint_steps": args.checkpoint_steps, "threads": args.threads}

    def project(name):
        return temper_cli.write_project(work / name, args.model, args.data, train=keys, data={"max_tokens": args.max_tokens})

    reference = temper.run("train", project("reference"))
    wanted, wanted_losses = final_hash(reference), losses(reference)
    check("the reference run reports every step", sorted(wanted_losses) == list(range(1, args.steps + 1)))
    rng = random.Random(args.seed)
    resumed_from = []
    for index in range(args.repeat):
        folder = project(f"killed-{index}")
        step = rng.randint(1, args.steps - 1)
        before = killed(temper, folder, step, rng.randint(0, 2))
        saved = max((e["step"] for e in before if e.get("event") == "checkpoint"), default=0)
        first, newest, count = recorded(folder)
        if newest < saved or (count and count != newest - first + 1) or (saved and first != 1):
            raise Failed(f"killed after step {step}: checkpoint {saved}, but the database holds {first}..{newest} ({count})")
        after = temper.run("train", folder, "--resume", "last")
        got = final_hash(after)
        steps = losses(after)
        if got != wanted:
            raise Failed(f"killed after step {step}: the final weights differ")
        wrong = [s for s, loss in {**losses(before), **steps}.items() if loss != wanted_losses[s]]
        if wrong:
            raise Failed(f"killed after step {step}: the losses of steps {wrong[:5]} differ")
        if steps and min(steps) > saved + args.checkpoint_steps + 1:
            raise Failed(f"killed after step {step}: resumed at {min(steps)} although {saved} was the last checkpoint")
        if not database_is_whole(folder):
            raise Failed(f"killed after step {step}: the database is damaged")
        if recorded(folder) != (1, args.steps, args.steps):
            raise Failed(f"killed after step {step}: after resuming the database holds {recorded(folder)}")
        resumed_from.append(min(steps, default=args.steps) - 1)
        shutil.rmtree(folder)
    check(f"{args.repeat} kills: same bytes, same losses, whole databases", True,
          resumed_from=f"{min(resumed_from)}..{max(resumed_from)}")


def recorded(project):
    """(first, last, number) of the steps whose training loss is in the database, for its newest run."""
    query = """SELECT MIN(b.first_step), MAX(b.last_step), SUM(b.count) FROM series s JOIN blocks b USING (series)
               WHERE s.name = 'train_loss' AND b.level = 0 GROUP BY s.run ORDER BY s.run DESC LIMIT 1"""
    # opened for writing, so that what the killed engine left in the write-ahead log is taken in; closed here and not by
    # the garbage collector, which would remove the log while the folder is being deleted
    with contextlib.closing(sqlite3.connect(project / "temper.db")) as database:
        return database.execute(query).fetchone() or (0, 0, 0)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--repeat", type=int, default=50)
    parser.add_argument("--steps", type=int, default=24)
    parser.add_argument("--checkpoint-steps", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
