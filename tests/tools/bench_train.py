#!/usr/bin/env python3
"""Speed and memory of a training step beside PyTorch + transformers + PEFT on the same machine, in turn.

    bench_train.py --temper PROGRAM --model HF_FOLDER [--gguf FILE] [--chat ROWS] [--rounds 3] [--steps 8] [--case WORD ...]

Each round measures every case with both programs, one after the other, so that a noisy machine disturbs both; a case is
the median of its rounds, and what is printed are ratios with their smallest and largest value. Run it on an idle machine.
Needs the judges' Python (torch, transformers, peft). Random tokens, every position trained, two threads; with --chat
also conversations of 20 to 120 tokens of which only the answers are trained: ours packed into rows of 512 tokens, PEFT's
once the same rows in the same order padded to the longest of 8, once the same packed rows (peft_rows.py). Their speed is
in useful tokens: padding does not count.
"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent

# name: (arguments of temper bench train, arguments of peft_baseline.py train; none when there is no counterpart)
CASES = {
    "LoRA 16, 4 x 256": (["--rank", 16], ["--rank", 16]),
    "LoRA 16, 4 x 256, recomputed": (["--rank", 16, "--recompute"], ["--rank", 16, "--ckpt"]),
    "LoRA 16 on the last 8 of 30 layers, 4 x 256, later epochs": (
        ["--rank", 16, "--set", "layers=22-", "--keep-prefix"], ["--rank", 16, "--last", 8]),
    "full, 4 x 256": (["--method", "full"], ["--rank", 0]),
    "LoRA 16 over Q4_1, 4 x 256, recomputed": (["--rank", 16, "--recompute"], None),
}


def ours(args, model, extra):
    words = ["bench", "train", "--model", model, "--steps", args.steps, "--threads", 2, *extra]
    if "--batch" not in extra:
        words += ["--batch", 4, "--seq", 256]
    done = subprocess.run([str(args.temper), *map(str, words), "--json"], capture_output=True, text=True)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    found = [event for event in events if event["event"] == "bench"]
    if not found:
        raise SystemExit(f"temper {words}: {done.stdout[-500:]}{done.stderr[-500:]}")
    return found[0]


def theirs(args, extra):
    words = ["train", args.model, "--bs", 4, "--seq", 256, "--steps", args.steps, "--threads", 2, *extra]
    done = subprocess.run([sys.executable, str(HERE / "peft_baseline.py"), *map(str, words)], capture_output=True, text=True)
    line = re.search(r"tokens_per_s ([\d.]+) cpu_s_per_step ([\d.]+) peak_rss_mib (\d+)", done.stdout)
    if not line:
        raise SystemExit(f"peft_baseline.py {words}: {done.stdout[-500:]}{done.stderr[-1500:]}")
    return {"tokens_per_sec": float(line[1]), "peak_rss_mib": float(line[3])}


def chat(args):
    """One round over chat rows: ours, PEFT's padded, PEFT's packed."""
    with tempfile.TemporaryDirectory() as folder:
        dump = pathlib.Path(folder) / "rows.jsonl"
        mine = ours(args, args.model, ["--rank", 16, "--data", args.chat, "--pack", "--row-tokens", "20-120",
                                       "--batch", 1, "--seq", 512, "--dump-rows", dump])
        others = []
        for mode in ("padded", "packed"):
            words = [args.model, dump, "--mode", mode, "--steps", args.steps]
            done = subprocess.run([sys.executable, str(HERE / "peft_rows.py"), *map(str, words)], capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"peft_rows.py {words}: {done.stdout[-500:]}{done.stderr[-1500:]}")
            others.append(json.loads(done.stdout.splitlines()[-1]))
    apart = abs(mine["losses"][0] - others[1]["first_loss"])
    if apart > 2e-3:
        raise SystemExit(f"the first losses of the same packed rows are {apart} apart: not the same work")
    return mine, *others


def chat_rounds(args):
    rounds = []
    for _ in range(args.rounds):
        rounds.append(chat(args))
        mine, by_8, packed = rounds[-1]
        keys = ("tokens_per_sec", "tokens_per_step", "padding_share", "peak_rss_mib")
        print(json.dumps({"case": "chat rows", **{name: {key: figures[key] for key in keys} for name, figures in (
            ("ours", mine), ("padded by 8", by_8), ("packed", packed))}}), flush=True)
    print(f"chat rows: {spread([mine['tokens_per_sec'] for mine, _, _ in rounds], 1)} useful tokens/s, "
          f"{spread([mine['peak_rss_mib'] for mine, _, _ in rounds], 0)} MiB")
    for name, which in (("padded by 8", 1), ("with the same packed rows", 2)):
        of = lambda key: spread([figures[0][key] / figures[which][key] for figures in rounds])
        print(f"    of PEFT's {name}: speed {of('tokens_per_sec')}, memory {of('peak_rss_mib')}")


def spread(values, digits=2):
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--gguf")
    parser.add_argument("--chat", help="a data file of conversations")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=8, help="the first is not counted")
    parser.add_argument("--case", action="append", help="only cases whose name contains it")
    args = parser.parse_args()
    chosen = {name: case for name, case in CASES.items() if not args.case or any(word in name for word in args.case)}
    figures = {name: [] for name in chosen}
    for _ in range(args.rounds):
        for name, (own, reference) in chosen.items():
            if "Q4_1" in name and not args.gguf:
                continue
            mine = ours(args, args.gguf if "Q4_1" in name else args.model, own)
            other = theirs(args, reference) if reference is not None else None
            figures[name].append((mine, other))
            print(json.dumps({"case": name, "ours": {key: mine[key] for key in (
                "tokens_per_sec", "peak_rss_mib", "gemm_gflops", "gemm_fraction", "page_faults_per_step")},
                "theirs": other}), flush=True)
    for name, rounds in figures.items():
        if not rounds:
            continue
        print(f"{name}: {spread([mine['tokens_per_sec'] for mine, _ in rounds], 1)} tokens/s, "
              f"{spread([mine['peak_rss_mib'] for mine, _ in rounds], 0)} MiB, "
              f"{spread([mine['gemm_fraction'] for mine, _ in rounds])} of the matrix products' rate")
        if rounds[0][1]:
            print(f"    of PEFT's: speed {spread([m['tokens_per_sec'] / p['tokens_per_sec'] for m, p in rounds])}, "
                  f"memory {spread([m['peak_rss_mib'] / p['peak_rss_mib'] for m, p in rounds])}")
    if args.chat and (not args.case or any("chat" in word for word in args.case)):
        chat_rounds(args)


if __name__ == "__main__":
    main()
