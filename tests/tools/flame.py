#!/usr/bin/env python3
"""Where a training step goes: samples of `perf record` to a picture (SVG) and a table of shares.

    perf record -F 199 -e cpu-clock -g --call-graph dwarf,16384 -o DATA PROGRAM bench train ...
    flame.py --data DATA --program PROGRAM [--svg FILE] [--folded FILE] [--table] [--only PATTERN]

The inner kernels of the matrix products are hand-written assembly that tells no unwinder how to leave it, so stacks are
found here by another way, in the stack memory that perf kept with each sample: from the function that was running, the
next word further out that is the place after a call of just this function; where there is none, after any call. Frames of the thread pool and of the standard library are left out. `--only` keeps the samples in which a
function's name has the pattern and draws them from there on: a piece of work that another thread took over does not know
who asked for it, so that `Driver::micro_step` sees one thread's part of the step, which is like the others'.
Needs Python, nm and a program with symbols; x86-64 only.
"""
import argparse
import bisect
import collections
import html
import re
import struct
import subprocess

# frames without a meaning of their own
PLUMBING = re.compile(
    r"^(rayon|rayon_core|core|std|alloc|crossbeam\w*|pulp|spindle|candle_core)::|^temper_host::memory|ops::Values::of$|^__?rust|^_?start$|^__libc|^main$|^clone|^start_thread"
)
PRODUCT = re.compile(r"gemm|faer::linalg|millikernel")
# The first that fits a sample is its share. `leaf` looks at the function that was running, `product` at the whole stack of
# a matrix product, `any` at the whole stack.
RULES = [
    ("matrix products: packing operands", "leaf", r"gemm.*pack_|_pack|::pack"),
    ("matrix products of attention", "product", r"kernels::attention"),
    ("matrix products of head and loss", "product", r"kernels::head"),
    ("matrix products of adapters", "product", r"kernels::low_rank"),
    ("matrix products of linear layers", "product", r""),
    ("clearing, copying and mapping memory", "leaf", r"^_*mem|alloc|libc"),
    ("waiting for the other thread", "any", r"wait_until|sleep|^sched_yield|Barrier"),
    ("exponentials and sums of head and loss", "any", r"kernels::head"),
    ("exponentials and sums of attention", "any", r"kernels::attention"),
    ("norms", "any", r"kernels::norm"),
    ("gates", "any", r"mlp::|gate_|kernels::map"),
    ("rotation", "any", r"kernels::rotary"),
    ("optimiser", "any", r"AdamW|adamw"),
]
KERNEL = 0xFFFF_8000_0000_0000
COLOURS = ["#c9573c", "#d98f3f", "#c7a83f", "#8f9e3a", "#4f8f57", "#3f8f8f", "#4a7bb0", "#6a68b5", "#9a5fa5", "#b5587f"]
# words of stack that are searched for the next frame
REACH = 1024
# bits of perf's sample_type, in the order of the fields
IP, TID, TIME, ADDR, READ, CHAIN, ID, CPU, PERIOD, STREAM, RAW, BRANCH, REGS, STACK = (1 << bit for bit in range(14))
IDENTIFIER = 1 << 16


class Program:
    """Symbols and machine code of an ELF program."""

    def __init__(self, path):
        with open(path, "rb") as file:
            self.bytes = file.read()
        offset, = struct.unpack_from("<Q", self.bytes, 32)
        size, count = struct.unpack_from("<HH", self.bytes, 54)
        self.text = None
        for index in range(count):
            kind, flags, at, virtual, _, length = struct.unpack_from("<IIQQQQ", self.bytes, offset + index * size)
            if kind == 1 and flags & 1:
                self.text = (at, virtual, length)
        lines = subprocess.run(["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True).stdout
        symbols = {}
        for line in lines.splitlines():
            parts = line.split(" ", 2)
            if len(parts) == 3 and parts[1] in "tTwW" and parts[0].strip("0"):
                symbols.setdefault(int(parts[0], 16), parts[2])
        self.starts = sorted(symbols)
        self.names = [tidy(symbols[start]) for start in self.starts]

    def symbol(self, address):
        """Number of the function that an address lies in."""
        return bisect.bisect_right(self.starts, address) - 1

    def call_before(self, address):
        """Target of the call that returns to `address`: 0 through a pointer, None where there is no call."""
        at, virtual, length = self.text
        place = address - virtual
        if not 8 <= place < length:
            return None
        code = self.bytes[at + place - 7 : at + place]
        if code[2] == 0xE8:
            return (address + struct.unpack_from("<i", code, 3)[0]) & (2**64 - 1)
        for back, low, high in ((2, 0xD0, 0xD7), (3, 0x50, 0x57), (6, 0x90, 0x97), (6, 0x15, 0x15), (4, 0x54, 0x54), (7, 0x94, 0x94), (2, 0x10, 0x17)):
            if code[7 - back] == 0xFF and low <= code[8 - back] <= high:
                return 0
        return None


def tidy(name):
    """A function's name without hashes and type arguments."""
    name = re.sub(r"::h[0-9a-f]{16}$|\.llvm\.\d+$", "", name)
    name = re.sub(r"^<(.+) as .+>::(\w+)$", r"\1::\2", name)
    while True:
        shorter = re.sub(r"<[^<>]*>", "", name)
        if shorter == name:
            break
        name = shorter
    name = re.sub(r"(::)?\{\{closure\}\}", "", name)
    return re.sub(r":{3,}", "::", name).strip(":&*") or "?"


def samples(data):
    """(address, registers, stack, load address of the program's text) of each sample."""
    magic, _, _, attributes, _, start, length = struct.unpack_from("<8sQQQQQQ", data, 0)
    if magic != b"PERFILE2":
        raise SystemExit("not a file of perf record")
    kinds, = struct.unpack_from("<Q", data, attributes + 24)
    mask, = struct.unpack_from("<Q", data, attributes + 80)
    registers = [bit for bit in range(64) if mask >> bit & 1]
    if not kinds & STACK or kinds & (READ | RAW | BRANCH):
        raise SystemExit("record with --call-graph dwarf and nothing else")
    maps, end = [], start + length
    while start < end:
        kind, _, size = struct.unpack_from("<IHH", data, start)
        at, start = start + 8, start + size
        if kind == 10:  # MMAP2: pid, tid, address, length, offset, device and inode, protection, flags, name
            base, long, offset = struct.unpack_from("<QQQ", data, at + 8)
            name = data[at + 64 : start].split(b"\0")[0].decode(errors="replace")
            maps.append((base, base + long, offset, name))
        if kind != 9:
            continue
        at += 8 * bool(kinds & IDENTIFIER)
        address, = struct.unpack_from("<Q", data, at)
        at += 8 * sum(bool(kinds & field) for field in (IP, TID, TIME, ADDR, ID, STREAM, CPU, PERIOD))
        if kinds & CHAIN:
            count, = struct.unpack_from("<Q", data, at)
            at += 8 + 8 * count
        abi, = struct.unpack_from("<Q", data, at)
        at += 8
        if not abi:
            continue
        values = dict(zip(registers, struct.unpack_from(f"<{len(registers)}Q", data, at)))
        at += 8 * len(registers)
        kept, = struct.unpack_from("<Q", data, at)
        used, = struct.unpack_from("<Q", data, at + 8 + kept) if kept else (0,)
        yield address, values, data[at + 8 : at + 8 + used], maps


def frames(program, name, sample):
    """Functions of a sample from the innermost to the outermost."""
    address, values, stack, maps = sample
    at, virtual, _ = program.text
    # The text is mapped in whole pages; the heap's and the stack's words outside of it are no return addresses.
    inside = [entry for entry in maps if entry[3].endswith(name)]
    text = [base for base, _, offset, _ in inside if offset == at // 4096 * 4096]
    if not text:
        return []
    shift = text[0] - virtual // 4096 * 4096
    low, high = text[0], text[0] + program.text[2]
    found, here = [], values[8]
    if address >= KERNEL:
        found.append("the system")
    if low <= here < high:
        current = program.symbol(here - shift)
        found.append(program.names[current])
    else:
        found.append(next((entry[3].rsplit("/")[-1] for entry in maps if entry[0] <= here < entry[1]), "?"))
        current = None
    words = struct.unpack(f"<{len(stack) // 8}Q", stack[: len(stack) // 8 * 8])
    place = 0
    while place < len(words):
        nearest = None
        for ahead in range(place, min(place + REACH, len(words))):
            if not low <= words[ahead] < high:
                continue
            target = program.call_before(words[ahead] - shift)
            if target is None:
                continue
            if target and current is not None and program.symbol(target) == current:
                break
            if nearest is None:
                nearest = ahead
        else:
            # Called through a pointer, or by a function that ended in a jump to this one.
            if nearest is None:
                break
            ahead = nearest
        current = program.symbol(words[ahead] - shift)
        found.append(program.names[current])
        place = ahead + 1
    return found


def fold(data, path, only):
    program, name, folded = Program(path), path.rsplit("/")[-1], collections.Counter()
    for sample in samples(data):
        kept = []
        for frame in reversed(frames(program, name, sample)):
            if not PLUMBING.search(frame) and (not kept or kept[-1] != frame):
                kept.append(frame)
        places = [place for place, frame in enumerate(kept) if re.search(only, frame)]
        if places and kept:
            folded[tuple(kept[places[0] :])] += 1
    return folded


def share_of(stack):
    whole = ";".join(stack)
    for name, where, pattern in RULES:
        if where == "product" and not PRODUCT.search(";".join(stack[-3:])):
            continue
        if re.search(pattern, stack[-1] if where == "leaf" else whole):
            return name
    return "the rest"


def table(folded):
    total, shares = sum(folded.values()), collections.Counter()
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
    """Rectangles of every frame at least `least` pixels wide, the outermost at the bottom."""
    boxes = []

    def walk(node, depth, x):
        wide = node["count"] / root["count"] * width
        if wide < least:
            return
        boxes.append((node, depth, x, wide))
        for below in sorted(node["below"].values(), key=lambda below: below["name"]):
            walk(below, depth + 1, x)
            x += below["count"] / root["count"] * width

    walk(root, 0, 0.0)
    height = (max(depth for _, depth, _, _ in boxes) + 1) * row + 24
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="10">',
        f'<rect width="{width}" height="{height}" fill="#fbf8f2"/>',
        f'<text x="4" y="14">{root["count"]} samples; width is a share of processor time; below each function who called it</text>',
    ]
    for node, depth, x, wide in boxes:
        y, name = height - (depth + 1) * row, node["name"]
        colour = COLOURS[sum(map(ord, name)) % len(COLOURS)]
        share = 100 * node["count"] / root["count"]
        lines.append(f"<g><title>{html.escape(name)}: {share:.2f} %</title>")
        lines.append(
            f'<rect x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{row - 1}" fill="{colour}" fill-opacity=".75"/>'
        )
        letters = int(wide / 5.6)
        if letters >= 4:
            short = name if len(name) <= letters else "…" + name[len(name) - letters + 1 :]
            lines.append(f'<text x="{x + 2:.1f}" y="{y + row - 5}">{html.escape(short)}</text>')
        lines.append("</g>")
    return "\n".join([*lines, "</svg>"]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--program", required=True)
    parser.add_argument("--svg")
    parser.add_argument("--folded")
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--width", type=int, default=1400)
    parser.add_argument("--least", type=float, default=1.0, help="narrowest frame drawn, pixels")
    args = parser.parse_args()
    with open(args.data, "rb") as file:
        folded = fold(file.read(), args.program, args.only)
    if not folded:
        raise SystemExit("no sample fits: is this the program that was recorded?")
    if args.folded:
        with open(args.folded, "w", encoding="utf-8") as out:
            out.writelines(f"{';'.join(stack)} {count}\n" for stack, count in folded.most_common())
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as out:
            out.write(draw(tree(folded), args.width, 16, args.least))
    if args.table:
        table(folded)


if __name__ == "__main__":
    main()
