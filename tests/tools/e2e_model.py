#!/usr/bin/env python3
"""A real model end to end: train, export in every form, and let PEFT, transformers and gguf judge the files.

    e2e_model.py --temper PROGRAM --kit DIR/kit.json --source gguf|hf [--steps 12] [--min-gain 0.0] [--work DIR]

Trains LoRA on SmolLM2-135M with the dialogues of the kit, at 1 x 128 tokens with recomputation. `--min-gain 0.1` asks
for a validation loss at least 10 % below the base's. From a GGUF base all four exports are judged, from a Hugging Face
folder the adapter and the merged folder. `--max-rss MIB` bounds the peak memory of training.
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


def body(args, work):
    kit = json.loads(args.kit.read_text())
    temper = temper_cli.Temper(args.temper)
    model = kit["smollm2_gguf"] if args.source == "gguf" else kit["smollm2_hf"]
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

    tokens = temper_cli.write_tokens(pathlib.Path(kit["smollm2_hf"]) / "tokenizer.json", work / "tokens.safetensors")
    adapter = temper.export("last", project, "peft", work / "peft")
    merged = temper.export("last", project, "hf", work / "hf", "--dtype", "f32")
    ours = temper.logits(model, tokens, work / "adapter.safetensors", adapter)
    of_merged = temper.logits(merged, tokens, work / "merged.safetensors")
    both = {**ours, **{k.replace(".logits", ".merged_logits"): v for k, v in of_merged.items() if k.endswith(".logits")}}
    temper_cli.save_file(both, work / "ours.safetensors", metadata={"format": "pt"})
    judged("the adapter", "judge_peft.py", "--base", kit["smollm2_hf"], "--adapter", adapter,
           "--ours", work / "ours.safetensors", "--ours-merged", merged)
    judged("the merged folder", "judge_hf.py", "--model", merged, "--ours", work / "merged.safetensors")
    if args.source == "gguf":
        lora = temper.export("last", project, "gguf-lora", work / "lora.gguf")
        for dtype in args.gguf_types.split(","):
            file = temper.export("last", project, "gguf", work / f"merged-{dtype}.gguf", "--dtype", dtype)
            logits = work / f"gguf-{dtype}.safetensors"
            temper.logits(file, tokens, logits)
            judged(f"merged {dtype} and LoRA", "judge_gguf.py", "--base", model, "--merged", file, "--lora", lora,
                   "--ours", logits)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--kit", type=pathlib.Path, required=True)
    parser.add_argument("--source", choices=["gguf", "hf"], required=True)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--lr", type=float, default=5e-4)
    parser.add_argument("--min-gain", type=float, default=0.0)
    parser.add_argument("--max-rss", type=float, default=0.0)
    parser.add_argument("--gguf-types", default="f32", help="storage types of merged GGUF files, with commas")
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
