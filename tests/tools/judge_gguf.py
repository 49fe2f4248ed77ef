#!/usr/bin/env python3
"""External judge of a merged GGUF file and a GGUF LoRA: the gguf package and transformers are the oracles.

    judge_gguf.py --base BASE.gguf [--merged MERGED.gguf] [--lora LORA.gguf] [--ours FILE.safetensors] [--json OUT]
    judge_gguf.py --selftest

- MERGED has every tensor of BASE with the same shape, nothing else, and BASE's metadata (the storage type may differ).
- LORA declares itself an adapter, each pair names a tensor of BASE and has its sides, no tensor is left over.
- With both: alpha / r * B A of LORA added to BASE's dequantised tensors gives MERGED's tensors, each within 1e-5 of
  its largest value for f32 (1e-3 f16, 8e-3 bf16; for blocks a little over one step: 1.5e-2 Q8_0, 4e-2 Q6_K and Q5_1,
  7e-2 Q5_0, 8e-2 Q5_K, 0.15 Q4_K), q and k included; tensors without a pair that keep their blocks are unchanged.
- A MERGED whose general.file_type says Q4_K_M, Q5_K_M or Q6_K has the types that llama.cpp's rules give each tensor.
- With FILE (`<case>.input_ids`, `<case>.logits` of `temper logits MERGED`): transformers loads MERGED and agrees.

Exit code 0 = passed, 1 = a check failed, 2 = could not run. Nothing is downloaded.
"""
import argparse
import json
import pathlib
import sys
import tempfile

import judge_hf
import numpy as np
import torch
import transformers
from gguf import GGUFReader, GGUFWriter, GGMLQuantizationType
from gguf.quants import dequantize, quantize

LIMITS = {"F32": 1e-5, "F16": 1e-3, "BF16": 8e-3, "Q8_0": 1.5e-2, "Q6_K": 4e-2, "Q5_K": 8e-2, "Q4_K": 0.15,
          "Q5_1": 4e-2, "Q5_0": 7e-2}
FLOATS = ("F32", "F16", "BF16")
# general.file_type -> the type of most tensors
MIXTURES = {15: "Q4_K", 17: "Q5_K", 18: "Q6_K"}
STAND_INS = {"Q4_K": "Q5_0", "Q5_K": "Q5_1", "Q6_K": "Q8_0"}
# metadata that must change with the storage type or names the file itself
MAY_DIFFER = {"general.file_type", "general.quantization_version", "general.name", "general.size_label",
              "general.finetune", "general.basename", "general.version", "general.description"}


def values(reader):
    """{key: value} of the metadata, without the reader's own fields."""
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def tensors(reader):
    """{name: tensor}; refuses a name that stands twice."""
    out = {tensor.name: tensor for tensor in reader.tensors}
    assert len(out) == len(reader.tensors), "a tensor name stands twice"
    return out


def matrix(tensor):
    """The tensor as f32 in row order (out, in)."""
    return np.asarray(dequantize(tensor.data, tensor.tensor_type), dtype=np.float32).reshape(
        tuple(int(n) for n in reversed(tensor.shape)))


def check_same_tensors(report, base, merged):
    a, b = tensors(base), tensors(merged)
    report.add("merged: no tensor of the base is lacking", not set(a) - set(b), lacking=sorted(set(a) - set(b))[:4])
    report.add("merged: no tensor too many", not set(b) - set(a), extra=sorted(set(b) - set(a))[:4])
    shapes = [name for name in a if name in b and list(a[name].shape) != list(b[name].shape)]
    report.add("merged: shapes", not shapes, differ=shapes[:4])
    report.add("merged: every value finite", all(np.isfinite(matrix(tensor)).all() for tensor in b.values()))
    x, y = values(base), values(merged)
    lost = sorted(key for key in x if key not in y and key not in MAY_DIFFER)
    changed = sorted(key for key in x if key in y and x[key] != y[key] and key not in MAY_DIFFER)
    report.add("merged: the base's metadata is kept", not lost and not changed, lost=lost[:4], changed=changed[:4])
    kinds = {}
    for tensor in b.values():
        kinds[tensor.tensor_type.name] = kinds.get(tensor.tensor_type.name, 0) + 1
    report.add("merged: storage types", kinds, **kinds)


def expected_kind(name, shape, main, layers, tied):
    """The type of a matrix in a mixture: llama.cpp's rules without an importance matrix, for dense llamas."""
    kind, parts = main, name.split(".")
    if name == "output.weight" or tied and name == "token_embd.weight":
        kind = "Q6_K"
    elif parts[0] == "blk" and parts[2] in ("attn_v", "ffn_down"):
        layer, eighth = int(parts[1]), layers // 8
        if layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2:
            kind = "Q6_K"
    width = int(shape[0])
    if width % 256:
        kind = STAND_INS[kind] if width % 32 == 0 else "F16"
    return kind


def check_mixture(report, merged):
    meta, found = values(merged), tensors(merged)
    main = MIXTURES.get(meta.get("general.file_type"))
    if main is None:
        return
    layers, tied, wrong = meta[f"{meta['general.architecture']}.block_count"], "output.weight" not in found, []
    for name, tensor in found.items():
        kind = tensor.tensor_type.name
        wanted = expected_kind(name, tensor.shape, main, layers, tied) if len(tensor.shape) == 2 else "F32"
        if kind != wanted:
            wrong.append(f"{name} {kind} for {wanted}")
    report.add(f"merged: the mixture is {main}", not wrong, wrong=wrong[:4])
    report.add("merged: the version of the blocks", meta.get("general.quantization_version") == 2)


def lora_pairs(report, base, lora):
    """{tensor of the base: (A [r, in], B [out, r])} and alpha."""
    meta = values(lora)
    report.add("lora: general.type is adapter", meta.get("general.type") == "adapter", found=meta.get("general.type"))
    report.add("lora: adapter.type is lora", meta.get("adapter.type") == "lora", found=meta.get("adapter.type"))
    same = meta.get("general.architecture") == values(base).get("general.architecture")
    report.add("lora: architecture of the base", same, found=meta.get("general.architecture"))
    alpha = meta.get("adapter.lora.alpha")
    report.add("lora: alpha", isinstance(alpha, float) and alpha > 0, alpha=alpha)
    found, ours, pairs, odd = tensors(base), tensors(lora), {}, []
    for name in ours:
        stem, _, side = name.rpartition(".lora_")
        other = f"{stem}.lora_{'b' if side == 'a' else 'a'}"
        if side not in ("a", "b") or stem not in found or other not in ours:
            odd.append(name)
            continue
        if side == "a":
            a, b = matrix(ours[name]), matrix(ours[other])
            inner, outer = int(found[stem].shape[0]), int(found[stem].shape[1])
            if a.shape[1] != inner or b.shape[0] != outer or a.shape[0] != b.shape[1]:
                odd.append(f"{name} {a.shape} {b.shape} for {outer} x {inner}")
            else:
                pairs[stem] = (a, b)
    report.add("lora: every tensor belongs to a pair that fits the base", not odd, odd=odd[:4])
    report.add("lora: at least one pair", pairs, pairs=len(pairs))
    return pairs, float(alpha or 0.0)


def check_sum(report, base, merged, pairs, alpha):
    a, b = tensors(base), tensors(merged)
    worst, where, bad, moved = 0.0, "", [], 0
    for name in sorted(set(a) & set(b)):
        wanted = matrix(a[name]).astype(np.float64)
        if name in pairs:
            factor_a, factor_b = pairs[name]
            change = alpha / factor_a.shape[0] * factor_b.astype(np.float64) @ factor_a.astype(np.float64)
            moved += bool(np.abs(change).max() > 0)
            wanted = wanted + change
        limit = LIMITS.get(b[name].tensor_type.name)
        if name not in pairs and a[name].tensor_type == b[name].tensor_type and b[name].tensor_type.name not in FLOATS:
            limit = 0.0  # kept in its blocks: nothing may have changed
        error = float(np.abs(wanted - matrix(b[name])).max() / max(np.abs(wanted).max(), 1e-30))
        if limit is None or not error <= limit:
            bad.append(f"{name} {b[name].tensor_type.name} {error:.1e}")
        if error > worst:
            worst, where = error, name
    report.add("base + alpha / r * B A = merged", not bad, worst=f"{worst:.2e}", at=where, bad=bad[:4])
    report.add("the adapter changes weights", moved > 0, changed=moved)
    parts = {part: sum(f".attn_{part}." in name for name in pairs) for part in "qkv"}
    if not report.quiet:
        print("       pairs on " + ", ".join(f"{part}: {n}" for part, n in parts.items()) + f", all: {len(pairs)}")


def judge(base, merged=None, lora=None, ours=None, limit=1e-3, quiet=False):
    report = judge_hf.Report(quiet)
    base = GGUFReader(base)
    read = GGUFReader(merged) if merged else None
    if read:
        check_same_tensors(report, base, read)
        check_mixture(report, read)
    if lora:
        pairs, alpha = lora_pairs(report, base, GGUFReader(lora))
        if read:
            check_sum(report, base, read, pairs, alpha)
    if ours and merged:
        path = pathlib.Path(merged).resolve()
        model, info = transformers.AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager", output_loading_info=True)
        missing = [key for key in info.get("missing_keys") or [] if "lm_head" not in key]
        report.add("transformers finds every tensor", not missing, missing=missing[:4])
        judge_hf.compare_logits(report, model.eval(), ours, limit)
    return report


# ------------------------------------------------------------------------------------------------------------ selftest

NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
         "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up",
         "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}


def gguf_name(name):
    for old, new in (("model.embed_tokens", "token_embd"), ("model.norm", "output_norm"), ("model.layers.", "blk.")):
        name = name.replace(old, new)
    for old, new in NAMES.items():
        name = name.replace(old, new)
    return name


def write_gguf(path, config, state, kinds=None, file_type=None):
    writer = GGUFWriter(path, "llama")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    if file_type is not None:
        writer.add_file_type(file_type)
    for name, value in state.items():
        kind = (kinds or {}).get(name, GGMLQuantizationType.F32)
        if kind == GGMLQuantizationType.F32:
            writer.add_tensor(name, value.astype(np.float32))
        else:
            writer.add_tensor(name, quantize(value.astype(np.float32), kind), raw_dtype=kind)
    finish(writer)


def write_lora(path, pairs, alpha, kind="adapter"):
    writer = GGUFWriter(path, "llama")
    writer.add_type(kind)
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    for name, (a, b) in pairs.items():
        writer.add_tensor(f"{name}.lora_a", a)
        writer.add_tensor(f"{name}.lora_b", b)
    finish(writer)


def finish(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def permuted(weight, heads):
    """Rows of q or k from half-split to interleaved rotary order."""
    out, inner = weight.shape
    return weight.reshape(heads, 2, out // heads // 2, inner).swapaxes(1, 2).reshape(out, inner)


def selftest():
    golden = pathlib.Path(__file__).resolve().parents[2] / "assets/golden/llama_gqa_untied"
    config = json.loads((golden / "config.json").read_text())
    config["head_dim"] = config["hidden_size"] // config["num_attention_heads"]
    stored = judge_hf.load_file(golden / "golden.safetensors")
    state = {}
    for name, value in judge_hf.load_file(golden / "model.safetensors").items():
        value = value.numpy()
        heads = {"q_proj": config["num_attention_heads"], "k_proj": config["num_key_value_heads"]}
        heads = next((n for part, n in heads.items() if part in name), None)
        target = "output.weight" if name == "lm_head.weight" else gguf_name(name)
        state[target] = permuted(value, heads) if heads else value
    rng = np.random.default_rng(3)
    sites = [name for name in state if ".attn_" in name and "norm" not in name or ".ffn_" in name and "norm" not in name]
    pairs = {name: (rng.normal(0, 0.1, (4, state[name].shape[1])).astype(np.float32),
                    rng.normal(0, 0.1, (state[name].shape[0], 4)).astype(np.float32)) for name in sites}
    kinds = {name: GGMLQuantizationType.Q4_1 for name in sites}
    results = []

    def expect(name, want, report, because=""):
        good = judge_hf.as_expected(report, want, because)
        results.append(good)
        print(f"{'ok ' if good else 'BAD'} {name}: {'PASS' if report.ok else 'FAIL ' + str(report.failed())}")

    with tempfile.TemporaryDirectory() as work:
        path = lambda name: str(pathlib.Path(work) / f"{name}.gguf")  # noqa: E731
        write_gguf(path("base"), config, state, kinds)
        held = {tensor.name: matrix(tensor) for tensor in GGUFReader(path("base")).tensors}
        total = lambda alpha: {n: v + alpha / 4 * pairs[n][1] @ pairs[n][0] if n in pairs else v for n, v in held.items()}  # noqa: E731
        write_gguf(path("merged"), config, total(8.0))
        write_lora(path("lora"), pairs, 8.0)
        go = lambda **kw: judge(path("base"), quiet=True, **kw)  # noqa: E731
        expect("sum is exact", True, go(merged=path("merged"), lora=path("lora")))
        write_gguf(path("merged8"), config, total(8.0), {name: GGMLQuantizationType.Q8_0 for name in sites})
        expect("sum in q8_0", True, go(merged=path("merged8"), lora=path("lora")))
        write_gguf(path("merged5"), config, total(8.0), {name: GGMLQuantizationType.Q5_0 for name in sites})
        expect("sum in q5_0", True, go(merged=path("merged5"), lora=path("lora")))
        write_gguf(path("twice5"), config, total(16.0), {name: GGMLQuantizationType.Q5_0 for name in sites})
        expect("twice the change in q5_0", False, go(merged=path("twice5"), lora=path("lora")), "base + alpha")
        write_gguf(path("named"), config, total(8.0), {name: GGMLQuantizationType.Q5_0 for name in sites}, file_type=15)
        expect("not the mixture that it says it is", False, go(merged=path("named"), lora=path("lora")), "mixture")
        write_lora(path("alpha"), pairs, 9.0)
        expect("another alpha", False, go(merged=path("merged"), lora=path("alpha")), "base + alpha")
        swapped = {n: (a, permuted(b, 4) if ".attn_q" in n else b) for n, (a, b) in pairs.items()}
        write_lora(path("heads"), swapped, 8.0)
        expect("q in the other rotary order", False, go(merged=path("merged"), lora=path("heads")), "base + alpha")
        write_lora(path("kind"), pairs, 8.0, kind="model")
        expect("not declared as an adapter", False, go(lora=path("kind")), "general.type")
        write_gguf(path("less"), config, {n: v for n, v in total(8.0).items() if n != "blk.1.ffn_up.weight"})
        expect("a tensor is missing", False, go(merged=path("less"), lora=path("lora")), "lacking")
        write_gguf(path("meta"), {**config, "rms_norm_eps": 1e-6}, total(8.0))
        expect("metadata changed", False, go(merged=path("meta"), lora=path("lora")), "metadata")
        write_gguf(path("plain"), config, state)
        ours = str(pathlib.Path(work) / "ours.safetensors")
        judge_hf.save_file({"a.input_ids": stored["input_ids"], "a.logits": stored["logits"]}, ours)
        expect("transformers reads the file as the model it is", True, go(merged=path("plain"), ours=ours))
        expect("transformers reads another model", False, go(merged=path("merged"), ours=ours), "a: logits")
    print(f"selftest: {sum(results)}/{len(results)} as expected")
    return all(results)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base")
    parser.add_argument("--merged")
    parser.add_argument("--lora")
    parser.add_argument("--ours", help="our logits of the merged file")
    parser.add_argument("--limit", type=float, default=1e-3, help="relative error of logits")
    parser.add_argument("--json", help="write the rows there")
    parser.add_argument("--selftest", action="store_true")
    args = parser.parse_args()
    if args.selftest:
        sys.exit(0 if selftest() else 1)
    if not args.base or not (args.merged or args.lora):
        parser.error("--base and one of --merged, --lora are required (or --selftest)")
    try:
        report = judge(args.base, args.merged, args.lora, args.ours, args.limit)
    except Exception as error:  # whatever the readers throw, the judge could not do its work
        print(f"judge could not run: {type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(2)
    if args.json:
        pathlib.Path(args.json).write_text(json.dumps({"ok": report.ok, "checks": report.rows}, indent=1, default=str))
    print("VERDICT:", "PASS" if report.ok else "FAIL")
    sys.exit(0 if report.ok else 1)


if __name__ == "__main__":
    main()
