#!/usr/bin/env python3
"""Which modules PEFT adapts, and with which rank and alpha: writes peft_targets.json beside this file.

    peft_targets.py [--check]

Run it with a Python that has torch, transformers and peft (the judges' environment of tests/run.sh). The model is a
llama of twelve blocks and almost no width, on the meta device: only names matter. A case's "adapted" lists [rank, alpha, scale, numbers of linear layers]. --check compares instead of writing.
tests/targets.rs reads the table.
"""
import functools
import json
import pathlib
import sys
import warnings

import peft
import torch
import transformers

OUT = pathlib.Path(__file__).with_name("peft_targets.json")
Q = "model.layers.{}.self_attn.q_proj"
# name of the case -> LoraConfig arguments; "targets" etc. in the table are what a project file would hold
CASES = {
    "one suffix": dict(target_modules=["q_proj"]),
    "two suffixes": dict(target_modules=["q_proj", "v_proj"]),
    "suffix of two components": dict(target_modules=["mlp.down_proj"]),
    "full name": dict(target_modules=[Q.format(3)]),
    "full name and suffix": dict(target_modules=[Q.format(3), "o_proj"]),
    "all-linear": dict(target_modules="all-linear"),
    "all-linear in capitals": dict(target_modules="All-Linear"),
    "head by name": dict(target_modules=["q_proj", "lm_head"]),
    "regular expression": dict(target_modules=r".*\.(q|k)_proj"),
    "regular expression over blocks": dict(target_modules=r"model\.layers\.(0|1[01])\..*_proj"),
    "regular expression with a class": dict(target_modules=r".*layers\.[0-4]\.mlp\.(up|down)_proj"),
    "regular expression must match in full": dict(target_modules=r"model\.layers\.1\.mlp\.up_proj|self_attn"),
    "exclusion must match in full": dict(
        target_modules=["q_proj", "v_proj"], exclude_modules=r"model\.layers\.1\.self_attn\.q_proj|v_pro"),
    "exclude a suffix": dict(target_modules=["q_proj", "v_proj"], exclude_modules=["v_proj"]),
    "exclude from all-linear": dict(target_modules="all-linear", exclude_modules=["down_proj", "o_proj"]),
    "exclude a full name": dict(target_modules=["q_proj"], exclude_modules=[Q.format(0)]),
    "exclude by regular expression": dict(target_modules=["q_proj"], exclude_modules=r".*layers\.1\..*"),
    "exclude wins over a full name": dict(target_modules=[Q.format(3), "v_proj"], exclude_modules=["q_proj"]),
    "layers": dict(target_modules=["q_proj"], layers_to_transform=[0, 1, 11]),
    "one layer": dict(target_modules=["q_proj", "up_proj"], layers_to_transform=1),
    "layers do not bind a full name": dict(target_modules=[Q.format(9), "v_proj"], layers_to_transform=[0]),
    "layers and exclude": dict(target_modules=["q_proj", "k_proj"], layers_to_transform=[2, 3], exclude_modules=["k_proj"]),
    "rank pattern by suffix": dict(target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 4}),
    "rank pattern by block": dict(target_modules=["q_proj"], rank_pattern={r"layers\.1\.self_attn\.q_proj": 4}),
    "rank pattern, dots are any character": dict(target_modules=["q_proj"], rank_pattern={"layers.1.self_attn.q_proj": 4}),
    "rank pattern from the start": dict(target_modules=["q_proj"], rank_pattern={r"^model\.layers\.2\..*": 4}),
    "rank pattern with a caret in the middle": dict(
        target_modules=["q_proj"], rank_pattern={r"^self_attn\.q_proj": 4, r"layers\.3\..*": 2}),
    "rank pattern needs whole components": dict(target_modules=["q_proj"], rank_pattern={"_proj": 4, "q_proj": 2}),
    "rank pattern, first key wins": dict(target_modules=["q_proj"], rank_pattern={r".*\.1\..*": 4, "q_proj": 2}),
    "alternatives in a key": dict(target_modules=["q_proj", "v_proj", "o_proj"], rank_pattern={"q_proj|v_proj": 4}),
    "alpha pattern": dict(target_modules=["q_proj", "v_proj"], alpha_pattern={"v_proj": 3.0, r"layers\.0\..*": 5.0}),
    "rank and alpha patterns": dict(
        target_modules=["q_proj", "v_proj"], rank_pattern={"q_proj": 2}, alpha_pattern={r".*\.5\..*": 64.0}),
}


def model():
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=12, num_attention_heads=2,
        num_key_value_heads=1, tie_word_embeddings=False)
    with torch.device("meta"):
        return transformers.LlamaForCausalLM(config)


def measure(arguments, names):
    # keys are sorted when PEFT writes its configuration, so that is the order a table has
    arguments = {key: dict(sorted(value.items())) if isinstance(value, dict) else value for key, value in arguments.items()}
    config = peft.LoraConfig(r=8, lora_alpha=16, **arguments)
    try:
        adapted = peft.get_peft_model(model(), config, low_cpu_mem_usage=True)
    except ValueError as error:
        return {"refused": str(error).splitlines()[0]}
    groups = {}
    for name, module in adapted.base_model.model.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            group = (module.r["default"], float(module.lora_alpha["default"]), module.scaling["default"])
            groups.setdefault(group, []).append(names.index(name))
    return {"adapted": [[*group, sorted(numbers)] for group, numbers in sorted(groups.items())]}


def main():
    warnings.filterwarnings("ignore")
    names = [name for name, module in model().named_modules() if isinstance(module, torch.nn.Linear)]
    table = {
        "made_by": f"peft {peft.__version__}, transformers {transformers.__version__}",
        "linear_layers": names,
        "cases": [{"name": name, "arguments": arguments, **measure(arguments, names)} for name, arguments in CASES.items()],
    }
    # one line per case
    compact = functools.partial(json.dumps, separators=(",", ":"))
    cases = ",\n".join(compact(case) for case in table.pop("cases"))
    text = compact(table)[:-1] + ',"cases":[\n' + cases + "\n]}\n"
    if "--check" not in sys.argv:
        OUT.write_text(text)
        return 0
    stored = json.loads(OUT.read_text())
    same = stored["cases"] == json.loads(text)["cases"]
    print("same" if same else f"{OUT.name} (made by {stored['made_by']}) differs from {table['made_by']}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
