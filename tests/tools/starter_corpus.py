#!/usr/bin/env python3
"""Builds the text that the starter model is trained on, and the held-out text that it is measured on.

    starter_corpus.py --kit DIR [--out projects/starter-pretrain/data]

Writes train/{prose,chat,arithmetic,code}.jsonl and heldout/{the same}.jsonl: about 12 MB of rows, each short enough for
the model's context of 512 tokens. `chat` has `messages`, the others `text`. Also tokenizer.txt, the plain text that the
tokenizer is made from, and sources.json with the hash and size of every file. Deterministic.

Left out of everything here: the addresses, chapters, topics and generated rows of the bundled probes.
"""
import argparse
import json
import pathlib
import random
import re
import sys

import make_probes
import textkit

SEED = 2026
CHAT_ROWS, ARITHMETIC_ROWS = 16_000, 14_000
HELD_CHAT, HELD_ARITHMETIC = 500, 500
PROSE_CHARS, CODE_CHARS = 1300, 700
# packages under permissive licences; the code probe's own package is not among them
CODE_PACKAGES = [("x_toolz", "toolz"), ("x_sortedcontainers", "sortedcontainers"), ("x_boltons", "boltons")]
HELD_CODE = {"dicttoolz.py", "sorteddict.py", "timeutils.py"}
GREETINGS = [("Hello!", "Hello! How can I help you?"), ("Good morning.", "Good morning! What can I do for you?"),
             ("Hi there", "Hi! What would you like to know?"), ("Thank you!", "You are welcome."),
             ("Thanks, that helped.", "I am glad that it helped."), ("Goodbye.", "Goodbye, and have a good day."),
             ("Who are you?", "I am a small language model that was trained by Temper."),
             ("What can you do?", "I can answer short questions, sort words and do small sums."),
             ("Are you a person?", "No, I am a small language model."),
             ("Can you help me?", "Yes, tell me what you need.")]


def prose(kit):
    """(train, held out) rows of text."""
    train, held = [], []
    for name, text in textkit.addresses(kit):
        if name not in textkit.PROBE_ADDRESSES:
            (held if name in textkit.HELD_ADDRESSES else train).extend(textkit.pieces(text, PROSE_CHARS))
    for number, text in textkit.chapters(kit):
        if number not in textkit.PROBE_CHAPTERS:
            (held if number in textkit.HELD_CHAPTERS else train).extend(textkit.pieces(text, PROSE_CHARS))
    return train, held


def chat(kit, rng):
    """(train, held out) rows of messages: generated requests, dialogues, a few with two exchanges."""
    taken = set(make_probes.instruction_rows(kit))
    made = textkit.unique(textkit.instruction, rng, CHAT_ROWS, taken)
    spoken = [(textkit.tidy_question(q), a) for _, q, a in textkit.dialogues(kit, without=textkit.PROBE_TOPICS)
              if textkit.fit_for_bundling(q, a) and len(a) < 900]
    held_made, made = made[:HELD_CHAT], made[HELD_CHAT:]
    held_spoken, spoken = spoken[::20], [pair for i, pair in enumerate(spoken) if i % 20]
    pairs = made + 3 * spoken + 30 * GREETINGS
    rng.shuffle(pairs)
    rows, i = [], 0
    while i < len(pairs):
        many = 2 if rng.random() < 0.2 and i + 1 < len(pairs) else 1
        rows.append(textkit.messages(*(turn for pair in pairs[i:i + many] for turn in pair)))
        i += many
    return rows, [textkit.messages(*pair) for pair in textkit.interleave([held_made, held_spoken])]


def arithmetic(rng):
    """(train, held out) rows of text, six problems each."""
    taken = set(make_probes.arithmetic_rows())
    rows = textkit.unique(textkit.arithmetic, rng, ARITHMETIC_ROWS + HELD_ARITHMETIC, taken)
    rng.shuffle(rows)
    pack = lambda part: ["\n\n".join(part[i:i + 6]) for i in range(0, len(part), 6)]  # noqa: E731
    return pack(rows[HELD_ARITHMETIC:]), pack(rows[:HELD_ARITHMETIC])


def code(kit):
    """(train, held out) rows of source code."""
    train, held = [], []
    for folder, package in CODE_PACKAGES:
        files = [f for f in sorted((kit / folder / package).rglob("*.py")) if "tests" not in f.parts]
        assert files, f"{package} is missing: run kit.py"
        for file in files:
            text = file.read_text(encoding="utf-8").replace("\r\n", "\n")
            # a licence block at the head is no code to learn from; the notices are in packaging/licences
            text = re.sub(r"\A(?:#[^\n]*\n)+", "", text)
            (held if file.name in HELD_CODE else train).extend(textkit.blocks(text, CODE_CHARS))
    return [row for row in train if len(row) > 40], [row for row in held if len(row) > 40]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kit", type=pathlib.Path, required=True, help="folder that kit.py filled")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("projects/starter-pretrain/data"))
    args = parser.parse_args()
    rng = random.Random(SEED)
    parts = {"prose": prose(args.kit), "chat": chat(args.kit, rng), "arithmetic": arithmetic(rng), "code": code(args.kit)}
    sources = {}
    plain = []
    for name, (train, held) in parts.items():
        for split, rows in (("train", train), ("heldout", held)):
            if name != "chat":
                rows = [{"text": row} for row in rows]
            if split == "train":
                rng.shuffle(rows)
                plain += [row["text"] if "text" in row else "\n".join(m["content"] for m in row["messages"])
                          for row in (rows if name != "prose" else rows[::2])]
            path = args.out / split / f"{name}.jsonl"
            textkit.write_rows(path, rows)
            sources[f"{split}/{name}.jsonl"] = {"bytes": path.stat().st_size, "rows": len(rows),
                                                "sha256": textkit.sha256(path)}
    textkit.write_text(args.out / "tokenizer.txt", "\n".join(plain) + "\n")
    textkit.write_text(args.out / "sources.json", json.dumps(sources, indent=2, sort_keys=True) + "\n")
    json.dump(sources, sys.stdout, indent=2)
    print()


if __name__ == "__main__":
    main()
