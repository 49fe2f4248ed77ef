#!/usr/bin/env python3
"""Golden vectors of the families: tiny random checkpoints of transformers with the logits it computes for them.

    golden.py [--out assets/golden] [--check]

Writes OUT/<family>_<case>/{config.json, model*.safetensors, golden.safetensors} and OUT/README.md. With --check nothing is
written: the stored checkpoints are loaded by transformers again and must give the stored logits.

golden.safetensors holds
    input_ids   i64 [batch, tokens]
    logits      f32 [batch, tokens, vocabulary]
    loss        f32 [], mean cross-entropy of predicting token t+1 from position t (nats)
    grad_norm.<tensor>   f32 [], Euclidean norm of the loss's gradient with respect to that tensor
    grad.<tensor>        f32, the whole gradient (first layer's k_proj, every norm)

Every matrix has sides that are multiples of 32, so that a test may quantise it to GGUF blocks. Weights are drawn wide
(standard deviation 0.2) and norms differ from one (Gemma stores them less one): a swapped axis, a forgotten norm or a wrong rotation moves the
logits by far more than the tolerance (1e-4 relative).
Needs torch, transformers and safetensors (versions are recorded in the README that the script writes).
"""
import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import safetensors.torch  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

BASE = dict(vocab_size=96, hidden_size=64, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, rms_norm_eps=1e-5, bos_token_id=1, eos_token_id=2,
            tie_word_embeddings=False, initializer_range=0.2)
DEFAULT_ROPE = dict(rope_type="default", rope_theta=10000.0)
GEMMA3 = dict(BASE, num_key_value_heads=1, num_attention_heads=2, head_dim=32, query_pre_attn_scalar=32,
              sliding_window=5, rms_norm_eps=1e-6, tie_word_embeddings=True, pad_token_id=0, bos_token_id=2,
              eos_token_id=1)

# name -> (what it proves, config overrides, input shape, storage type, shard limit)
CASES = {
    "gqa_untied": ("4 query heads share 2 key/value heads, separate output head", {}, (2, 24), "float32", None),
    "tied": ("output head tied to the embedding (no lm_head tensor in the file), rope_theta 100000, eps 1e-6",
             dict(tie_word_embeddings=True, rms_norm_eps=1e-6,
                  rope_parameters=dict(rope_type="default", rope_theta=100000.0)), (2, 24), "float32", None),
    "mha": ("as many key/value heads as query heads", dict(num_key_value_heads=4, tie_word_embeddings=True),
            (2, 24), "float32", None),
    "head_dim": ("head_dim 32 given in the config, not hidden_size / heads",
                 dict(head_dim=32, num_attention_heads=4, num_key_value_heads=1, tie_word_embeddings=True),
                 (2, 24), "float32", None),
    "bias": ("biases on attention and gated MLP", dict(attention_bias=True, mlp_bias=True, tie_word_embeddings=True),
             (2, 24), "float32", None),
    "rope_linear": ("rotary scaling `linear`, factor 4",
                    dict(rope_parameters=dict(rope_type="linear", rope_theta=10000.0, factor=4.0)),
                    (2, 24), "float32", None),
    "rope_dynamic": ("rotary scaling `dynamic`, 48 tokens on a context of 32, so the base frequency grows",
                     dict(max_position_embeddings=32,
                          rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)),
                     (1, 48), "float32", None),
    "rope_dynamic_short": ("rotary scaling `dynamic`, 24 tokens on a context of 32: nothing is scaled",
                           dict(max_position_embeddings=32, tie_word_embeddings=True,
                                rope_parameters=dict(rope_type="dynamic", rope_theta=10000.0, factor=2.0)),
                           (2, 24), "float32", None),
    "rope_llama3": ("rotary scaling `llama3`: one frequency kept, one blended, the rest divided",
                    dict(rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                              high_freq_factor=4.0, original_max_position_embeddings=32)),
                    (2, 24), "float32", None),
    "rope_yarn": ("rotary scaling `yarn`, factor 4 on a context of 16, attention factor from the factor",
                  dict(rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=32.0,
                                            beta_slow=1.0, original_max_position_embeddings=16)),
                  (2, 24), "float32", None),
    "rope_yarn_mscale": ("rotary scaling `yarn` with mscale, mscale_all_dim and other ramp borders",
                         dict(tie_word_embeddings=True,
                              rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, beta_fast=4.0,
                                                   beta_slow=0.5, mscale=1.0, mscale_all_dim=0.5,
                                                   original_max_position_embeddings=16)),
                         (2, 24), "float32", None),
    "bf16": ("weights stored as bf16, logits computed from them in f32", dict(tie_word_embeddings=True),
             (2, 24), "bfloat16", None),
    "sharded": ("several weight files with an index", dict(tie_word_embeddings=True), (2, 24), "float32", "100KB"),
}
# the same for Gemma 3: norms on heads and behind each half, scaled embeddings, layers that see a window of 5
GEMMA3_CASES = {
    "pattern": ("five layers with a window, the sixth sees everything with its own rotary base; heads wider than "
                "hidden / heads", dict(hidden_size=32, intermediate_size=32, num_hidden_layers=6), (2, 24), "float32", None),
    "kinds": ("kinds of layers listed, scores scaled by a number that is not the head width, linear scaling in layers "
              "that see everything, another local base, separate head",
              dict(num_key_value_heads=2, num_attention_heads=4, head_dim=16, query_pre_attn_scalar=24,
                   tie_word_embeddings=False, layer_types=["full_attention", "sliding_attention"],
                   rope_parameters=dict(
                       full_attention=dict(rope_type="linear", rope_theta=50000.0, factor=8.0),
                       sliding_attention=dict(rope_type="default", rope_theta=500.0))), (2, 24), "float32", None),
    "bf16": ("weights stored as bf16, logits computed from them in f32", {}, (2, 24), "bfloat16", None),
}
# folder -> (configuration class, settings that all cases of the family share, the case)
FOLDERS = {
    **{f"llama_{name}": (transformers.LlamaConfig, {**BASE, "rope_parameters": DEFAULT_ROPE}, case)
       for name, case in CASES.items()},
    **{f"gemma3_{name}": (transformers.Gemma3TextConfig, GEMMA3, case) for name, case in GEMMA3_CASES.items()},
}
# the cases in which the rotary scaling changes the result
SCALED = ("llama_rope_linear", "llama_rope_dynamic", "llama_rope_llama3", "llama_rope_yarn", "llama_rope_yarn_mscale",
          "gemma3_kinds")


def make_model(kind, settings, dtype, seed):
    """A random checkpoint whose every tensor matters to the output."""
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(kind(**settings)).eval()
    centre = 0.0 if kind is transformers.Gemma3TextConfig else 1.0
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.copy_(centre + 0.3 * torch.randn(parameter.shape))
            elif name.endswith(".bias"):
                parameter.copy_(0.2 * torch.randn(parameter.shape))
    return model.to(dtype)


def load_f32(folder, config=None):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32,
                                                             attn_implementation="eager").eval()


def evaluate(folder, input_ids):
    """Logits, loss and gradients as transformers computes them from the files in `folder`."""
    model = load_f32(folder)
    logits = model(input_ids=input_ids, use_cache=False).logits
    vocabulary = logits.shape[-1]
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].reshape(-1, vocabulary), input_ids[:, 1:].reshape(-1))
    loss.backward()
    tensors = {"input_ids": input_ids, "logits": logits.detach().contiguous(), "loss": loss.detach()}
    for name, parameter in model.named_parameters():
        tensors[f"grad_norm.{name}"] = parameter.grad.double().norm().float()
        if "norm" in name or name.endswith("layers.0.self_attn.k_proj.weight"):
            tensors[f"grad.{name}"] = parameter.grad.contiguous()
    return tensors


def legacy_config(config):
    """The same configuration as transformers 4 wrote it: rope_theta at the top, rope_scaling beside it."""
    old = {k: v for k, v in config.items() if k not in ("rope_parameters", "dtype")}
    rope = dict(config["rope_parameters"])
    if "full_attention" in rope:
        old["rope_local_base_freq"] = rope["sliding_attention"]["rope_theta"]
        rope = dict(rope["full_attention"])
        kinds = [(layer + 1) % 6 == 0 for layer in range(config["num_hidden_layers"])]
        if config["layer_types"] == ["full_attention" if full else "sliding_attention" for full in kinds]:
            old.pop("layer_types")
            old["sliding_window_pattern"] = 6
    old["rope_theta"] = rope.pop("rope_theta")
    old["rope_scaling"] = None if rope["rope_type"] == "default" else rope
    old["torch_dtype"] = config.get("dtype", "float32")
    return old


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def write_case(out, name, seed):
    kind, shared, (what, overrides, shape, dtype, shard) = FOLDERS[name]
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    model = make_model(kind, {**shared, **overrides}, getattr(torch, dtype), seed)
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))
    (folder / "generation_config.json").unlink(missing_ok=True)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    write_json(folder / "config.json", config)
    write_json(folder / "config_v4.json", legacy_config(config))
    generator = torch.Generator().manual_seed(seed + 1)
    input_ids = torch.randint(0, config["vocab_size"], shape, generator=generator)
    safetensors.torch.save_file(evaluate(folder, input_ids), folder / "golden.safetensors", metadata={"format": "pt"})
    size = sum(f.stat().st_size for f in folder.iterdir())
    assert size < 340_000, f"{folder} has {size} bytes"
    return what, size


def readme(rows):
    lines = ["# Golden vectors", "",
             "Tiny random checkpoints with the logits, the loss and gradients that transformers computes for them: the",
             "outside truth for our forward and backward passes. Made by `tests/tools/golden.py` (run it from the",
             f"root of the repository) with transformers {transformers.__version__} and torch {torch.__version__.split('+')[0]}",
             "in f32 on a CPU with eager attention; `--check` compares the stored vectors with the installed versions.",
             "The weights are random numbers and free of any claim (CC0).", "",
             "In each folder: `config.json` (transformers 5 form, rotary settings nested in `rope_parameters`),",
             "`config_v4.json` (the same in the older form, `rope_theta` and `rope_scaling` at the top), the weights, and",
             "`golden.safetensors` (`input_ids`, `logits`, `loss`, `grad_norm.<tensor>`, `grad.<tensor>`).", "",
             "| folder | what it proves | bytes |", "| --- | --- | --- |"]
    lines += [f"| `{name}` | {what} | {size} |" for name, what, size in rows]
    return "\n".join(lines) + "\n"


def check(out):
    worst = 0.0
    for name, (kind, _, _) in FOLDERS.items():
        folder = out / name
        stored = safetensors.torch.load_file(folder / "golden.safetensors")
        fresh = evaluate(folder, stored["input_ids"])
        assert fresh.keys() == stored.keys(), f"{name}: other tensors than stored"
        for key in stored:
            scale = stored[key].abs().max().clamp_min(1e-6)
            error = ((fresh[key] - stored[key]).abs().max() / scale).item()
            worst = max(worst, error)
            assert error < 1e-4, f"{name}: {key} is off by {error:.2e}"
        # the older form of the configuration must mean the same model, and the scaling must matter
        old = json.loads((folder / "config_v4.json").read_text())
        logits = {}
        for form, rope in (("same", old["rope_scaling"]), ("unscaled", None)):
            config = kind.from_dict({**old, "rope_scaling": rope})
            with torch.no_grad():
                logits[form] = load_f32(folder, config)(input_ids=stored["input_ids"], use_cache=False).logits
        assert (logits["same"] - stored["logits"]).abs().max() < 1e-5, f"{name}: config_v4.json means another model"
        moved = ((logits["unscaled"] - stored["logits"]).abs().max() / stored["logits"].abs().max()).item()
        assert name not in SCALED or moved > 1e-2, f"{name}: without its scaling the logits move by {moved:.1e} only"
        print(f"{name}: ok" + (f", unscaled rotation would be off by {moved:.2f}" if name in SCALED else ""))
    print(f"{len(FOLDERS)} cases, worst relative difference {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("assets/golden"))
    parser.add_argument("--check", action="store_true", help="compare the stored vectors with the installed versions")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    if args.check:
        check(args.out)
        return
    rows = []
    for index, name in enumerate(FOLDERS):
        what, size = write_case(args.out, name, 1000 + 10 * index)
        rows.append((name, what, size))
        print(f"{name}: {size} bytes", file=sys.stderr)
    (args.out / "README.md").write_text(readme(rows))


if __name__ == "__main__":
    main()
