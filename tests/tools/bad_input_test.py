#!/usr/bin/env python3
"""Bad input: each kind gets a clear error (what, where, what to do), exit code 1 or 2, and nothing is written or lost.

    bad_input_test.py --temper PROGRAM [--only WORD]

Every case is run, then the failed ones are listed. A crash (panic, signal) is never an answer. Full disks are small
mounted ones where mounting is allowed (in a namespace of mounts of this script's own), memory that runs out is a limit on
the address space.
"""
import argparse
import hashlib
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


class SmallDisk:
    """A folder on a disk of its own that can be made small and large again; without the right to mount, a limit on the
    size of a file stands in for the full disk."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir(parents=True)
        self.mounted = run_quietly("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder)
        print(f"   full disk by {'a mounted tmpfs' if self.mounted else 'RLIMIT_FSIZE'}", flush=True)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.mounted:
            subprocess.run(["umount", "-l", str(self.folder)], check=True)

    def full(self, left):
        """From now on `left` more bytes fit. Gives what a process must do first where nothing is mounted."""
        if self.mounted:
            # Somebody may be writing: what is used by then must still fit.
            for _ in range(50):
                used = shutil.disk_usage(self.folder).used
                if run_quietly("mount", "-o", f"remount,size={(used + left) // 1024}k", self.folder):
                    return None
            raise RuntimeError("the disk does not become small")

        def limit():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (left, left))
        return limit

    def roomy(self):
        if self.mounted:
            subprocess.run(["mount", "-o", "remount,size=64m", str(self.folder)], check=True)


def run_quietly(*words):
    return subprocess.run([str(word) for word in words], capture_output=True).returncode == 0


def whole_checkpoints(project):
    """Steps of the checkpoints of run 1; each must have the bytes that its state.json promises."""
    steps = []
    for folder in sorted((project / "runs/0001/checkpoints").iterdir()):
        assert folder.name.startswith("step-"), f"{folder.name} is left over"
        for name, digest in json.loads((folder / "state.json").read_text())["meta"]["files"].items():
            assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest, f"{folder.name}/{name} is damaged"
        steps.append(int(folder.name.removeprefix("step-")))
    return steps


def half_written(folder):
    return [path for path in folder.rglob("*") if re.search(r"\.(tmp|part|partial)$|unfinished", path.name)]


def final_hash(events):
    done = temper_cli.last(events, "finished")
    assert done and done["status"] == "finished", done
    return temper_cli.sha256_of_folder(done["adapter"])


@case
def disk_full_while_writing_a_checkpoint(bench):
    model, keys = bench.model(), {"steps": 12, "checkpoint_steps": 2, "keep_checkpoints": 20}
    wanted = final_hash(bench.temper.run("train", bench.project(model, where="reference", train=keys)))
    with SmallDisk(bench.work / "small") as disk:
        project = bench.project(model, where="small/project", train=keys)
        text = (project / "project.toml").read_text()
        bench.temper.run("train", project, "--max-steps", 4)
        before = whole_checkpoints(project)
        assert before == [0, 2, 4] or before == [2, 4], before
        limit = disk.full(left=200_000)
        bench.refused("train", project, "--resume", "last", says=["space|full|disk|large", "resume"], preexec=limit)
        assert not half_written(project), half_written(project)[:3]
        assert whole_checkpoints(project) == before, "earlier checkpoints changed"
        assert (project / "project.toml").read_text() == text
        disk.roomy()
        after = bench.temper.run("train", project, "--resume", "last")
        assert temper_cli.last(after, "started")["resumed_from"] == 4
        assert final_hash(after) == wanted, "the run is not what it would have been"


@case
def disk_full_in_a_race(bench):
    """A method must not drop out of a race because of a disk: the race ends with the disk's own error, and the runs are
    whole."""
    model, race = bench.model(), ("--race", "lora,loha,miss,vera")
    with SmallDisk(bench.work / "small") as disk:
        project = bench.project(model, where="small/project", train={"steps": 8, "checkpoint_steps": 0, "eval_rows": 8})
        limit = disk.full(left=60_000)
        error = bench.refused("train", project, *race, says=["space|full|disk|large"], preexec=limit)
        assert error["code"] == "io", error
        assert not half_written(project), half_written(project)[:3]
        disk.roomy()
        if disk.mounted:
            process = bench.temper.start("train", project, *race)
            seen = []
            for line in process.stdout:
                seen.append(json.loads(line))
                if seen[-1]["event"] == "race":
                    disk.full(left=20_000)
                    break
            rest, _ = process.communicate(timeout=120)
            events = seen + temper_cli.events_of(rest)
            error = temper_cli.last(events, "error")
            assert process.returncode == 1 and error and error["code"] == "io", (process.returncode, error)
            assert len([event for event in events if event["event"] == "race"]) == 1, "the second round was judged"
            disk.roomy()
            assert not half_written(project), half_written(project)[:3]
            left = [one for one in temper_cli.last(events, "race")["standings"] if one["stays"]]
            for one in left:
                done = temper_cli.last(bench.temper.run("train", project, "--resume", one["run"]), "finished")
                assert done["status"] == "finished" and done["steps"] == 8, done
        rounds = [event for event in bench.temper.run("train", project, *race) if event["event"] == "race"]
        assert len(rounds) == 2 and not any(one["refused"] for one in rounds[0]["standings"]), rounds


@case
def disk_full_while_writing_an_export(bench):
    of_folder = bench.project(bench.model())
    of_gguf = bench.project(tiny_model.write_gguf(bench.work / "tiny.gguf"), where="from-gguf")
    trains(bench, of_folder)
    trains(bench, of_gguf)
    exports = (("peft", "peft", of_folder), ("hf", "hf", of_folder), ("gguf", "merged.gguf", of_folder),
               ("gguf-lora", "lora.gguf", of_gguf))
    with SmallDisk(bench.work / "small") as disk:
        for form, name, project in exports:
            out = disk.folder / name
            limit = disk.full(left=50_000)
            words = ("export", "last", "--project", project, "--format", form, "--out", out)
            bench.refused(*words, says=["space|full|disk|large"], preexec=limit)
            left = [path for path in disk.folder.iterdir() if disk.mounted or path.stat().st_size]
            assert not out.exists() and not left, f"{form}: {left} is left over"
            disk.roomy()
            certificate = temper_cli.last(bench.temper.run(*words), "certificate")
            assert certificate["pass"], certificate
            shutil.rmtree(out) if out.is_dir() else out.unlink()
            for file in disk.folder.iterdir():
                file.unlink()


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


def address_space(mib):
    """For a process that must live within so much address space."""
    return lambda: resource.setrlimit(resource.RLIMIT_AS, (mib << 20, mib << 20))


@case
def out_of_memory_is_said_before_it_happens(bench):
    rows = [{"text": f"Row {row} has words" + " and words" * 50} for row in range(5000)]
    bench.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    project = bench.project(bench.model(), train={"batch": 4096, "recompute": "off"})
    error = bench.refused("train", project, says=["memory", "train.batch", r"needs about \d+ MiB", r"only \d+ MiB in all"],
                          preexec=address_space(3000))
    assert error["code"] == "out_of_memory", error


@case
def what_does_not_fit_comes_with_settings_that_do(bench):
    rows = [{"text": f"Row {row} has words" + " and words" * 50} for row in range(5000)]
    bench.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model, asked = bench.model(), {"batch": 4096, "recompute": "off"}

    def measured(where, train, **tables):
        project = bench.project(model, where=where, train=train, **tables)
        done = subprocess.run(bench.temper.command("preflight", project), capture_output=True, text=True, timeout=120,
                              preexec_fn=address_space(3000))
        answer = temper_cli.last(temper_cli.events_of(done.stdout), "preflight")
        assert answer, f"{done.stdout[-500:]} {done.stderr[-500:]}"
        return answer

    tight = measured("tight", asked)
    assert not tight["fits"], tight
    assert any(["train.batch", "train.accumulate"] == [key for key, _ in remedy["settings"]]
               for remedy in tight["remedies"]), tight
    for number, remedy in enumerate(tight["remedies"]):
        tables = {"train": dict(asked)}
        for key, value in remedy["settings"]:
            table, name = key.split(".")
            tables.setdefault(table, {})[name] = int(value) if value.isdigit() else value
        train = tables.pop("train")
        assert "accumulate" not in train or train["batch"] * train["accumulate"] == 4096, "the same step"
        assert remedy["memory_mib"] <= tight["free_memory_mib"], remedy
        answer = measured(f"way-{number}", train, **tables)
        assert answer["fits"], (remedy, answer)


@case
def whatever_the_limit_of_memory_there_is_an_answer(bench):
    model, outcomes = bench.model(), {}
    # below, not even the system's loader can start the program; the steps are finer than the span between too little for
    # threads and enough for the run
    for mib in range(150, 1500, 40):
        project = bench.project(model, where=f"within-{mib}")
        words = bench.temper.command("train", project)
        done = subprocess.run(words, capture_output=True, text=True, timeout=60, preexec_fn=address_space(mib))
        events = temper_cli.events_of(done.stdout)
        end = temper_cli.last(events, "error") or temper_cli.last(events, "finished")
        assert end, f"{mib} MiB: exit code {done.returncode}, nothing said: {done.stderr[-500:]}"
        problem = end if end["event"] == "error" else end.get("problem")
        assert done.returncode == (1 if problem else 0), f"{mib} MiB: exit code {done.returncode}"
        new = problem and not any(problem["what"][:30] == other[:30] for other in outcomes.values())
        if problem:
            assert problem["what"] and problem["where"] and problem["action"], problem
            assert problem["code"] == "out_of_memory" or "memory" in problem["what"], f"{mib} MiB: {problem}"
        if new:
            trains(bench, project)
        outcomes[mib] = problem["what"][:60] if problem else "finished"
    assert len(set(outcomes.values())) >= 3, f"the limits do not bite: {outcomes}"
    done = subprocess.run(bench.temper.command("generate", model, "--prompt", "x"), capture_output=True, text=True,
                          preexec_fn=address_space(min(m for m, o in outcomes.items() if "while" in o)))
    error = temper_cli.last(temper_cli.events_of(done.stdout), "error")
    assert done.returncode == 0 or error["code"] == "out_of_memory", f"{done.stdout[-500:]} {done.stderr[-300:]}"


@case
def out_of_memory_in_the_middle_of_a_run(bench):
    model = bench.model(max_position_embeddings=4096)
    rows = [{"text": f"Row {row} is short."} for row in range(200)]
    validation = bench.work / "validation.jsonl"
    validation.write_text("".join(json.dumps(row) + "\n" for row in rows[:10]))
    # one row needs more than all before it; it comes long after the first checkpoint, where the seed puts it
    rows[100] = {"text": "word and " * 3000}
    bench.data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    tables = {"train": {"steps": 200, "checkpoint_steps": 10},
              "data": {"validation": str(validation), "max_tokens": 3000, "packing": False, "loss_on": "everything"}}
    project, reference = (temper_cli.write_project(bench.work / name, model, bench.data, **tables)
                          for name in ("project", "reference"))
    # one heap, which grows by asking the system
    process = bench.temper.start("train", project, stderr=subprocess.PIPE, env={**os.environ, "MALLOC_ARENA_MAX": "1"})
    events, limited = [], False
    for line in process.stdout:
        events.append(json.loads(line))
        if events[-1]["event"] == "checkpoint" and events[-1]["step"] >= 10 and not limited:
            limited = True
            status = pathlib.Path(f"/proc/{process.pid}/status").read_text()
            limit = int(re.search(r"VmSize:\s+(\d+)", status)[1]) << 10
            resource.prlimit(process.pid, resource.RLIMIT_AS, (limit, limit))
    process.wait()
    log = process.stderr.read()
    process.stdout.close(), process.stderr.close()
    done = events[-1]
    assert process.returncode == 1 and done["event"] == "finished", f"exit code {process.returncode}: {done} {log[-500:]}"
    assert done["status"] == "failed" and done["problem"]["code"] == "out_of_memory", done
    # a buffer that could not be had, or a thread of a library
    assert re.search(r"memory ran out.*(after step \d+: .* refused \d+ .* more, with \d+ MiB in use|refused a thread)",
                     done["problem"]["what"]), done
    last = whole_checkpoints_but_unfinished(project)[-1]
    run = temper_cli.last(bench.temper.run("runs", project), "run")
    assert run["status"] == "failed" and run["steps"] >= last and run["problem"] == done["problem"], run
    after = bench.temper.run("train", project, "--resume", "last", "--max-steps", last + 10)
    assert temper_cli.last(after, "started")["resumed_from"] == last
    assert whole_checkpoints(project)[-1] == last + 10
    wanted = final_hash(bench.temper.run("train", reference, "--max-steps", last + 10))
    assert final_hash(after) == wanted, "the run is not what it would have been"


@case
def killed_by_the_system(bench):
    project = bench.project(bench.model(), train={"steps": 3000, "checkpoint_steps": 5})
    process = bench.temper.start("train", project, stderr=subprocess.DEVNULL)
    for line in process.stdout:
        event = json.loads(line)
        if event.get("event") == "checkpoint" and event["step"] >= 5:
            break
    process.kill()
    process.stdout.close()
    process.wait()

    def only_run():
        return temper_cli.last(bench.temper.run("runs", project), "run")
    run = only_run()
    assert run["status"] == "interrupted" and run["steps"] >= 5, run
    assert "--resume 1" in run["problem"]["action"], run["problem"]
    last = whole_checkpoints_but_unfinished(project)[-1]
    after = bench.temper.run("train", project, "--resume", "last", "--max-steps", last + 5)
    assert temper_cli.last(after, "started")["resumed_from"] == last, temper_cli.last(after, "started")
    run = only_run()
    assert run["status"] == "finished" and run["steps"] == last + 5 and "problem" not in run, run
    # the next engine, not only the next reader, marks what a killed one left
    process = bench.temper.start("train", project, "--resume", "last", stderr=subprocess.DEVNULL)
    for line in process.stdout:
        if json.loads(line).get("event") == "step":
            break
    process.kill()
    process.stdout.close()
    process.wait()
    bench.temper.run("train", project, "--max-steps", 1)
    statuses = {event["run"]: event["status"] for event in bench.temper.run("runs", project) if event["event"] == "run"}
    assert statuses == {1: "interrupted", 2: "finished"}, statuses


def whole_checkpoints_but_unfinished(project):
    """As after a kill: what was being written may be there under its temporary name, and is no checkpoint."""
    folder = project / "runs/0001/checkpoints"
    for path in folder.glob(".*"):
        assert path.name.startswith((".unfinished-", ".replaced-")), path.name
    return sorted(int(path.name.removeprefix("step-")) for path in folder.glob("step-*"))


def damaged(kind, whole):
    """Bytes of a database after an accident."""
    broken = bytearray(whole)
    if kind == "cut":
        return broken[:len(broken) // 2 - 100]
    if kind == "header":
        broken[:100] = b"not a database at all".ljust(100, b"!")
    if kind == "pages":
        broken[4096:4096 * 5] = os.urandom(4096 * 4)
    return broken


@case
def damaged_database(bench):
    model = bench.model()
    for kind in ("cut", "header", "pages"):
        project = bench.project(model, where=kind)
        steps = temper_cli.last(trains(bench, project), "finished")["steps"]
        file = project / "temper.db"
        content = damaged(kind, file.read_bytes())
        file.write_bytes(content)
        before = listing(project)
        error = bench.refused("runs", project, says=["damaged", "--repair", str(project)])
        assert error["where"].endswith("temper.db"), error
        bench.refused("train", project, says=["damaged", "--repair"])
        assert file.read_bytes() == content, "the file was changed before anybody asked for it"
        new = set(listing(project)) - set(before)
        assert not [name for name in new if name.startswith("runs/")], f"a refused run left {new}"
        events = bench.temper.run("runs", project, "--repair")
        warning = next(event for event in events if event.get("code") == "database_set_aside")
        kept = project / "temper.db.damaged-1"
        assert str(kept) in warning["text"] and kept.read_bytes() == content, warning
        runs = {event["run"]: event for event in bench.temper.run("runs", project) if event["event"] == "run"}
        assert runs[1]["status"] == "finished" and runs[1]["steps"] == steps, runs
        trains(bench, project)
        assert temper_cli.last(bench.temper.run("runs", project, "--repair"), "warning")["code"] == "database_whole"
        assert not (project / "temper.db.damaged-2").exists()


@case
def lost_database(bench):
    project = bench.project(bench.model())
    trains(bench, project)
    for name in ("temper.db", "temper.db-wal", "temper.db-shm"):
        (project / name).unlink(missing_ok=True)
    bench.refused("runs", project, says=["missing", "--repair"])
    events = bench.temper.run("runs", project, "--repair")
    assert temper_cli.last(events, "run")["status"] == "finished", events


@case
def broken_rows_are_named_once(bench):
    bench.data.write_text("{]\n" * 3)
    error = bench.refused("train", bench.project(bench.model()), says=[r"data\.jsonl line 2"])
    assert len(re.findall(r"\bline 2\b", json.dumps(error))) == 1, error
    assert "at line 1 column" not in json.dumps(error), error


@case
def logits_find_the_run_of_another_folder(bench):
    project = bench.project(bench.model())
    trains(bench, project)
    tokens, out = bench.work / "tokens.safetensors", bench.work / "logits.safetensors"
    temper_cli.write_tokens(tiny_model.STARTER / "tokenizer.json", tokens)
    words = ("logits", bench.work / "model", "--adapter", "run:1", "--tokens", tokens, "--out", out)
    bench.refused(*words, says=["run"])
    bench.temper.run(*words, "--project", project)
    assert out.is_file()


@case
def paths_that_are_not_there(bench):
    bench.refused("train", bench.work / "nowhere", says=["nowhere"])
    bench.refused("generate", bench.work / "nowhere", "--prompt", "x", says=["nowhere"])
    bench.refused("export", "last", "--project", bench.project(bench.model()), "--format", "peft", "--out", bench.work / "out",
                  says=["run"])
    assert not (bench.work / "out").exists()


@case
def storage_types_that_do_not_exist_or_do_not_fit(bench):
    project = bench.project(bench.model())
    trains(bench, project)
    words = ("export", "last", "--project", project, "--out", bench.work / "out")
    bench.refused(*words, "--format", "gguf", "--dtype", "q3_k", says=["q3_k", "q4_k, |, q4_k", "--dtype"])
    bench.refused(*words, "--format", "hf", "--dtype", "q4_k", says=["q4_k blocks", "gguf"])
    assert not (bench.work / "out").exists()


@case
def usage_errors_have_exit_code_2(bench):
    for words in (["train"], ["frobnicate"], ["export"], ["train", "x", "--max-steps", "many"]):
        done = subprocess.run(bench.temper.command(*words), capture_output=True, text=True)
        assert done.returncode == 2, f"{words}: exit code {done.returncode}"


def with_mounts_of_its_own():
    """Starts this script again where its mounts are seen by nobody else and vanish with it."""
    if os.geteuid() == 0 and "BAD_INPUT_MOUNTS" not in os.environ and run_quietly("unshare", "-m", "true"):
        os.environ["BAD_INPUT_MOUNTS"] = "own"
        os.execvp("unshare", ["unshare", "-m", sys.executable, *sys.argv])


def main():
    with_mounts_of_its_own()
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
            except (AssertionError, temper_cli.Failed, subprocess.SubprocessError, LookupError, TypeError, OSError) as error:
                failed.append(name)
                print(f"[FAIL] {name}: {str(error)[:1200]}", flush=True)
    print(f"{len(failed)} of {len(CASES)} cases failed" if failed else "every case got its answer")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
