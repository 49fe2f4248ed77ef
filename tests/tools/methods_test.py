#!/usr/bin/env python3
"""Every method that leaves as a PEFT adapter, judged by Python PEFT: trained for some steps on a tiny model, exported,
loaded by PEFT, compared by logits, tensor by tensor, and after merging; what PEFT then writes itself is read back here. What
cannot be merged is refused by name.

    methods_test.py --temper BINARY [--only id,id] [--json REPORT]
"""
import argparse
import json
import pathlib
import tempfile
import warnings

import temper_cli
import tiny_model
from temper_cli import Failed, check

# Settings that a tiny model needs: one size of block for all its layers, biases where it has none.
SETTINGS = {"bat": {"rank": 32}, "bitfit": {"create": True}, "int2.1": {"repair_share": 0.0}, "nola": {"bases": 16}, "vera": {"rank": 32}}
# A merged model has no place for biases that the family does not have.
NO_MERGE = {"bitfit"}


def written_by_peft(model, adapter, out):
    """The adapter as PEFT itself saves it after loading it."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter).save_pretrained(out)
    return out


def farthest(ours, theirs):
    """Largest difference of logits over the largest logit."""
    import numpy as np
    keys = [key for key in ours if key.endswith(".logits")]
    numbers = [(np.asarray(ours[key], dtype=float), np.asarray(theirs[key], dtype=float)) for key in keys]
    return max(float(abs(a - b).max() / abs(a).max()) for a, b in numbers)


def trained_on(temper, name, project, adapter, config, done):
    """A run that starts from the exported folder begins with the loss that the first one ended with."""
    words = ["train", project, "--from", adapter, "--set", "train.steps=1"]
    if config.get("lora_bias"):
        refused = temper_cli.last(temper.run(*words, ok=False), "error")
        check(f"{name}: biases cannot be trained on", refused and "biases" in refused["what"], error=refused)
        return
    again = temper_cli.last(temper.run(*words), "finished")
    off = abs(again["base_loss"] - done["best_loss"]) / done["best_loss"]
    check(f"{name}: it can be trained on", again["status"] == "finished" and off <= 1e-3, off=off, first=done, second=again)


def one(temper, judge, method, model, tokens, work):
    """Trains, exports and judges one method; returns the judge's rows."""
    name = method["id"]
    train = {"steps": 8, "lr_peak": 2e-2, "checkpoint_steps": 8, "warmup_steps": 1}
    project = temper_cli.write_project(work / "project", model, "builtin:starter-data", train=train,
                                       method={"id": name, **SETTINGS.get(name, {})})
    done = temper_cli.last(temper.run("train", project), "finished")
    check(f"{name}: the run finished", done and done["status"] == "finished")
    adapter = temper.export("last", project, "peft", work / "peft")
    config = json.loads((adapter / "adapter_config.json").read_text())
    check(f"{name}: it leaves as {method['peft_type']}", config["peft_type"] == method["peft_type"])
    ours = temper.logits(model, tokens, work / "adapter.safetensors", adapter)
    again = written_by_peft(model, adapter, work / "again")
    back = temper.logits(model, tokens, work / "again.safetensors", again)
    check(f"{name}: what PEFT wrote is read", farthest(ours, back) <= 1e-3, off=farthest(ours, back))
    merged = None
    if not method["mergeable"]:
        events = temper.run("export", "last", "--project", project, "--format", "hf", "--out", work / "hf", ok=False)
        refused = temper_cli.last(events, "error")
        check(f"{name}: a merged model is refused", refused and "inserted" in refused["what"], error=refused)
    elif name not in NO_MERGE:
        merged = temper.export("last", project, "hf", work / "hf", "--dtype", "f32")
        of_merged = temper.logits(merged, tokens, work / "merged.safetensors")
        ours |= {k.replace(".logits", ".merged_logits"): v for k, v in of_merged.items() if k.endswith(".logits")}
    temper_cli.save_file(ours, work / "ours.safetensors", metadata={"format": "pt"})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        report = judge(str(model), str(adapter), str(work / "ours.safetensors"), merged and str(merged), quiet=True)
    failed = [row for row in report.rows if row["ok"] is False]
    check(f"{name}: PEFT agrees", report.ok, peft_type=config["peft_type"], failed=failed)
    trained_on(temper, name, project, adapter, config, done)
    return report.rows


def over_others(temper, model, tokens, work):
    """An adapter trained on top of two frozen ones: Python PEFT merges those into the base in the order that the file says,
    loads it over the result, and answers as the run does."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def trained(name, method, *order):
        train = {"steps": 8, "lr_peak": 2e-2, "checkpoint_steps": 8, "warmup_steps": 1}
        project = temper_cli.write_project(work / name, model, "builtin:starter-data", train=train, method={"id": method})
        done = temper_cli.last(temper.run("train", project, *order), "finished")
        check(f"{name}: the run finished", done and done["status"] == "finished")
        return project, temper.export("last", project, "peft", work / f"{name}-peft")

    beneath = [trained("first", "lora")[1], trained("second", "dora")[1]]
    project, adapter = trained("third", "lora", "--set", f"model.adapters={json.dumps([str(path) for path in beneath])}")
    card = (adapter / "README.md").read_text()
    check("the card names what it needs", "needs them" in card and card.index("first-peft") < card.index("second-peft"))
    ours = temper.logits(model, tokens, work / "over.safetensors", project / "runs/0001")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
        for path in beneath:
            merged = PeftModel.from_pretrained(merged, path).merge_and_unload()
        peft = PeftModel.from_pretrained(merged, adapter).eval()
    with torch.no_grad():
        cases = {key: torch.tensor(value) for key, value in ours.items() if key.endswith(".input_ids")}
        theirs = {key.replace(".input_ids", ".logits"): peft(input_ids=ids).logits.numpy() for key, ids in cases.items()}
    off = farthest({key: ours[key] for key in theirs}, theirs)
    check("PEFT merges what lies beneath and answers alike", off <= 1e-3, off=off)


def body(args, work):
    from judge_peft import judge
    temper = temper_cli.Temper(args.temper)
    methods = [event for event in temper.run("methods") if event.get("event") == "method" and "peft" in event["exports_as"]]
    check("methods that leave as PEFT adapters", len(methods) >= 15, count=len(methods))
    wanted = set(filter(None, args.only.split(",")))
    model = tiny_model.write_hf(work / "model")
    tokens = temper_cli.write_tokens(model / "tokenizer.json", work / "tokens.safetensors")
    reports, failed = {}, []
    for method in methods:
        if wanted and method["id"] not in wanted:
            continue
        folder = work / method["id"]
        folder.mkdir()
        try:
            reports[method["id"]] = one(temper, judge, method, model, tokens, folder)
        except Failed as failure:
            failed.append(f"{method['id']}: {failure}")
    folder = work / "over-others"
    folder.mkdir()
    over_others(temper, model, tokens, folder)
    if args.json:
        args.json.write_text(json.dumps(reports, indent=1, default=str))
    check("every method", not failed, failed=failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--only", default="", help="ids of methods, with commas")
    parser.add_argument("--json", type=pathlib.Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
