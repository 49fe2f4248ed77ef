#!/usr/bin/env python3
"""External judge for MLX adapters: mlx-lm's own `load_adapters` is the oracle, on the processor.

    judge_mlx.py --base BASE_DIR --adapter ADAPTER_DIR --ours OURS.safetensors
    judge_mlx.py --selftest        # an adapter made here over the bundled starter, with negative controls

BASE_DIR     a Hugging Face folder of the base.
ADAPTER_DIR  adapter_config.json + adapters.safetensors as the studio wrote them.
OURS         "<case>.input_ids" and "<case>.logits" with the adapter, as `temper logits` gives them.

Older versions of mlx-lm leave alone what the file has too much, and draw what it has too little. So the tensors of the file
have to be exactly the factors that mlx-lm made of the configuration, with their shapes; then logits are compared, the error
measured against the size of the adapter's own effect; then the fused model has to agree with the one that has the adapter.

Exit code 0 = all checks passed, 1 = a check failed. Nothing is downloaded.
"""
import argparse
import json
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")

import mlx.core as mx  # noqa: E402
import numpy as np  # noqa: E402
from mlx.utils import tree_flatten, tree_unflatten  # noqa: E402
from mlx_lm.tuner.utils import load_adapters  # noqa: E402
from mlx_lm.utils import load_model  # noqa: E402
from safetensors.numpy import load_file, save_file  # noqa: E402

STARTER = pathlib.Path(__file__).resolve().parents[2] / "assets" / "starter"
# Largest error over the largest logit, and over the largest change that the adapter makes.
OF_LOGITS, OF_CHANGE = 1e-3, 1e-2


class Report:
    def __init__(self, quiet=False):
        self.failed, self.quiet = [], quiet

    def check(self, name, ok, **facts):
        if not ok:
            self.failed.append(name)
        if not self.quiet:
            print(f"[{'PASS' if ok else 'FAIL'}] {name} " + " ".join(f"{k}={v}" for k, v in facts.items()), flush=True)
        return ok


def model_of(base):
    """The base in f32: in the file's own 16 bits the rounding would be larger than what is looked for."""
    model, _ = load_model(pathlib.Path(base))
    model.set_dtype(mx.float32)
    model.eval()
    return model


def logits(model, ids):
    return np.array(model(mx.array(np.asarray(ids, dtype=np.int32))).astype(mx.float32))


def factors(model):
    return {name: tuple(value.shape) for name, value in tree_flatten(model.parameters())
            if name.rsplit(".", 1)[-1] in ("lora_a", "lora_b", "m")}


def judge(report, base, adapter, cases):
    adapter = pathlib.Path(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    report.check("the configuration is LoRA of one rank and scale", config.get("fine_tune_type") == "lora"
                 and {"rank", "scale", "dropout", "keys"} == set(config.get("lora_parameters", {})), config=config)
    model = model_of(base)
    plain = {name: logits(model, case["input_ids"]) for name, case in cases.items()}
    try:
        model = load_adapters(model, str(adapter))
    except Exception as error:  # whatever mlx-lm says is the verdict
        report.check("mlx-lm loads it", False, error=str(error)[:300])
        return
    model.eval()
    report.check("mlx-lm loads it", True)
    held = {name: tuple(value.shape) for name, value in load_file(adapter / "adapters.safetensors").items()}
    made = factors(model)
    report.check("the file has exactly the factors that mlx-lm made", held == made, tensors=len(held),
                 odd=sorted(set(held.items()) ^ set(made.items()))[:3])
    error = size = change = 0.0
    with_adapter = {}
    for name, case in cases.items():
        theirs = with_adapter[name] = logits(model, case["input_ids"])
        ours = np.asarray(case["logits"], dtype=np.float32).reshape(theirs.shape)
        error = max(error, float(np.abs(ours - theirs).max()))
        size = max(size, float(np.abs(theirs).max()))
        change = max(change, float(np.abs(theirs - plain[name]).max()))
    report.check("the adapter changes something", change > 1e-3 * size, change=f"{change:.3g}", largest=f"{size:.3g}")
    report.check("same logits", error <= OF_LOGITS * size and error <= OF_CHANGE * change, error=f"{error:.2e}",
                 of_largest=f"{error / size:.1e}", of_change=f"{error / max(change, 1e-30):.1e}")
    fused = [(name, module.fuse()) for name, module in model.named_modules() if hasattr(module, "fuse")]
    model.update_modules(tree_unflatten(fused))
    apart = max(float(np.abs(logits(model, case["input_ids"]) - with_adapter[name]).max()) for name, case in cases.items())
    report.check("fused it says the same", apart <= OF_LOGITS * size, layers=len(fused), error=f"{apart:.2e}")


def cases_of(path):
    cases = {}
    for key, value in load_file(path).items():
        case, _, name = key.rpartition(".")
        cases.setdefault(case, {})[name] = value
    return {name: case for name, case in cases.items() if "input_ids" in case and "logits" in case}


def merged(adapter, scale_by=1.0):
    """The starter with the adapter's product in its weights: what ours have to be."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    tensors = load_file(adapter / "adapters.safetensors")
    model = model_of(STARTER)
    weights = dict(tree_flatten(model.parameters()))
    changed = []
    for name in (name for name in tensors if name.endswith(".lora_a")):
        module = name.removesuffix(".lora_a")
        product = tensors[name].astype(np.float64) @ tensors[f"{module}.lora_b"].astype(np.float64)
        product = scale_by * config["lora_parameters"]["scale"] * product.T
        changed.append((f"{module}.weight", weights[f"{module}.weight"] + mx.array(product.astype(np.float32))))
    model.load_weights(changed, strict=False)
    return model


def selftest():
    random = np.random.default_rng(7)
    ids = np.array([[1, 17, 400, 23, 9, 2000, 31]])
    failed = []

    def case_with(name, passes, change_file=None, change_config=None, scale_by=1.0):
        with tempfile.TemporaryDirectory() as work:
            work = pathlib.Path(work)
            parameters = {"dropout": 0.0, "keys": ["mlp.up_proj", "self_attn.v_proj"], "rank": 4, "scale": 2.0}
            config = {"fine_tune_type": "lora", "lora_parameters": parameters, "model": "starter", "num_layers": 3}
            shapes = {"mlp.up_proj": (192, 512), "self_attn.v_proj": (192, 64)}
            tensors = {}
            for layer in range(3, 6):
                for key, (wide, out) in shapes.items():
                    tensors[f"model.layers.{layer}.{key}.lora_a"] = random.normal(0, 0.1, (wide, 4)).astype(np.float32)
                    tensors[f"model.layers.{layer}.{key}.lora_b"] = random.normal(0, 0.1, (4, out)).astype(np.float32)
            (work / "adapter_config.json").write_text(json.dumps(config))
            save_file(tensors, work / "adapters.safetensors")
            ours = logits(merged(work, scale_by), ids)
            if change_file:
                change_file(tensors)
                save_file({k: np.ascontiguousarray(v) for k, v in tensors.items()}, work / "adapters.safetensors")
            if change_config:
                change_config(config)
                (work / "adapter_config.json").write_text(json.dumps(config))
            report = Report(quiet=True)
            judge(report, STARTER, work, {"case": {"input_ids": ids, "logits": ours}})
            right = (not report.failed) == passes
            print(f"[{'PASS' if right else 'FAIL'}] selftest: {name} failed={report.failed}", flush=True)
            if not right:
                failed.append(name)

    first = "model.layers.3.mlp.up_proj.lora_a"
    case_with("a right adapter passes", True)
    case_with("a tensor is missing", False, lambda tensors: tensors.pop(first))
    case_with("a tensor too many", False, lambda tensors: tensors.update({first.replace("3", "0"): tensors[first]}))
    case_with("a factor is turned round", False, lambda tensors: tensors.update({first: tensors[first].T}))
    case_with("a factor is another one", False, lambda tensors: tensors.update({first: tensors[first][::-1]}))
    case_with("ours has another scale", False, scale_by=0.5)
    case_with("ours is the base", False, scale_by=0.0)
    case_with("the file says another scale", False, change_config=lambda config: config["lora_parameters"].update(scale=1.0))
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base")
    parser.add_argument("--adapter")
    parser.add_argument("--ours")
    parser.add_argument("--selftest", action="store_true")
    args = parser.parse_args()
    mx.set_default_device(mx.cpu)
    if args.selftest:
        failed = selftest()
    else:
        report = Report()
        cases = cases_of(args.ours)
        report.check("there are cases", cases, cases=len(cases))
        judge(report, args.base, args.adapter, cases)
        failed = report.failed
    print(f"VERDICT: {'FAIL ' + str(failed) if failed else 'PASS'}")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
