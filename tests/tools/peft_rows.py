#!/usr/bin/env python3
"""PyTorch + transformers + PEFT on the rows that `temper bench train --data FILE --dump-rows ROWS` was fed.

    peft_rows.py HF_FOLDER ROWS --mode padded [--rows 8]     the rows one by one, right-padded to the longest of 8
    peft_rows.py HF_FOLDER ROWS --mode packed                the packed rows as they are, positions begun anew in each
                                                             segment, a mask that lets nothing see another segment

Same work as peft_baseline.py: LoRA on every linear layer, AdamW, f32, sdpa attention; labels are -100 on prompts and
padding. Prints the median over the steps of useful (not padding) tokens a second, the padding, the losses of the first
step and the peak memory. With --check the packed rows' loss is compared with that of their segments alone.
"""
import argparse
import json
import os
import resource
import statistics
import sys
import time

os.environ["HF_HUB_OFFLINE"] = "1"
import torch
from transformers import AutoModelForCausalLM

IGNORE = -100


def steps_of(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line)["rows"] for line in file]


def segments(row):
    for start, end in zip(row["borders"], row["borders"][1:]):
        # Nothing is predicted across a border.
        yield row["ids"][start:end], [IGNORE, *row["labels"][start + 1:end]]


def padded(rows, pad=0):
    """Inputs of rows given as (ids, labels), right-padded."""
    width = max(len(ids) for ids, _ in rows)
    fill = lambda values, value: values + [value] * (width - len(values))
    return {
        "input_ids": torch.tensor([fill(ids, pad) for ids, _ in rows]),
        "labels": torch.tensor([fill(labels, IGNORE) for _, labels in rows]),
        "attention_mask": torch.tensor([fill([1] * len(ids), 0) for ids, _ in rows]),
    }


def packed(rows, pad=0):
    """Inputs of packed rows: each position sees what came before it in its own segment."""
    inputs = padded([(row["ids"], row["labels"]) for row in rows], pad)
    batch, width = inputs["input_ids"].shape
    positions = torch.zeros((batch, width), dtype=torch.long)
    # Padding is a segment of its own, so that no row of the mask is empty.
    segment = torch.full((batch, width), -1)
    for index, row in enumerate(rows):
        for number, (start, end) in enumerate(zip(row["borders"], row["borders"][1:])):
            positions[index, start:end] = torch.arange(end - start)
            segment[index, start:end] = number
    sees = (segment[:, :, None] == segment[:, None, :]) & torch.ones((width, width), dtype=torch.bool).tril()
    mask = torch.zeros((batch, 1, width, width)).masked_fill(~sees[:, None], torch.finfo(torch.float32).min)
    return {**inputs, "attention_mask": mask, "position_ids": positions}


def batches(args):
    for rows in steps_of(args.rows_file):
        if args.mode == "packed":
            yield packed(rows), sum(len(row["ids"]) for row in rows)
    if args.mode == "padded":
        all_rows = [segment for rows in steps_of(args.rows_file) for row in rows for segment in segments(row)]
        for start in range(0, len(all_rows) - args.rows + 1, args.rows):
            rows = all_rows[start:start + args.rows]
            yield padded(rows), sum(len(ids) for ids, _ in rows)


def check(model, args):
    rows = steps_of(args.rows_file)[0]
    with torch.no_grad():
        together = model(**packed(rows)).loss.item()
        alone, count = 0.0, 0
        for row in rows:
            for ids, labels in segments(row):
                trained = sum(label != IGNORE for label in labels)
                if trained:
                    alone += trained * model(**padded([(ids, labels)])).loss.item()
                    count += trained
    alone /= count
    print(f"packed {together:.6f} alone {alone:.6f}")
    if abs(together - alone) > 1e-3:
        sys.exit("the packed rows see each other: the mask does not hold")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("rows_file", metavar="ROWS")
    parser.add_argument("--mode", choices=["padded", "packed"], required=True)
    parser.add_argument("--rows", type=int, default=8, help="rows a batch, padded")
    parser.add_argument("--steps", type=int, default=8, help="the first is not counted")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    from peft import LoraConfig, get_peft_model
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_pretrained(args.model, dtype=torch.float32, attn_implementation="sdpa")
    model.config.use_cache = False
    model = get_peft_model(model, LoraConfig(r=args.rank, lora_alpha=2 * args.rank, lora_dropout=0.0,
                                             target_modules="all-linear", task_type="CAUSAL_LM"))
    if args.check:
        check(model, args)
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-4)
    rates, useful, positions, first_loss = [], 0, 0, None
    for step, (inputs, tokens) in enumerate(batches(args)):
        if step == args.steps:
            break
        begin = time.perf_counter()
        loss = model(**inputs).loss
        loss.backward()
        optimiser.step()
        optimiser.zero_grad()
        rates.append(tokens / (time.perf_counter() - begin))
        useful += tokens
        positions += inputs["input_ids"].numel()
        first_loss = loss.item() if first_loss is None else first_loss
    if len(rates) < 2:
        sys.exit(f"{args.rows_file}: too few rows for two steps")
    print(json.dumps({
        "tokens_per_sec": statistics.median(rates[1:]),
        "steps": len(rates) - 1,
        "tokens_per_step": useful / len(rates),
        "padding_share": 1 - useful / positions,
        "first_loss": first_loss,
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }))


if __name__ == "__main__":
    main()
