#!/usr/bin/env python3
"""The benches that start this program again: every case of theirs answers, and their tables are whole.

    bench_test.py --temper PROGRAM [--model builtin:starter] [--data builtin:starter-data]

Nothing here judges a time: only that what was asked for was measured, in the order in which it happens.
"""
import argparse
import json
import pathlib
import tempfile

import temper_cli
from temper_cli import check, last


def number(value):
    return isinstance(value, (int, float)) and value > 0


def loads(temper, args, work):
    project = temper_cli.write_project(work / "project", args.model, args.data, train={"steps": 4},
                                       keep={"probes": ["builtin:prose"]}, samples={"prompts": ["Hello"]})
    table = last(temper.run("bench", "load", "--model", args.model, "--project", project), "figures")
    check("the table of loading", table and table["what"] == "load" and len(table["rows"]) == 5, rows=len(table["rows"]))
    for row in table["rows"][:2]:
        check(f"{row[0]}: every part was measured", all(number(value) for value in row[1:]))
    for row in table["rows"][2:]:
        ready, begun, done = row[1], row[4], row[5]
        check(f"{row[0]}: ready, then begun, then done", 0 < ready <= begun <= done)
    check("the project itself was left alone", [path.name for path in project.iterdir()] == ["project.toml"])


def scales(temper, args):
    words = ["bench", "scale", "--model", args.model, "--table", "threads", "--table", "batch", "--quick", "--steps", 2,
             "--threads", 2]
    table = last(temper.run(*words), "figures")
    columns = table["columns"]
    rows = [dict(zip(columns, row)) for row in table["rows"]]
    check("one row a case", [row["table"] for row in rows] == ["threads"] * 2 + ["batch"] * 3)
    check("every case was measured", all(number(row["tokens/s"]) and number(row["peak memory, MiB"]) for row in rows))
    check("threads and rows are those asked for", [row["threads"] for row in rows[:2]] == [1, 2]
          and [row["rows"] for row in rows[2:]] == [1, 2, 4])
    expected = [row["expected, ms a token"] for row in rows]
    check("the first of a table is what the others are expected from", expected[0] is None and expected[2] is None
          and all(number(value) for value in (expected[1], expected[3], expected[4])))
    temper.run("bench", "scale", "--table", "nonsense", ok=False)
    check("an unknown table is a usage problem", temper.exit_code == 2, exit_code=temper.exit_code)


def rows_of_data(temper, args, work):
    dump = work / "rows.jsonl"
    words = ["bench", "train", "--model", args.model, "--data", args.data, "--pack", "--row-tokens", "8-200", "--batch", 1,
             "--seq", 256, "--steps", 3, "--dump-rows", dump]
    figures = last(temper.run(*words), "bench")
    steps = [json.loads(line)["rows"] for line in dump.read_text().splitlines()]
    counted = [len(row["ids"]) for rows in steps[1:] for row in rows]
    check("the tokens counted are those that were written down", len(steps) == 3
          and abs(figures["tokens_per_step"] - sum(counted) / 2) <= 0.5, tokens=figures["tokens_per_step"], fed=counted)
    lengths = [end - start for rows in steps for row in rows for start, end in zip(row["borders"], row["borders"][1:])]
    check("only rows of the wanted length", lengths and min(lengths) >= 8 and max(lengths) <= 200)
    temper.run("bench", "train", "--data", args.data, "--row-tokens", "9", ok=False)
    check("a span that is none is a usage problem", temper.exit_code == 2, exit_code=temper.exit_code)


def body(args, work):
    temper = temper_cli.Temper(args.temper)
    rows_of_data(temper, args, work)
    loads(temper, args, work)
    scales(temper, args)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--model", default="builtin:starter")
    parser.add_argument("--data", default="builtin:starter-data")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
