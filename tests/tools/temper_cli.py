"""Drives the program from tests: writes projects, runs commands with --json, reads their events.

Every helper stops the script with the program's own words when a command fails that should not.
"""
import hashlib
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
from safetensors.numpy import load_file, save_file

TEXTS = ["The capital of France is", "My laptop screen is black. What can I do?", "In 1999 it cost 250 pounds, and now",
         "def add(a, b):\n    return", "<|im_start|>user\nWho wrote Hamlet?<|im_end|>\n<|im_start|>assistant\n"]


class Failed(Exception):
    """A check that did not hold; the text says which."""


def check(name, ok, **facts):
    print(f"[{'PASS' if ok else 'FAIL'}] {name} " + " ".join(f"{k}={v}" for k, v in facts.items()), flush=True)
    if not ok:
        raise Failed(name)


def write_project(folder, model, data_path, train=None, method=None, **tables):
    """A project.toml with the defaults of a short run; `train`, `method` and other tables replace single keys."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    project = {
        "model": {"path": str(model)},
        "data": {"train": [str(path) for path in ([data_path] if isinstance(data_path, (str, pathlib.Path)) else data_path)],
                 "validation": 0.1, "max_tokens": 128, "packing": True, "loss_on": "answers"},
        "method": {"id": "lora", "targets": "all-linear", "rank": 16, "alpha": 32},
        "train": {"steps": 12, "batch": 1, "accumulate": 1, "lr_peak": 2e-4, "warmup_steps": 2, "seed": 42, "threads": 0,
                  "recompute": "on", "checkpoint_steps": 4, "eval_steps": 0, "eval_rows": 40},
        "keep": {"probes": [], "every_steps": 0},
        "samples": {"prompts": []},
    }
    if (method or {}).get("id", "lora") != "lora":
        project["method"] = {}  # another method has other settings
    project["method"].update(method or {})
    project["train"].update(train or {})
    for name, keys in tables.items():
        project.setdefault(name, {}).update(keys)
    lines = ["schema = 1", f"name = {json.dumps(folder.name)}"]
    for table, keys in project.items():
        lines += ["", f"[{table}]"] + [f"{key} = {json.dumps(value)}" for key, value in keys.items()]
    (folder / "project.toml").write_text("\n".join(lines) + "\n")
    return folder


class Temper:
    """The program under test."""

    def __init__(self, binary):
        self.binary = str(pathlib.Path(binary).resolve())

    def command(self, *words):
        return [self.binary, *map(str, words), "--json"]

    def run(self, *words, ok=True, env=None):
        """Events of one command. With `ok` its exit code must be 0."""
        done = subprocess.run(self.command(*words), capture_output=True, text=True, env={**os.environ, **(env or {})})
        events = events_of(done.stdout)
        if ok and done.returncode != 0:
            problem = next((e for e in events if e.get("event") == "error"), None)
            raise Failed(f"temper {' '.join(map(str, words))}: exit code {done.returncode}: {problem or done.stderr[-2000:]}")
        self.exit_code = done.returncode
        return events

    def start(self, *words, **kw):
        return subprocess.Popen(self.command(*words), stdout=subprocess.PIPE, text=True, **kw)

    def logits(self, model, tokens, out, adapter=None):
        """Our logits for the cases of `tokens`, together with their inputs, in `out`."""
        extra = ["--adapter", adapter] if adapter else []
        self.run("logits", model, *extra, "--tokens", tokens, "--out", out)
        merged = {**load_file(out), **load_file(tokens)}
        save_file({k: np.ascontiguousarray(v) for k, v in merged.items()}, out, metadata={"format": "pt"})
        return merged

    def export(self, run, project, form, out, *extra):
        """Exports and demands a passed certificate."""
        # a refused certificate is exit code 1 as well: the check below says why
        events = self.run("export", run, "--project", project, "--format", form, "--out", out, *extra, ok=False)
        problem = last(events, "error")
        check(f"export as {form}", problem is None, problem=problem)
        certificate = last(events, "certificate")
        check(f"certificate of {form} {' '.join(extra)}", certificate and certificate["pass"],
              relative=certificate and certificate.get("relative_diff"), reasons=certificate and certificate.get("reasons"))
        return pathlib.Path(out)


def events_of(text):
    """JSON lines; a line that is none is an error, because scripts rely on it."""
    events = []
    for line in text.splitlines():
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            raise Failed(f"not a JSON line on standard output: {line[:200]}") from None
    return events


def last(events, kind):
    return next((e for e in reversed(events) if e.get("event") == kind), None)


def sha256_of_folder(folder, suffix=".safetensors"):
    """One hash over the names and bytes of the weight files of a folder (or of one file)."""
    folder = pathlib.Path(folder)
    digest = hashlib.sha256()
    files = [folder] if folder.is_file() else sorted(p for p in folder.rglob(f"*{suffix}"))
    if not files:
        raise Failed(f"no {suffix} file in {folder}")
    for path in files:
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def write_tokens(tokenizer_json, path, texts=TEXTS):
    """`<case>.input_ids` of a few texts, one case each."""
    import tokenizers
    tokenizer = tokenizers.Tokenizer.from_file(str(tokenizer_json))
    cases = {f"case{i}.input_ids": np.array([tokenizer.encode(text).ids], dtype=np.int64) for i, text in enumerate(texts)}
    save_file(cases, str(path), metadata={"format": "pt"})
    return path


def main(body):
    """Runs `body` and turns a failed check into exit code 1."""
    try:
        body()
    except Failed as failed:
        print(f"FAILED: {failed}", file=sys.stderr)
        sys.exit(1)
    print("all checks passed")
