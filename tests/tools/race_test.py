#!/usr/bin/env python3
"""Methods race on the starter: rounds, standings, who drops out, the runs behind them, and orders that cannot be run.

    race_test.py --temper BINARY
"""
import argparse
import json
import pathlib
import signal
import tempfile

import temper_cli
from temper_cli import check

TRAIN = {"steps": 8, "batch": 2, "lr_peak": 3e-3, "warmup_steps": 1, "checkpoint_steps": 0, "eval_rows": 24}


def project_at(folder, **train):
    return temper_cli.write_project(folder, "builtin:starter", "builtin:starter-data", train={**TRAIN, **train},
                                    data={"max_tokens": 48})


def refused(temper, name, words, *order):
    problem = temper_cli.last(temper.run("train", *order, ok=False), "error")
    check(name, problem and words in problem["what"], error=problem)


def body(temper, work):
    project = project_at(work / "race")
    events = temper.run("train", project, "--race", "lora,vera,miss,bitfit")
    rounds = [event for event in events if event["event"] == "race"]
    check("two rounds, the second twice as long", [(one["round"], one["step"]) for one in rounds] == [(1, 4), (2, 8)])
    first, second = (one["standings"] for one in rounds)
    lost = next(one for one in first if one["method"] == "bitfit")
    check("a method that cannot run says why and drops out", "bias" in (lost["refused"] or "") and not lost["stays"])
    ran = [one for one in first if not one["refused"]]
    check("three ran", len(ran) == 3 and sorted(one["run"] for one in ran) == [1, 2, 3])
    # The one that could not run is there too: its row says why.
    losses = [one["loss"] for one in ran]
    check("best first, differences to the best", losses == sorted(losses) and ran[0]["difference"] == 0
          and all(abs(one["difference"] - (one["loss"] - losses[0])) < 1e-9 and one["band"] > 0 for one in ran[1:]))
    stayed = [one["method"] for one in first if one["stays"]]
    check("the better half runs on", len(stayed) == 2 and sorted(stayed) == sorted(one["method"] for one in second))
    won = [one for one in second if one["stays"]]
    check("one has won", len(won) == 1 and won[0] == second[0])
    runs = {event["run"]: event for event in temper.run("runs", project) if event["event"] == "run"}
    check("the runs are ordinary ones", len(runs) == 4 and runs[won[0]["run"]]["steps"] == 8
          and runs[ran[-1]["run"]]["steps"] == 4, runs={run: event["steps"] for run, event in runs.items()})

    record = json.loads((work / "race" / "races" / "0001.json").read_text())
    check("the race is kept beside the runs", record["steps"] == 8 and record["end"] == {"how": "whole"}
          and [one["method"] for one in record["racers"]] == ["lora", "vera", "miss", "bitfit"]
          and [{"event": "race", **one} for one in record["rounds"]] == rounds, record=record)

    alone = project_at(work / "alone")
    done = temper_cli.last(temper.run("train", alone, "--method", won[0]["method"]), "finished")
    check("the winner is what it would have been alone", abs(done["final_loss"] - won[0]["loss"]) < 1e-4,
          alone=done["final_loss"], race=won[0]["loss"])

    refused(temper, "one method cannot race", "1 methods cannot race", project, "--race", "lora")
    refused(temper, "a method twice", "named twice", project, "--race", "lora,lora")
    refused(temper, "an unknown method", "loro", project, "--race", "lora,loro")
    refused(temper, "epochs", "counts epochs", project, "--race", "lora,ia3", "--set", "train.epochs=1")
    refused(temper, "too few steps", "too few", project, "--race", "lora,ia3,miss", "--set", "train.steps=1")


def final_hash(events):
    done = temper_cli.last(events, "finished")
    check("it finishes", done and done["status"] == "finished", finished=done)
    return temper_cli.sha256_of_folder(done["adapter"])


def cancelled(temper, work):
    """Ctrl-C in the second round: it is said, no run is lost, and each goes on as if it had been alone."""
    project = project_at(work / "cancelled", steps=24)
    process = temper.start("train", project, "--race", "lora,vera,miss,ia3")
    seen, inside = [], None
    for line in process.stdout:
        seen.append(json.loads(line))
        event = seen[-1]
        if temper_cli.last(seen, "race") and event["event"] == "progress" and event["unit"] == "steps" and event["done"] > 13:
            inside = event["stage"]
            break
    check("the second round was reached", inside is not None)
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=120)
    events = seen + temper_cli.events_of(rest)
    error = temper_cli.last(events, "error")
    rounds = [event for event in events if event["event"] == "race"]
    check("a race that is cancelled in its second round says so", error and error["code"] == "cancelled"
          and process.returncode not in (0, None) and len(rounds) == 1, error=error, code=process.returncode)
    standings = {one["method"]: one for one in rounds[0]["standings"]}
    rows = {event["run"]: event for event in temper.run("runs", project) if event["event"] == "run"}
    check("no run is lost", len(rows) == 4 and standings[inside]["stays"], rows=len(rows))
    record = json.loads((project / "races" / "0001.json").read_text())
    check("the race is kept as stopped, with the round it came to", record["end"] == {"how": "stopped"}
          and len(record["rounds"]) == 1 and all(one["run"] for one in record["racers"]), record=record)
    done = final_hash(temper.run("train", project, "--resume", standings[inside]["run"]))
    alone = project_at(work / "cancelled-alone", steps=24)
    usual = [] if inside == "lora" else ["--set", "train.lr_peak=0"]
    check("the run that was cut off goes on as if nothing had been",
          done == final_hash(temper.run("train", alone, "--method", inside, *usual)))
    again = [event for event in temper.run("train", project, "--race", "lora,miss") if event["event"] == "race"]
    check("the project can race again", len(again) == 1 and not any(one["refused"] for one in again[0]["standings"]))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper = temper_cli.Temper(args.temper)
        temper_cli.main(lambda: (body(temper, pathlib.Path(work)), cancelled(temper, pathlib.Path(work))))


if __name__ == "__main__":
    main()
