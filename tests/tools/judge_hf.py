#!/usr/bin/env python3
"""External judge of a merged Hugging Face folder: transformers loads it, and its logits must be ours.

    judge_hf.py --model DIR --ours FILE.safetensors [--limit 1e-3] [--json OUT]
    judge_hf.py --selftest

FILE holds, for one or more cases, `<case>.input_ids` (i64 [batch, tokens]) and `<case>.logits` (f32), as `temper logits`
writes them for the merged model. The error is measured in two ways, both below the limit: the largest difference over
the largest logit, and the Euclidean norm of the difference over that of the logits.

Loading must find every tensor it wants and use every tensor it finds, the tokenizer must load, and what is generated
must be finite. Exit code 0 = passed, 1 = a check failed, 2 = could not run. Nothing is downloaded.
"""
import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch  # noqa: E402
import transformers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class Report:
    """Rows of (check, passed, facts); printed as they come."""

    def __init__(self, quiet=False):
        self.rows, self.quiet = [], quiet

    def add(self, check, ok, **facts):
        self.rows.append({"check": check, "ok": bool(ok), **facts})
        if not self.quiet:
            print(f"[{'PASS' if ok else 'FAIL'}] {check} " + " ".join(f"{k}={v}" for k, v in facts.items()))
        return ok

    @property
    def ok(self):
        return bool(self.rows) and all(row["ok"] for row in self.rows)

    def failed(self):
        return [row["check"] for row in self.rows if not row["ok"]]


def as_expected(report, want, because=""):
    """For selftests: the verdict is the wanted one, and a failure has the wanted reason."""
    return report.ok == want and (want or any(because in check for check in report.failed()))


def cases(path):
    """{case: {input_ids, logits}} of a file of ours."""
    out = {}
    for key, value in load_file(path).items():
        case, _, name = key.rpartition(".")
        out.setdefault(case or "case", {})[name] = value
    return {case: tensors for case, tensors in out.items() if "input_ids" in tensors}


def relative(ours, reference):
    """(largest difference over largest value, norm of the difference over norm)."""
    ours, reference = ours.double(), reference.double()
    difference = ours - reference
    return ((difference.abs().max() / reference.abs().max()).item(), (difference.norm() / reference.norm()).item())


def compare_logits(report, model, ours_path, limit):
    found = cases(ours_path)
    report.add("our file has cases with logits", found and all("logits" in c for c in found.values()), cases=list(found))
    for name, case in found.items():
        with torch.no_grad():
            reference = model(input_ids=case["input_ids"], use_cache=False).logits
        ours = case["logits"]
        if not report.add(f"{name}: shape", ours.shape == reference.shape, ours=tuple(ours.shape),
                          transformers=tuple(reference.shape)):
            continue
        largest, norm = relative(ours, reference)
        # a comparison with NaN is false, so a broken model fails here
        report.add(f"{name}: logits", largest < limit and norm < limit, largest=f"{largest:.2e}", norm=f"{norm:.2e}",
                   top1=f"{(ours.argmax(-1) == reference.argmax(-1)).double().mean().item():.4f}", limit=limit)


def judge(model_dir, ours, limit, quiet=False):
    report = Report(quiet)
    model, info = transformers.AutoModelForCausalLM.from_pretrained(model_dir, dtype=torch.float32,
                                                                    attn_implementation="eager", output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        names = sorted(map(str, info.get(what) or []))
        report.add(f"no {what.replace('_', ' ')}", not names, names=names[:4])
    bad = [name for name, tensor in model.state_dict().items() if not torch.isfinite(tensor).all()]
    report.add("all weights finite", not bad, bad=bad[:4])
    compare_logits(report, model.eval(), ours, limit)
    if (pathlib.Path(model_dir) / "tokenizer.json").exists():
        tokenizer = transformers.AutoTokenizer.from_pretrained(model_dir)
        ids = tokenizer("In 1999 it cost 250 pounds.")["input_ids"]
        report.add("the tokenizer loads and gives the text back", "1999 it cost 250" in tokenizer.decode(ids))
    return report


def selftest():
    golden = pathlib.Path(__file__).resolve().parents[2] / "assets/golden/llama_tied"
    results = []

    def expect(name, want, report, because=""):
        good = as_expected(report, want, because)
        results.append(good)
        print(f"{'ok ' if good else 'BAD'} {name}: {'PASS' if report.ok else 'FAIL ' + str(report.failed())}")

    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        stored = load_file(golden / "golden.safetensors")

        def ours(name, logits):
            path = work / f"{name}.safetensors"
            save_file({"a.input_ids": stored["input_ids"], "a.logits": logits.contiguous()}, path)
            return path

        good = ours("good", stored["logits"])
        expect("golden logits", True, judge(golden, good, 1e-3, quiet=True))
        expect("one logit off by a hundredth of the largest", False, judge(golden, ours("off", spoiled(stored["logits"])), 1e-3, True),
               "a: logits")
        expect("not a number", False, judge(golden, ours("nan", stored["logits"] * float("nan")), 1e-3, True), "a: logits")
        edits = [("a tensor is missing", lambda t: t.pop("model.layers.1.mlp.up_proj.weight"), "missing"),
                 ("a tensor too many", lambda t: t.update({"model.layers.9.x": torch.zeros(2)}), "unexpected"),
                 ("q in the other rotary order", rotate_heads, "a: logits")]
        for name, edit, because in edits:
            folder = work / name.replace(" ", "_")
            shutil.copytree(golden, folder)
            tensors = load_file(folder / "model.safetensors")
            edit(tensors)
            save_file({k: v.contiguous() for k, v in tensors.items()}, folder / "model.safetensors", metadata={"format": "pt"})
            expect(name, False, judge(folder, good, 1e-3, True), because)
    print(f"selftest: {sum(results)}/{len(results)} as expected")
    return all(results)


def spoiled(logits):
    logits = logits.clone()
    logits[0, -1, 0] += 0.01 * logits.abs().max()
    return logits


def rotate_heads(tensors):
    """The mistake of writing q in the other rotary layout."""
    name = "model.layers.0.self_attn.q_proj.weight"
    w = tensors[name]
    tensors[name] = w.reshape(4, 2, 8, w.shape[1]).transpose(1, 2).reshape(w.shape)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="folder with config.json and weights")
    parser.add_argument("--ours", help="our logits")
    parser.add_argument("--limit", type=float, default=1e-3)
    parser.add_argument("--json", help="write the rows there")
    parser.add_argument("--selftest", action="store_true")
    args = parser.parse_args()
    if args.selftest:
        sys.exit(0 if selftest() else 1)
    if not (args.model and args.ours):
        parser.error("--model and --ours are required (or --selftest)")
    try:
        report = judge(args.model, args.ours, args.limit)
    except Exception as error:  # whatever transformers throws, the judge could not do its work
        print(f"judge could not run: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"ok": report.ok, "checks": report.rows}, indent=1))
    print("VERDICT:", "PASS" if report.ok else "FAIL")
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
