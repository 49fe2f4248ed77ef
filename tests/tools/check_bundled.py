#!/usr/bin/env python3
"""The bundled texts are what their scripts make: probes, the shop's data set, the starter's tokenizer.

    check_bundled.py --kit DIR --tokenizer PROGRAM

Runs make_probes.py, starter_data.py and starter_corpus.py into a temporary folder and PROGRAM (the example
starter_tokenizer) on the corpus, and compares every byte with assets/. Also proves that the corpus holds no probe text.
"""
import argparse
import filecmp
import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ASSETS = HERE.parents[1] / "assets"


def shingles(text, words=12):
    """Every run of twelve words."""
    found = re.findall(r"\w+", text.lower())
    return {" ".join(found[i:i + words]) for i in range(len(found) - words + 1)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", type=pathlib.Path, required=True)
    parser.add_argument("--tokenizer", type=pathlib.Path, required=True)
    args = parser.parse_args()
    bad = []
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        run = lambda *command: subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)  # noqa: E731
        run(sys.executable, HERE / "make_probes.py", "--kit", args.kit, "--out", work / "probes")
        run(sys.executable, HERE / "starter_data.py", "--out", work / "starter/data.jsonl")
        run(sys.executable, HERE / "starter_corpus.py", "--kit", args.kit, "--out", work / "corpus")
        run(args.tokenizer, work / "corpus/tokenizer.txt", work / "starter/tokenizer.json")
        for made in sorted([*(work / "probes").iterdir(), *(work / "starter").iterdir()]):
            kept = ASSETS / made.relative_to(work)
            if not kept.is_file() or not filecmp.cmp(made, kept, shallow=False):
                bad.append(f"{kept.relative_to(ASSETS.parent)} is not what its script makes")
        corpus = "\n".join(path.read_text(encoding="utf-8") for path in sorted((work / "corpus/train").glob("*.jsonl")))
        known = shingles(corpus)
        for name in ("prose.txt", "code.txt", "instructions.jsonl"):
            text = (ASSETS / "probes" / name).read_text(encoding="utf-8")
            if name.endswith(".jsonl"):
                rows = [json.loads(line)["messages"] for line in text.splitlines()]
                text = "\n".join(" ".join(turn["content"] for turn in row) for row in rows)
            mine = shingles(text)
            share = len(mine & known) / max(len(mine), 1)
            print(f"{name}: {share:.2%} of its runs of twelve words are in the corpus")
            # formulas of the old addresses and fixed phrases of the generated requests are shared, whole passages not
            if share > 0.05:
                bad.append(f"{name}: {share:.1%} stands in the training text")
    print("\n".join(f"BAD {line}" for line in bad) or "all bundled files are what their scripts make")
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
