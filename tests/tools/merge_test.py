#!/usr/bin/env python3
"""Every method that leaves as a whole model, merged on a real one: trained for some steps, exported as a Hugging Face
folder in f32, and the certificate's difference of logits (an independent reading of the files against the adapter in
memory) held to 1e-4 of the largest logit.

    merge_test.py --temper BINARY --model FOLDER --data FILE [--only id,id] [--json REPORT]
"""
import argparse
import json
import pathlib
import shutil
import tempfile
import time

import temper_cli
from temper_cli import Failed, check

LIMIT = 1e-4
# Methods that live on a rounded base are proved on one.
BASES = {"int2.1": "int3", "eora": "int3", "pela": "nf4", "sketchtune": "int4", "lq-lora": "nf4"}
# What the model has no place for: its layers have no biases.
REFUSED = {"bitfit": "bias"}


# Enough for the change of every method to stand above the rounding of f32: after two steps IncreLoRA, which starts at
# rank one, has moved the logits by so little that 2.5 % of it is rounding, and its certificate says so.
STEPS = 6


def one(temper, name, args, work):
    """Trains and merges one method; what was measured."""
    train = {"steps": STEPS, "lr_peak": 2e-3, "warmup_steps": 1, "checkpoint_steps": STEPS, "eval_rows": 2}
    base = ["--set", f"model.base={BASES[name]}"] if name in BASES else []
    project = temper_cli.write_project(work / "project", args.model, args.data, train=train, method={"id": name},
                                       data={"max_tokens": 64})
    begun = time.monotonic()
    done = temper_cli.last(temper.run("train", project, *base, ok=name not in REFUSED), "finished")
    if name in REFUSED and not (done and done["status"] == "finished"):
        return {"refused": True}
    check(f"{name}: the run finished", done and done["status"] == "finished")
    out = work / "hf"
    events = temper.run("export", "last", "--project", project, "--format", "hf", "--dtype", "f32", "--out", out, ok=False)
    problem = temper_cli.last(events, "error")
    if name in REFUSED:
        check(f"{name}: refused with the reason", problem and REFUSED[name] in problem["what"], error=problem)
        return {"refused": True}
    certificate = temper_cli.last(events, "certificate")
    check(f"{name}: exported", certificate and certificate["pass"], error=problem, certificate=certificate)
    relative = certificate["relative_diff"]
    secs = round(time.monotonic() - begun, 1)
    check(f"{name}: merged equals unmerged", relative <= LIMIT, relative=relative, secs=secs)
    return {"relative_diff": relative, "secs": secs}


def body(args):
    temper = temper_cli.Temper(args.temper)
    kinds = ("adapter", "insertion")
    methods = [event["id"] for event in temper.run("methods")
               if event.get("event") == "method" and event["kind"] in kinds and "hf" in event["exports_as"]]
    check("methods that leave as a whole model", len(methods) >= 30, count=len(methods))
    wanted = set(filter(None, args.only.split(",")))
    report, failed = {}, []
    for name in methods:
        if wanted and name not in wanted:
            continue
        work = pathlib.Path(tempfile.mkdtemp())
        try:
            report[name] = one(temper, name, args, work)
        except Failed as failure:
            failed.append(f"{name}: {failure}")
        finally:
            shutil.rmtree(work)
    if args.json:
        args.json.write_text(json.dumps(report, indent=1))
    check("every method", not failed, failed=failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--data", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="ids of methods, with commas")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    temper_cli.main(lambda: body(args))


if __name__ == "__main__":
    main()
