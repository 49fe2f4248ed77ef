#!/usr/bin/env python3
"""The first README command without a window: trains, the loss falls, forgetting is shown, the certificate passes.

    quickstart_test.py --temper PROGRAM [--max-seconds 180]
"""
import argparse
import pathlib
import tempfile
import time

import temper_cli
from temper_cli import check, last


def body(args, work):
    temper = temper_cli.Temper(args.temper)
    begin = time.monotonic()
    events = temper.run("quickstart", "--headless", "--dir", work / "quickstart")
    seconds = time.monotonic() - begin
    done = last(events, "finished")
    check("the run finished", done and done["status"] == "finished", steps=done and done["steps"])
    check("the validation loss falls by half", done["final_loss"] < 0.5 * done["base_loss"], base=done["base_loss"],
          final=done["final_loss"])
    check("forgetting is measured", isinstance(done["forgetting"], float), nats=done["forgetting"])
    sets = {e["set"] for e in events if e.get("event") == "probe"}
    check("four probe sets were measured", len(sets) == 4, sets=sorted(sets))
    certificates = [e for e in events if e.get("event") == "certificate"]
    check("every export has a passed certificate", certificates and all(c["pass"] for c in certificates),
          formats=[c["format"] for c in certificates])
    written = [pathlib.Path(e["path"]) for e in events if e.get("event") == "written"]
    check("what was written is there", written and all(path.exists() for path in written), files=len(written))
    check(f"in under {args.max_seconds} seconds", seconds < args.max_seconds, seconds=f"{seconds:.0f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--max-seconds", type=float, default=180)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
