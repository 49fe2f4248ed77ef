#!/usr/bin/env python3
"""Memory of a long run stays flat: the peak at the last step is within 2 % of the peak at step 20.

    memory_test.py --temper PROGRAM --model MODEL --data DATA [--steps 500] [--max-tokens 64] [--limit 0.02]
"""
import argparse
import pathlib
import tempfile

import temper_cli
from temper_cli import check, last


def body(args, work):
    temper = temper_cli.Temper(args.temper)
    project = temper_cli.write_project(work / "project", args.model, args.data,
                                       train={"steps": args.steps, "checkpoint_steps": 0, "eval_steps": 0},
                                       data={"max_tokens": args.max_tokens})
    events = temper.run("train", project)
    done = last(events, "finished")
    check("the run finished", done and done["status"] == "finished" and done["steps"] == args.steps)
    peak, peaks = 0.0, {}
    for event in events:
        if event.get("event") == "step":
            peak = max(peak, event["rss_mib"])
            peaks[event["step"]] = peak
    growth = peaks[args.steps] / peaks[20] - 1
    check(f"peak grows by at most {args.limit:.0%}", growth <= args.limit, growth=f"{growth:.2%}", at_20=peaks[20],
          at_end=peaks[args.steps], tokens_per_sec=done["tokens_per_sec"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--max-tokens", type=int, default=64)
    parser.add_argument("--limit", type=float, default=0.02)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
