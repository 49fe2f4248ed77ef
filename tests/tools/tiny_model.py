"""A tiny random llama (0.4 M parameters) with the starter's tokenizer, as a Hugging Face folder or a GGUF file.

For tests of the program that need a model but no knowledge: bad inputs, kills, formats. Seeded; the same call gives the
same bytes.
"""
import json
import pathlib
import shutil

import numpy as np
from safetensors.numpy import save_file

STARTER = pathlib.Path(__file__).resolve().parents[2] / "assets/starter"
CONFIG = {"architectures": ["LlamaForCausalLM"], "attention_bias": False, "bos_token_id": 1, "dtype": "float32",
          "eos_token_id": 2, "head_dim": 32, "hidden_act": "silu", "hidden_size": 64, "initializer_range": 0.02,
          "intermediate_size": 128, "max_position_embeddings": 256, "mlp_bias": False, "model_type": "llama",
          "num_attention_heads": 2, "num_hidden_layers": 2, "num_key_value_heads": 1, "rms_norm_eps": 1e-5,
          "rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}, "tie_word_embeddings": True,
          "vocab_size": 4096}


def weights(seed=11):
    """Name to array, in the order of the model."""
    rng = np.random.default_rng(seed)
    width, inner, kv = CONFIG["hidden_size"], CONFIG["intermediate_size"], CONFIG["num_key_value_heads"] * CONFIG["head_dim"]
    draw = lambda *shape: rng.normal(0, 0.05, shape).astype(np.float32)  # noqa: E731
    out = {"model.embed_tokens.weight": draw(CONFIG["vocab_size"], width)}
    for layer in range(CONFIG["num_hidden_layers"]):
        at = f"model.layers.{layer}."
        shapes = {"self_attn.q_proj": (width, width), "self_attn.k_proj": (kv, width), "self_attn.v_proj": (kv, width),
                  "self_attn.o_proj": (width, width), "mlp.gate_proj": (inner, width), "mlp.up_proj": (inner, width),
                  "mlp.down_proj": (width, inner)}
        out |= {f"{at}{name}.weight": draw(*shape) for name, shape in shapes.items()}
        out |= {f"{at}{name}.weight": np.ones(width, np.float32) for name in ("input_layernorm", "post_attention_layernorm")}
    out["model.norm.weight"] = np.ones(width, np.float32)
    return out


def write_hf(folder, tensors=None, **config):
    """A folder with configuration, weights and tokenizer; keys of `config` replace those of CONFIG."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps({**CONFIG, **config}, indent=2))
    save_file(tensors or weights(), folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, folder / name)
    return folder


def write_gguf(path, kind="Q4_1"):
    """One GGUF file with the tokenizer in its metadata; matrices of the blocks in `kind`."""
    from gguf import GGMLQuantizationType, GGUFWriter
    from gguf.quants import quantize
    import judge_gguf
    tokenizer = json.loads((STARTER / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary = tokenizer["model"]["vocab"]
    special = {token["content"] for token in tokenizer["added_tokens"]}
    tokens = sorted([*vocabulary, *(special - vocabulary.keys())], key=lambda token: vocabulary.get(token, -1))
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in tokenizer["model"]["merges"]]
    writer = GGUFWriter(str(path), "llama")
    writer.add_name("tiny")
    writer.add_context_length(CONFIG["max_position_embeddings"])
    writer.add_embedding_length(CONFIG["hidden_size"])
    writer.add_block_count(CONFIG["num_hidden_layers"])
    writer.add_feed_forward_length(CONFIG["intermediate_size"])
    writer.add_head_count(CONFIG["num_attention_heads"])
    writer.add_head_count_kv(CONFIG["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(CONFIG["rms_norm_eps"])
    writer.add_rope_freq_base(CONFIG["rope_parameters"]["rope_theta"])
    writer.add_rope_dimension_count(CONFIG["head_dim"])
    writer.add_vocab_size(CONFIG["vocab_size"])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(tokens)
    writer.add_token_types([3 if token in special else 1 for token in tokens])
    writer.add_token_merges(merges)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template(json.loads((STARTER / "tokenizer_config.json").read_text())["chat_template"])
    heads = {"q_proj": CONFIG["num_attention_heads"], "k_proj": CONFIG["num_key_value_heads"]}
    for name, value in weights().items():
        count = next((n for part, n in heads.items() if part in name), None)
        value = judge_gguf.permuted(value, count) if count else value
        name = judge_gguf.gguf_name(name)
        if name.startswith("blk.") and value.ndim == 2:
            blocks = GGMLQuantizationType[kind]
            writer.add_tensor(name, quantize(value, blocks), raw_dtype=blocks)
        else:
            writer.add_tensor(name, value)
    judge_gguf.finish(writer)
    return pathlib.Path(path)
