#!/usr/bin/env python3
"""A real model end to end: train, export in every form, and let PEFT, transformers and gguf judge the files.

    e2e_model.py --temper PROGRAM --kit DIR/kit.json --source gguf|hf [--model smollm2|gemma3] [--steps 12]
                 [--min-gain 0.0] [--work DIR]

Trains LoRA on SmolLM2-135M (or Gemma 3 270M, from its GGUF file) with the dialogues of the kit, at 1 x 128 tokens with recomputation. `--min-gain 0.1` asks
for a validation loss at least 10 % below the base's. From a GGUF base all four exports are judged, from a Hugging Face
folder the adapter and the merged folder; `--greedy EXAMPLE` (the built example greedy_llama) also has the merged f32 and
f16 files answered by candle-transformers, token for token as `temper generate` does with the adapter. `--max-rss MIB`
bounds the peak memory of training.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

import temper_cli
from temper_cli import check, last

HERE = pathlib.Path(__file__).resolve().parent


def judged(name, script, *arguments):
    done = subprocess.run([sys.executable, str(HERE / script), *map(str, arguments)], capture_output=True, text=True)
    print(done.stdout, end="")
    check(f"{script}: {name}", done.returncode == 0, said=done.stderr[-500:] if done.returncode else "")


# Some begin a sequence that goes on in one way only, so that no rounding can turn the answer.
PROMPTS = ["1, 2, 3, 4, 5,", "The alphabet: a, b, c, d, e,", "def fibonacci(n):\n", "10, 20, 30, 40,", "2, 4, 6, 8,",
           "Hello, how are you?", "The sun rises in the", "A B C D E F G", "To be, or not to be,",
           "<|im_start|>user\nTell me about the history of computers.<|im_end|>\n<|im_start|>assistant\n"]
NEW_TOKENS = 32
LEAST_MARGIN = 0.05


def same_greedy_answers(args, kit, temper, model, adapter, files, work):
    """Three prompts whose answers no rounding can turn: the same tokens from another program as from ours."""
    tokenizer = pathlib.Path(kit["smollm2_hf"]) / "tokenizer.json"
    (work / "prompts.json").write_text(json.dumps(PROMPTS))
    answers = {}
    for dtype, file in files.items():
        done = subprocess.run([args.greedy, file, tokenizer, work / "prompts.json", str(NEW_TOKENS)],
                              capture_output=True, text=True)
        check(f"candle-transformers answers from the {dtype} file", done.returncode == 0, said=done.stderr[-300:])
        answers[dtype] = [json.loads(line) for line in done.stdout.splitlines()]
    import tokenizers
    special = set(tokenizers.Tokenizer.from_file(str(tokenizer)).get_added_tokens_decoder())
    clear, margins = [], []
    for same in zip(*answers.values(), strict=True):
        margins.append(round(min(answer["margin"] for answer in same), 3))
        # an answer with a stop in it would be compared up to there only
        if margins[-1] > LEAST_MARGIN and not any(special.intersection(answer["tokens"]) for answer in same):
            clear.append(len(margins) - 1)
    check(f"three prompts with a margin above {LEAST_MARGIN}", len(clear) >= 3, margins=margins)
    for index in clear[:3]:
        said = last(temper.run("generate", model, "--adapter", adapter, "--prompt", PROMPTS[index],
                               "--max-tokens", NEW_TOKENS), "text")
        for dtype, given in answers.items():
            same = given[index]["text"] == said["text"] and said["tokens"] == NEW_TOKENS
            check(f"{dtype}: {PROMPTS[index]!r}", same, tokens=said["tokens"], margin=margins[index],
                  ours=repr(said["text"]), theirs="the same" if same else repr(given[index]["text"]))


def parts(args, kit, work):
    """Model, tokenizer.json, and the base as a folder that transformers and PEFT can load."""
    if args.model == "smollm2":
        model = kit["smollm2_gguf"] if args.source == "gguf" else kit["smollm2_hf"]
        return model, pathlib.Path(kit["smollm2_hf"]) / "tokenizer.json", kit["smollm2_hf"]
    if args.source != "gguf":
        sys.exit("error: the kit has Gemma 3 as a GGUF file only")
    import torch
    import transformers
    file = pathlib.Path(kit["gemma3_gguf"])
    dense = transformers.AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    settings = dense.config.to_dict()
    settings.pop("quantization_config", None)
    # the loaded model remembers its blocks and refuses to be saved; one of the same values does not
    plain = type(dense)(type(dense.config)(**settings))
    plain.load_state_dict(dense.state_dict())
    plain.save_pretrained(work / "dense")
    return str(file), pathlib.Path(kit["gemma3_tokenizer"]) / "tokenizer.json", str(work / "dense")


def body(args, work):
    kit = json.loads(args.kit.read_text())
    model, tokenizer, dense = parts(args, kit, work)
    temper = temper_cli.Temper(args.temper)
    project = temper_cli.write_project(work / "project", model, kit["chatterbot"],
                                       train={"steps": args.steps, "lr_peak": args.lr, "eval_steps": 0})
    events = temper.run("train", project)
    done = last(events, "finished")
    check("the run finished", done and done["status"] == "finished", **{k: done[k] for k in ("steps", "tokens_per_sec")})
    gain = 1 - done["final_loss"] / done["base_loss"]
    check(f"validation loss falls by at least {args.min_gain:.0%}", gain >= args.min_gain, gain=f"{gain:.1%}",
          base=done["base_loss"], final=done["final_loss"], seconds=done["wall_secs"])
    if args.max_rss:
        check(f"peak memory below {args.max_rss} MiB", done["peak_rss_mib"] < args.max_rss, peak=done["peak_rss_mib"])

    tokens = temper_cli.write_tokens(tokenizer, work / "tokens.safetensors")
    adapter = temper.export("last", project, "peft", work / "peft")
    merged = temper.export("last", project, "hf", work / "hf", "--dtype", "f32")
    ours = temper.logits(model, tokens, work / "adapter.safetensors", adapter)
    of_merged = temper.logits(merged, tokens, work / "merged.safetensors")
    both = {**ours, **{k.replace(".logits", ".merged_logits"): v for k, v in of_merged.items() if k.endswith(".logits")}}
    temper_cli.save_file(both, work / "ours.safetensors", metadata={"format": "pt"})
    judged("the adapter", "judge_peft.py", "--base", dense, "--adapter", adapter,
           "--ours", work / "ours.safetensors", "--ours-merged", merged)
    judged("the merged folder", "judge_hf.py", "--model", merged, "--ours", work / "merged.safetensors")
    if args.source == "gguf":
        lora = temper.export("last", project, "gguf-lora", work / "lora.gguf")
        files = {}
        for dtype in args.gguf_types.split(","):
            file = temper.export("last", project, "gguf", work / f"merged-{dtype}.gguf", "--dtype", dtype)
            files[dtype] = file
            logits = work / f"gguf-{dtype}.safetensors"
            temper.logits(file, tokens, logits)
            judged(f"merged {dtype} and LoRA", "judge_gguf.py", "--base", model, "--merged", file, "--lora", lora,
                   "--ours", logits)
        if args.greedy:
            dense = {dtype: file for dtype, file in files.items() if dtype in ("f32", "f16")}
            same_greedy_answers(args, kit, temper, model, adapter, dense, work)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--kit", type=pathlib.Path, required=True)
    parser.add_argument("--source", choices=["gguf", "hf"], required=True)
    parser.add_argument("--model", choices=["smollm2", "gemma3"], default="smollm2")
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--min-gain", type=float, default=0.0)
    parser.add_argument("--max-rss", type=float, default=0.0)
    parser.add_argument("--gguf-types", default="f32", help="storage types of merged GGUF files, with commas, K-quants too")
    parser.add_argument("--greedy", type=pathlib.Path, help="the built example greedy_llama")
    parser.add_argument("--work", type=pathlib.Path, help="keep the files there")
    args = parser.parse_args()
    if args.work:
        args.work.mkdir(parents=True, exist_ok=True)
        temper_cli.main(lambda: body(args, args.work))
    else:
        with tempfile.TemporaryDirectory() as work:
            temper_cli.main(lambda: body(args, pathlib.Path(work)))


if __name__ == "__main__":
    main()
