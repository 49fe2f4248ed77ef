#!/usr/bin/env python3
"""Methods race on the starter: rounds, standings, who drops out, the runs behind them, and orders that cannot be run.

    race_test.py --temper BINARY
"""
import argparse
import pathlib
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

    alone = project_at(work / "alone")
    done = temper_cli.last(temper.run("train", alone, "--method", won[0]["method"]), "finished")
    check("the winner is what it would have been alone", abs(done["final_loss"] - won[0]["loss"]) < 1e-4,
          alone=done["final_loss"], race=won[0]["loss"])

    refused(temper, "one method cannot race", "1 methods cannot race", project, "--race", "lora")
    refused(temper, "a method twice", "named twice", project, "--race", "lora,lora")
    refused(temper, "an unknown method", "loro", project, "--race", "lora,loro")
    refused(temper, "epochs", "counts epochs", project, "--race", "lora,ia3", "--set", "train.epochs=1")
    refused(temper, "too few steps", "too few", project, "--race", "lora,ia3,miss", "--set", "train.steps=1")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(temper_cli.Temper(args.temper), pathlib.Path(work)))


if __name__ == "__main__":
    main()
