#!/usr/bin/env python3
"""Where a training step goes: stacks of `perf script` to a picture (SVG) and a table of shares.

    perf record -F 199 -e cpu-clock -g --call-graph dwarf,16384 -o OUT temper bench train ...
    perf script -i OUT --no-inline -F comm,ip,sym | flame.py --svg FILE [--table] [--folded FILE] [--only WORD]

`--only` keeps stacks that have a function of this name and draws them from there on. Frames of the thread pool and of the
standard library are left out; names lose their crates' hashes and type arguments. Needs nothing but Python.
"""
import argparse
import collections
import html
import re
import sys

# frames that carry no meaning of their own
PLUMBING = re.compile(
    r"^(<?\s*(rayon|rayon_core|core|std|alloc|crossbeam\w*|pulp)::|__?rust|_?start\b|__libc|main$|clone3?$|start_thread|"
    r"\[unknown\]|__pthread|<alloc::|<core::|<rayon|<std::|<pulp)|rayon_core::|rayon::iter|core::ops::function|^_ZN"
)

# first match wins; a frame anywhere in the stack decides unless the rule says leaf
RULES = [
    ("packing of products' operands", "leaf", r"pack_|::pack\b|transpose"),
    ("products of attention", "product", r"kernels::attention"),
    ("products of the head", "product", r"kernels::head"),
    ("products of adapters", "product", r"kernels::low_rank|fused::linear.*low_rank"),
    ("products of linear layers", "product", r""),
    ("head: exponentials and sums", "any", r"kernels::head"),
    ("attention: exponentials and sums", "any", r"kernels::attention"),
    ("norms", "any", r"kernels::norm"),
    ("gates", "any", r"kernels::map|activation"),
    ("rotation", "any", r"kernels::rotary"),
    ("optimiser", "any", r"adamw|optim::"),
    ("dropout, sums, finiteness", "any", r"kernels::(low_rank|reduce)|rng::"),
    ("copies, clearing, page faults", "leaf", r"mem(cpy|move|set)|page|clear_|fault|madvise|brk|alloc"),
    ("waiting for the other thread", "any", r"sched_yield|futex|wait_until|sleep|idle"),
]
PRODUCT = re.compile(r"gemm|faer::linalg|nano_gemm|matmul")

COLOURS = ["#c9573c", "#d98f3f", "#c7a83f", "#8f9e3a", "#4f8f57", "#3f8f8f", "#4a7bb0", "#6a68b5", "#9a5fa5", "#b5587f"]


def tidy(name):
    """A function's name without offsets, hashes and type arguments."""
    name = re.sub(r"\+0x[0-9a-f]+$", "", name.strip())
    name = re.sub(r"::h[0-9a-f]{16}$", "", name)
    name = re.sub(r"\.llvm\.\d+$", "", name)
    while True:
        shorter = re.sub(r"<[^<>]*>", lambda found: "" if " as " not in found[0] else found[0][1:-1].split(" as ")[0], name)
        if shorter == name:
            break
        name = shorter
    name = re.sub(r"(::)?\{\{?closure\}?\}(#\d+)?", "", name)
    return re.sub(r":{3,}", "::", name).strip(":").replace("&", "").replace("mut ", "") or "?"


def stacks(lines):
    """Yields (raw frames from the outermost) for each sample."""
    frames = []
    for line in lines:
        line = line.rstrip("\n")
        if not line.strip():
            if frames:
                yield frames[::-1]
            frames = []
        elif line[0] in " \t":
            parts = line.strip().split(" ", 1)
            if len(parts) == 2 and re.fullmatch(r"[0-9a-f]+", parts[0]):
                frames.append(re.sub(r" \([^()]*\)$", "", parts[1]))
    if frames:
        yield frames[::-1]


def fold(lines, only):
    folded = collections.Counter()
    for raw in stacks(lines):
        kept = []
        for name in map(tidy, raw):
            if PLUMBING.search(name):
                continue
            if not kept or kept[-1] != name:
                kept.append(name)
        kept = kept or [tidy(raw[-1])]
        if only:
            places = [place for place, name in enumerate(kept) if only in name]
            if not places:
                continue
            kept = kept[places[0]:]
        folded[tuple(kept)] += 1
    return folded


def share_of(stack):
    whole, leaf = ";".join(stack), stack[-1]
    product = bool(PRODUCT.search(";".join(stack[-4:])))
    for name, where, pattern in RULES:
        if where == "leaf" and re.search(pattern, leaf):
            return name
        if where == "product" and product and re.search(pattern, whole):
            return name
        if where == "any" and re.search(pattern, whole):
            return name
    return "the rest"


def table(folded):
    total = sum(folded.values())
    shares = collections.Counter()
    for stack, count in folded.items():
        shares[share_of(stack)] += count
    for name, count in shares.most_common():
        print(f"{100 * count / total:6.2f} %  {name}")
    print(f"{total} samples")


def tree(folded):
    root = {"name": "all", "count": 0, "below": {}}
    for stack, count in folded.items():
        root["count"] += count
        node = root
        for name in stack:
            node = node["below"].setdefault(name, {"name": name, "count": 0, "below": {}})
            node["count"] += count
    return root


def draw(root, width, row, least):
    """Rectangles of every frame at least `least` pixels wide."""
    boxes, deepest = [], 0

    def walk(node, depth, x):
        nonlocal deepest
        wide = node["count"] / root["count"] * width
        if wide < least:
            return
        deepest = max(deepest, depth)
        boxes.append((node, depth, x, wide))
        for below in sorted(node["below"].values(), key=lambda below: below["name"]):
            walk(below, depth + 1, x)
            x += below["count"] / root["count"] * width

    walk(root, 0, 0.0)
    height = (deepest + 1) * row + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#fbf8f2"/>',
        f'<text x="4" y="14">{root["count"]} samples; width is the share of processor time, each row calls the one above it</text>',
    ]
    for node, depth, x, wide in boxes:
        y = height - (depth + 1) * row
        colour = COLOURS[sum(map(ord, node["name"].split("::")[0] + node["name"][-6:])) % len(COLOURS)]
        name = html.escape(node["name"])
        share = 100 * node["count"] / root["count"]
        lines.append(
            f'<g><title>{name}: {share:.2f} %</title><rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{row - 1}" '
            f'fill="{colour}" fill-opacity=".75"/>'
        )
        letters = int(wide / 5.6)
        if letters >= 4:
            short = node["name"] if len(node["name"]) <= letters else node["name"][: letters - 1] + "…"
            lines.append(f'<text x="{x + 2:.1f}" y="{y + row - 5}">{html.escape(short)}</text>')
        lines.append("</g>")
    lines.append("</svg>")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--svg")
    parser.add_argument("--folded")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--least", type=float, default=1.0, help="narrowest frame drawn, pixels")
    args = parser.parse_args()
    folded = fold(sys.stdin, args.only)
    if not folded:
        raise SystemExit("no stacks on the standard input: see the first lines of this file")
    if args.folded:
        with open(args.folded, "w") as out:
            out.writelines(f"{';'.join(stack)} {count}\n" for stack, count in folded.most_common())
    if args.svg:
        with open(args.svg, "w") as out:
            out.write(draw(tree(folded), args.width, 16, args.least))
    if args.table:
        table(folded)


if __name__ == "__main__":
    main()
