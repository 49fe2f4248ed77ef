#!/usr/bin/env python3
"""The real Gemma 3 270M from its GGUF file against its own tokenizer and transformers: tokens, chat, logits, training.

    gemma_test.py --temper PROGRAM --kit DIR/kit.json --tokens EXAMPLE [--transformers] [--steps 6]

- Tokens: the numbers that the file's vocabulary gives are those of the model's own tokenizer.json, for dialogues in
  every language of the kit and for texts of spaces, tags, rare characters and broken pieces of all of these. EXAMPLE is
  the built example `tokens`.
- Logits and answers: the largest logits behind two prompts and 24 tokens, the best each time, are those that transformers
  gave for the same file (STORED below).
- Training: a few steps of LoRA lower the loss on held-out rows.

With --transformers, a minute more, transformers itself reads the file: its logits are ours, also beyond the window of 512
tokens, what is stored is what it gives, and the model's own chat template gives the text and numbers that it makes.
"""
import argparse
import json
import os
import pathlib
import random
import subprocess
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import temper_cli
import tokenizers
from safetensors.numpy import save_file
from temper_cli import check, last

NEW_TOKENS = 24
# prompt -> token and logit of the four best behind it, and the answer, as transformers gives them
STORED = {
    "The capital of France is": (
        [(506, 19.0915), (496, 18.5476), (9079, 18.2686), (886, 18.1130)],
        " the capital of the country of France. It is the largest city in France and the second largest city in Europe. It"),
    "1, 2, 3, 4, 5,": (
        [(236743, 18.2185), (3729, 13.8341), (7881, 13.5032), (532, 13.4820)], " 6, 7, 8, 9, 10, 11, 12,"),
    "def add(a, b):\n    return": (
        [(496, 13.6187), (568, 9.5835), (518, 9.4960), (236769, 9.3763)],
        " a + b\n\ndef sub(a, b):\n    return a - b\n\ndef multiply(a, b"),
}
PIECES = [" ", "  ", "\n", "\t", "a", "the", " The", "<", ">", "</", "b>", "0", "12", "\u00e9", "\u00df", "\u4e2d",
          "\U0001f642", "\u2581", "\r", "\u200d", "'s", "...", "\u2603", "\ufeff"]
ODD = ["", "  ", " a", "a ", "a  b", "a\n\n\nb", "   indented\n      more", "\u2581\u2581 x", "<bos>x<eos>",
       "<start_of_turn>user\nHi<end_of_turn>\n", "<b>bold</b></u>", "\x00\x01\x7f", "\r\n\r\n", "\u00a0\u2003x",
       " " * 40 + "x", "\n" * 40, "\t" * 33, "a" * 500, "<unused5>", "[multimodal]", "<0x41>", "\U0010ffff\ue000"]
CHATS = [[{"role": "user", "content": " Hello there. "}],
         [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"},
          {"role": "assistant", "content": "Air scatters blue light."}, {"role": "user", "content": "And\n\nat dusk?"}]]


def texts(kit):
    corpus = sorted(pathlib.Path(kit["kit"]).glob("x_chatterbot_corpus/**/*.yml"))
    lines = [line for path in corpus for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    rng = random.Random(3)
    broken = ["".join(rng.choice(PIECES) for _ in range(rng.randint(1, 30))) for _ in range(1000)]
    here = pathlib.Path(__file__).read_text(encoding="utf-8")
    return rng.sample(lines, min(4000, len(lines))) + ODD + broken + [here]


def encoded(args, kit, lines, *template):
    done = subprocess.run([args.tokens, kit["gemma3_gguf"], *template], capture_output=True, text=True, encoding="utf-8",
                          input="".join(json.dumps(line) + "\n" for line in lines))
    check("the tokenizer reads every line", done.returncode == 0, said=done.stderr[-300:])
    return [json.loads(line) for line in done.stdout.split("\n") if line]


def tokens(args, kit):
    own = tokenizers.Tokenizer.from_file(str(pathlib.Path(kit["gemma3_tokenizer"]) / "tokenizer.json"))
    all_texts = texts(kit)
    ours = encoded(args, kit, all_texts)
    theirs = [encoding.ids for encoding in own.encode_batch(all_texts, add_special_tokens=False)]
    differ = [text for text, mine, other in zip(all_texts, ours, theirs, strict=True) if mine["ids"] != other]
    check("token numbers are those of the model's tokenizer.json", not differ and len(all_texts) > 3000,
          texts=len(all_texts), differ=len(differ), first=repr(differ[:1])[:120])
    plain = [(text, mine) for text, mine in zip(all_texts, ours, strict=True) if "\u2581" not in text]
    lost = [text for text, mine in plain if mine["again"] != text]
    check("texts come back from their numbers", not lost, lost=len(lost), first=repr(lost[:1])[:120])
    return own


def chat(args, kit, work, own):
    import transformers
    settings = json.loads((pathlib.Path(kit["gemma3_tokenizer"]) / "tokenizer_config.json").read_text(encoding="utf-8"))
    (work / "template.jinja").write_text(settings["chat_template"], encoding="utf-8")
    fast = transformers.PreTrainedTokenizerFast(tokenizer_object=own, bos_token="<bos>", eos_token="<eos>",
                                                chat_template=settings["chat_template"])
    for turns, mine in zip(CHATS, encoded(args, kit, CHATS, work / "template.jinja"), strict=True):
        text = fast.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        ids = own.encode(text, add_special_tokens=False).ids
        check(f"a chat of {len(turns)} turns", (mine["text"], mine["ids"]) == (text, ids), text=repr(mine["text"])[:60])


def best(logits):
    """Token and logit of the four largest."""
    return [(int(token), float(logits[token])) for token in logits.argsort()[::-1][:4]]


def logits_and_answers(kit, work, temper, own):
    file = kit["gemma3_gguf"]
    ids = {f"case{index}": np.array([own.encode(prompt).ids]) for index, prompt in enumerate(STORED)}
    save_file({f"{name}.input_ids": of_case for name, of_case in ids.items()}, str(work / "short.safetensors"))
    ours = temper.logits(file, work / "short.safetensors", work / "short-logits.safetensors")
    for index, (prompt, (stored, answer)) in enumerate(STORED.items()):
        mine = best(ours[f"case{index}.logits"][0, -1])
        close = all(a == b and abs(x - y) < 1e-3 for (a, x), (b, y) in zip(mine, stored, strict=True))
        check(f"the largest logits behind {prompt!r} are those of transformers", close, ours=mine, stored=stored)
        said = last(temper.run("generate", file, "--prompt", prompt, "--max-tokens", NEW_TOKENS), "text")
        check(f"the answer to {prompt!r} is that of transformers", said["text"] == answer, ours=repr(said["text"]))


def against_transformers(kit, work, temper, own):
    import torch
    import transformers
    transformers.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    file = pathlib.Path(kit["gemma3_gguf"])
    model = transformers.AutoModelForCausalLM.from_pretrained(
        file.parent, gguf_file=file.name, dtype=torch.float32, attn_implementation="eager").eval()
    cases = {f"case{index}": own.encode(prompt).ids for index, prompt in enumerate(STORED)}
    cases["long"] = own.encode(pathlib.Path(__file__).read_text(encoding="utf-8")).ids[:560]
    inputs = {name: torch.tensor([ids]) for name, ids in cases.items()}
    asked = work / "tokens.safetensors"
    save_file({f"{name}.input_ids": ids.numpy() for name, ids in inputs.items()}, str(asked))
    ours = temper.logits(file, asked, work / "logits.safetensors")
    with torch.no_grad():
        for name, ids in inputs.items():
            theirs = model(input_ids=ids, use_cache=False).logits
            mine = torch.from_numpy(ours[f"{name}.logits"]).reshape(theirs.shape)
            relative = ((mine - theirs).abs().max() / theirs.abs().max()).item()
            check(f"logits of {name} are those of transformers", relative < 2e-5, relative=f"{relative:.1e}",
                  tokens=ids.shape[1])
        for index, (prompt, (stored, stored_answer)) in enumerate(STORED.items()):
            ids = inputs[f"case{index}"]
            found = best(model(input_ids=ids, use_cache=False).logits[0, -1].numpy())
            close = all(a == b and abs(x - y) < 1e-3 for (a, x), (b, y) in zip(found, stored, strict=True))
            check(f"what is stored for {prompt!r}", close, found=found)
            answer = model.generate(ids, max_new_tokens=NEW_TOKENS, min_new_tokens=NEW_TOKENS, do_sample=False)
            theirs = own.decode(answer[0, ids.shape[1]:].tolist())
            check(f"the answer stored for {prompt!r}", theirs == stored_answer, theirs=repr(theirs))


def training(args, kit, work, temper):
    project = temper_cli.write_project(work / "gemma", kit["gemma3_gguf"], kit["chatterbot"],
                                       train={"steps": args.steps, "lr_peak": 5e-4, "eval_rows": 10})
    done = last(temper.run("train", project), "finished")
    gain = 1 - done["final_loss"] / done["base_loss"]
    check("a few steps lower the loss on held-out rows", gain > 0.05, gain=f"{gain:.1%}", steps=done["steps"],
          tokens_per_sec=round(done["tokens_per_sec"]), peak_rss_mib=round(done["peak_rss_mib"]))


def body(args):
    kit = json.loads(args.kit.read_text())
    temper = temper_cli.Temper(args.temper)
    with tempfile.TemporaryDirectory() as work:
        work = pathlib.Path(work)
        own = tokens(args, kit)
        logits_and_answers(kit, work, temper, own)
        training(args, kit, work, temper)
        if args.transformers:
            chat(args, kit, work, own)
            against_transformers(kit, work, temper, own)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--temper", type=pathlib.Path, required=True)
    parser.add_argument("--kit", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=pathlib.Path, required=True, help="the built example `tokens`")
    parser.add_argument("--transformers", action="store_true", help="also compare with transformers itself")
    parser.add_argument("--steps", type=int, default=6)
    args = parser.parse_args()
    temper_cli.main(lambda: body(args))


if __name__ == "__main__":
    main()
