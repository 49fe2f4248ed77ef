#!/usr/bin/env python3
"""Runs on the starter leave as MLX adapters, and mlx-lm, which loads them itself, answers as the program does.

    mlx_test.py --temper BINARY        with a Python that has mlx-lm (see MLX_PACKAGES in lib.sh)
"""
import argparse
import pathlib
import subprocess
import sys
import tempfile

import temper_cli
from temper_cli import check

HERE = pathlib.Path(__file__).resolve().parent
STARTER = HERE.parents[1] / "assets" / "starter"
TRAIN = {"steps": 8, "batch": 2, "lr_peak": 3e-3, "warmup_steps": 1, "checkpoint_steps": 0, "eval_rows": 8}
# Some layers of some blocks; ranks that differ between layers; what starts away from nothing; no plain LoRA at all.
METHODS = {
    "part": {"id": "lora", "rank": 4, "alpha": 8, "targets": ["q_proj", "down_proj"], "layers": ["2-4"]},
    "ranks": {"id": "lamda++"},
    "pissa": {"id": "pissa"},
    "loha": {"id": "loha"},
}


def body(temper, work):
    tokens = temper_cli.write_tokens(STARTER / "tokenizer.json", work / "tokens.safetensors")
    for name, method in METHODS.items():
        project = temper_cli.write_project(work / name, STARTER, "builtin:starter-data", train=TRAIN, method=method,
                                           data={"max_tokens": 48})
        temper.run("train", project)
        adapter = temper.export("last", project, "mlx", work / f"{name}-mlx")
        ours = work / f"{name}.safetensors"
        temper.logits(STARTER, tokens, ours, project / "runs" / "0001")
        done = subprocess.run([sys.executable, HERE / "judge_mlx.py", "--base", STARTER, "--adapter", adapter, "--ours", ours],
                              capture_output=True, text=True)
        print(done.stdout, end="")
        check(f"mlx-lm agrees about {name}", done.returncode == 0, error=done.stderr[-500:] if done.returncode else "")
    problem = temper_cli.last(temper.run("export", "last", "--project", whole(temper, work), "--format", "mlx", "--out",
                                         work / "whole-mlx", ok=False), "error")
    check("whole weights are refused with what to do instead", problem and "low rank" in problem["what"]
          and "--format hf" in problem["action"], problem=problem)


def whole(temper, work):
    project = temper_cli.write_project(work / "whole", STARTER, "builtin:starter-data", train=TRAIN,
                                       method={"id": "full", "layers": ["5"]}, data={"max_tokens": 48})
    temper.run("train", project)
    return project


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        temper_cli.main(lambda: body(temper_cli.Temper(args.temper), pathlib.Path(folder)))
