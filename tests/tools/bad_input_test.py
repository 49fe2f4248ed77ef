#!/usr/bin/env python3
"""Bad input: each kind gets a clear error (what, where, what to do), exit code 1 or 2, and nothing is written or lost.

    bad_input_test.py --temper PROGRAM [--only WORD]

Every case is run, then the failed ones are listed. A crash (panic, signal) is never an answer.
"""
import argparse
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile

import numpy as np
import temper_cli
import tiny_model

CASES = {}


def case(function):
    CASES[function.__name__.replace("_", " ")] = function
    return function


class Bench:
    """A fresh folder with a tiny model and data for one case."""

    def __init__(self, binary, work):
        self.temper, self.work = temper_cli.Temper(binary), work
        self.data = work / "data.jsonl"
        shutil.copy(tiny_model.STARTER / "data.jsonl", self.data)

    def model(self, tensors=None, **config):
        return tiny_model.write_hf(self.work / "model", tensors, **config)

    def project(self, model, data=None, where="project", train=None, **tables):
        return temper_cli.write_project(self.work / where, model, data or self.data,
                                        train={"steps": 4, "checkpoint_steps": 2, **(train or {})}, **tables)

    def refused(self, *words, says=(), preexec=None, timeout=120):
        """Runs a command that must fail well: exit code 1 or 2, an error with all its parts, every word of `says`."""
        done = subprocess.run(self.temper.command(*words), capture_output=True, text=True, timeout=timeout, preexec_fn=preexec)
        events = temper_cli.events_of(done.stdout)
        error = temper_cli.last(events, "error")
        failed = temper_cli.last(events, "finished")
        if error is None and failed and failed.get("problem"):
            error = failed["problem"]
        assert done.returncode in (1, 2), f"exit code {done.returncode}: {done.stdout[-500:]} {done.stderr[-800:]}"
        assert error, f"no error event: {done.stdout[-800:]} {done.stderr[-500:]}"
        for part in ("what", "where", "action", "code"):
            assert error.get(part), f"the error has no {part}: {error}"
        text = json.dumps(error, ensure_ascii=False)
        for word in says:
            assert re.search(word, text, re.I), f"{word!r} is not said: {text}"
        assert "panicked" not in done.stderr, done.stderr[-800:]
        return error

    def untouched(self, folder, before):
        now = listing(folder)
        assert now == before, f"files changed: {sorted(set(now.items()) ^ set(before.items()))[:5]}"


def listing(folder):
    return {str(p.relative_to(folder)): p.stat().st_size for p in sorted(folder.rglob("*")) if p.is_file()}


def trains(bench, project):
    events = bench.temper.run("train", project)
    done = temper_cli.last(events, "finished")
    assert done and done["status"] == "finished", done
    return events


@case
def the_bench_itself_trains(bench):
    trains(bench, bench.project(bench.model()))
    trains(bench, bench.project(tiny_model.write_gguf(bench.work / "tiny.gguf"), where="from-gguf"))


@case
def truncated_safetensors(bench):
    file = bench.model() / "model.safetensors"
    whole = file.read_bytes()
    for share in (0, 7, len(whole) // 3, len(whole) - 1):
        file.write_bytes(whole[:share])
        project = bench.project(bench.work / "model")
        before = listing(project)
        bench.refused("train", project, says=[r"model\.safetensors"])
        bench.untouched(project, before)


@case
def flipped_bits_in_safetensors(bench):
    file = bench.model() / "model.safetensors"
    whole = file.read_bytes()
    project = bench.project(bench.work / "model")
    for position in (0, 3, 7, 8, 30, 64, 200):
        broken = bytearray(whole)
        broken[position] ^= 0x80
        file.write_bytes(broken)
        bench.refused("train", project, says=[r"model\.safetensors"])


@case
def truncated_gguf(bench):
    file = tiny_model.write_gguf(bench.work / "tiny.gguf")
    whole = file.read_bytes()
    project = bench.project(file)
    for share in (0, 3, 20, 5000, len(whole) // 2, len(whole) - 64):
        file.write_bytes(whole[:share])
        bench.refused("train", project, says=[r"tiny\.gguf"])


@case
def flipped_bits_in_gguf(bench):
    file = tiny_model.write_gguf(bench.work / "tiny.gguf")
    whole = file.read_bytes()
    project = bench.project(file)
    for position in (0, 4, 9, 17, 24):
        broken = bytearray(whole)
        broken[position] ^= 0x40
        file.write_bytes(broken)
        bench.refused("train", project, says=[r"tiny\.gguf"])


@case
def tensors_missing_extra_and_misshapen_are_named_together(bench):
    tensors = tiny_model.weights()
    del tensors["model.layers.0.mlp.up_proj.weight"], tensors["model.norm.weight"]
    tensors["model.layers.1.self_attn.k_proj.weight"] = np.zeros((16, 64), np.float32)
    tensors["model.layers.7.mlp.up_proj.weight"] = np.zeros((2, 2), np.float32)
    bench.refused("train", bench.project(bench.model(tensors)),
                  says=[r"layers\.0\.mlp\.up_proj", r"model\.norm", r"layers\.1\.self_attn\.k_proj", r"layers\.7\.mlp\.up_proj"])


@case
def weights_that_are_not_numbers(bench):
    tensors = tiny_model.weights()
    tensors["model.layers.0.mlp.up_proj.weight"][0, 0] = np.nan
    bench.refused("train", bench.project(bench.model(tensors)), says=[r"finite|NaN|not a number"])


@case
def unknown_architecture(bench):
    model = bench.model(architectures=["FrogForCausalLM"], model_type="frog")
    bench.refused("train", bench.project(model), says=["frog", "llama"])


@case
def tokenizer_missing(bench):
    model = bench.model()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (model / name).unlink()
    bench.refused("train", bench.project(model), says=["tokenizer"])


@case
def tokenizer_of_an_unknown_kind(bench):
    model = bench.model()
    (model / "tokenizer.json").write_text('{"version": "1.0", "model": {"type": "Frog", "vocab": {}}}')
    bench.refused("train", bench.project(model), says=["tokenizer"])


@case
def data_file_empty(bench):
    bench.data.write_bytes(b"")
    bench.refused("train", bench.project(bench.model()), says=[r"data\.jsonl", "empty|no row"])


@case
def data_file_missing(bench):
    bench.data.unlink()
    bench.refused("train", bench.project(bench.model()), says=[r"data\.jsonl"])


@case
def data_not_utf8(bench):
    bench.data.write_bytes(b'{"text": "\xff\xfe\xfa broken"}\n' * 5)
    bench.refused("train", bench.project(bench.model()), says=[r"data\.jsonl", "utf-?8"])


@case
def data_with_some_broken_lines_is_used_without_them(bench):
    lines = bench.data.read_text().splitlines()
    lines[3] = lines[3][:20]
    lines[10] = "{]"
    bench.data.write_text("\n".join(lines) + "\n")
    trains(bench, bench.project(bench.model()))
    events = bench.temper.run("inspect", bench.data)
    found = temper_cli.last(events, "dataset")
    assert found["bad_rows"] == 2 and found["rows"] == len(lines) - 2, found


@case
def data_with_only_broken_lines(bench):
    bench.data.write_text("{]\n" * 20)
    bench.refused("train", bench.project(bench.model()), says=[r"data\.jsonl", "line|row"])


@case
def data_without_any_trained_token(bench):
    row = {"messages": [{"role": "user", "content": "Hello there, who are you?"}]}
    bench.data.write_text((json.dumps(row) + "\n") * 30)
    bench.refused("train", bench.project(bench.model()), says=["train"])


@case
def answers_cut_away_by_the_length_limit(bench):
    turns = [{"role": "user", "content": "word " * 400}, {"role": "assistant", "content": "yes"}]
    bench.data.write_text((json.dumps({"messages": turns}) + "\n") * 30)
    bench.refused("train", bench.project(bench.model(), data=None), says=["max_tokens|cut|trained"])


@case
def pickle_files(bench):
    model = bench.model()
    (model / "model.safetensors").unlink()
    (model / "pytorch_model.bin").write_bytes(b"\x80\x02}q\x00.")
    bench.refused("train", bench.project(model), says=["pickle"])
    data = bench.work / "rows.pkl"
    data.write_bytes(b"\x80\x02}q\x00.")
    bench.refused("train", bench.project(bench.model(), data=data, where="second"), says=["pickle|pkl"])


@case
def unknown_keys_of_the_project(bench):
    project = bench.project(bench.model(), train={"lr_peek": 1e-3})
    before = listing(project)
    bench.refused("train", project, says=["lr_peek", "lr_peak", "line"])
    bench.untouched(project, before)
    other = bench.project(bench.model(), where="second", method={"rnak": 4})
    bench.refused("train", other, says=["rnak", "rank"])


@case
def values_out_of_range(bench):
    bench.refused("train", bench.project(bench.model(), train={"batch": 0}), says=["batch"])
    bench.refused("train", bench.project(bench.model(), where="second", method={"rank": 0}), says=["rank"])
    bench.refused("train", bench.project(bench.model(), where="third", method={"id": "lorra"}), says=["lora"])


@case
def disk_full_while_writing(bench):
    folder = bench.work / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", str(folder)], capture_output=True).returncode == 0
    limit = None
    if not mounted:
        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))
    try:
        # AdamW's state of every parameter is more than the disk holds
        project = bench.project(bench.model(), where="small/project", method={"id": "full"})
        project_text = (project / "project.toml").read_text().replace('targets = "all-linear"\nrank = 16\nalpha = 32\n', "")
        (project / "project.toml").write_text(project_text)
        bench.refused("train", project, says=["space|full|disk|large"], preexec=limit)
        left = [path for path in project.rglob("*") if re.search(r"\.(tmp|part|partial)$", path.name)]
        assert not left, f"half-written files stay: {left[:3]}"
        assert (project / "project.toml").read_text() == project_text
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(folder)], check=True)


@case
def read_only_project(bench):
    project = bench.project(bench.model(), where="fixed/project")
    folder = bench.work / "fixed"
    if os.geteuid() == 0:
        mount = subprocess.run(["mount", "--bind", str(folder), str(folder)], capture_output=True)
        assert mount.returncode == 0, "a bind mount is needed to try this as root"
        subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], check=True)
    else:
        os.chmod(project, 0o555)
    try:
        bench.refused("train", project, says=["read-only|permission|written"])
    finally:
        if os.geteuid() == 0:
            subprocess.run(["umount", "-l", str(folder)], check=True)
        else:
            os.chmod(project, 0o755)


@case
def two_engines_on_one_project(bench):
    project = bench.project(bench.model(), train={"steps": 100_000, "checkpoint_steps": 0})
    first = bench.temper.start("train", project, stderr=subprocess.DEVNULL)
    try:
        for line in first.stdout:
            if json.loads(line).get("event") == "step":
                break
        bench.refused("train", project, says=["another|already|in use|lock"])
        assert first.poll() is None, "the first engine was disturbed"
    finally:
        first.kill()
        first.stdout.close()
        first.wait()


@case
def out_of_memory_is_said_before_it_happens(bench):
    project = bench.project(bench.model(), train={"batch": 4096, "accumulate": 64, "recompute": "off"},
                            data={"max_tokens": 100_000, "packing": True})
    bench.refused("train", project, says=["memory|context|max_tokens"], timeout=300)


@case
def paths_that_are_not_there(bench):
    bench.refused("train", bench.work / "nowhere", says=["nowhere"])
    bench.refused("generate", bench.work / "nowhere", "--prompt", "x", says=["nowhere"])
    bench.refused("export", "last", "--project", bench.project(bench.model()), "--format", "peft", "--out", bench.work / "out",
                  says=["run"])
    assert not (bench.work / "out").exists()


@case
def usage_errors_have_exit_code_2(bench):
    for words in (["train"], ["frobnicate"], ["export"], ["train", "x", "--max-steps", "many"]):
        done = subprocess.run(bench.temper.command(*words), capture_output=True, text=True)
        assert done.returncode == 2, f"{words}: exit code {done.returncode}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="cases whose name contains this")
    args = parser.parse_args()
    failed = []
    for name, function in CASES.items():
        if args.only not in name:
            continue
        with tempfile.TemporaryDirectory() as work:
            try:
                function(Bench(args.temper, pathlib.Path(work)))
                print(f"[PASS] {name}", flush=True)
            except (AssertionError, temper_cli.Failed, subprocess.TimeoutExpired, KeyError) as error:
                failed.append(name)
                print(f"[FAIL] {name}: {str(error)[:1200]}", flush=True)
    print(f"{len(failed)} of {len(CASES)} cases failed" if failed else "every case got its answer")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
