#!/usr/bin/env python3
"""What the innermost loops of the `tiled` and the `coopmat` core are made of, from final code.

`names` prints the variants that are looked at, one a line; `heads` what the labels of attention
over matrices begin with on a GPU, of which the choice of variants for all devices leaves some out.
`record` reads folders of texts as `wgvq kernels --ir` writes them, named GPU.on or GPU.off after
robust buffer access, and replaces these GPUs' rows in a table. scripts/gpulab.sh runs this, and
scripts/kernel_budgets.py writes the table into docs/kernels.md.
"""

import argparse
import csv
import os
import re
import sys

COLUMNS = ["gpu", "robust", "kernel", "tile", "products", "instructions", "cycles", "moves"]
# Of the loop around the innermost, what lies outside of that one.
COLUMNS += ["around", "around_cycles"]
# Of the `tiled` core, the kernels that have a loop around the innermost.
AROUND = ["conv2d", "conv2d_grad_input", "conv2d_grad_weight", "vq_search"]
# down, across, rows and columns of an invocation, steps along k: those of src/gpu/kernel/gemm.rs.
TILES = [(16, 16, 8, 8, 8), (16, 8, 8, 8, 8), (8, 8, 8, 8, 8), (8, 16, 8, 4, 8)]
KK = "LHS_K=1 LHS_VEC=1 RHS_K=1 RHS_VEC=1 WHOLE=1"
KM = "LHS_K=1 LHS_VEC=1 RHS_M=1 RHS_VEC=1 WHOLE=1"
MM = "LHS_M=1 LHS_VEC=1 RHS_M=1 RHS_VEC=1 WHOLE=1"
KERNELS = {
    "matmul": f"{KM} OUT_VEC=1",
    "conv2d": f"{KK} OUT_VEC=1 RUNS=1 LHS_EMPTY=1",
    "conv2d_grad_input": f"{KM} OUT_VEC=1 RUNS=1 LHS_EMPTY=1",
    "conv2d_grad_weight": f"{MM} RUNS=1 LHS_CUT=1",
    "vq_search": KK,
}
# Of the `coopmat` core, without what says that runs may be several: it has no other form.
MATRIX_KERNELS = {
    "matmul": f"{KM} OUT_VEC=1 DIRECT=1",
    "conv2d": f"{KK} OUT_VEC=1 LHS_EMPTY=1 DIRECT=1",
    "conv2d_grad_input": f"{KM} OUT_VEC=1 LHS_EMPTY=1 DIRECT=1",
    "conv2d_grad_weight": f"{MM} LHS_CUT=1 DIRECT=1",
}
# Of the search for few channels: these in fours, and the latents of an invocation, as
# src/ops/quantize/vq_search/few_channels.rs has them; the codes of an innermost loop, and of the
# one around it.
FEW = [(1, 8), (2, 6), (3, 4), (4, 4)]
FEW_BLOCK, FEW_GROUP = 8, 64
# Of attention over matrices: the channels of a head, and the rows that a workgroup owns, as
# src/ops/attention/attention/coopmat.rs has them.
ATTENTION = [
    ("attention_coopmat", 64, 64),
    ("attention_coopmat", 128, 32),
    ("attention_grad_q_coopmat", 64, 32),
    ("attention_grad_q_coopmat", 128, 32),
    ("attention_grad_kv_coopmat", 64, 32),
    ("attention_grad_kv_coopmat", 128, 32),
]
MULTIPLY_ADD = re.compile(r"\b(v_(dual_)?fma\w*|v_pk_fma\w*|ffma\S*)\b")
MATRIX_PRODUCT = re.compile(r"\b(v_s?wmma\w*|hmma\S*)")
# Copies of registers, which NAK makes many of where matrices need theirs side by side.
MOVE = re.compile(r"\b(v_(dual_)?mov\w*|mov)\b")
# Neither waits for anything that was loaded nor hints of the scheduler are work.
WAIT = re.compile(r"\b(s_waitcnt\w*|s_delay_alu)\b")


def matrix_variants(lanes):
    """Those of the `coopmat` core with subgroups of as many lanes."""
    for kernel, flags in MATRIX_KERNELS.items():
        for size in (128, 64):
            group = 4 * lanes
            depth = 32
            tile = f"GROUP={group} V={16 * size // group} NC={size // 16} TILE_ROWS={size}"
            tile += f" TILE_COLS={size} TILE_K={depth} LINE_LANES={depth // 8}"
            tile += f" SIDE=16 SUBGROUP={lanes}"
            # Cells of four halves, where an invocation stores whole ones.
            if "_M=1" not in flags or depth * size // (4 * group) % 4 == 0:
                tile += " QUADS=1"
            label = f"{kernel}({','.join(sorted((flags + ' ' + tile).split()))})"
            yield label, kernel, f"coopmat {size}x{size}"


def attention_variants(lanes):
    """Those of attention over matrices, likewise."""
    for kernel, channels, rows in ATTENTION:
        tile = f"CHANNELS={channels} CHUNK={min(channels, 64)} GROUP={4 * lanes} QUADS=1 SIDE=16"
        tile += f" SUBGROUP={lanes} TILE_ROWS={rows} VEC=1"
        label = f"{kernel}({','.join(sorted(tile.split()))})"
        yield label, kernel, f"coopmat {channels} channels"


def attention_heads(lanes):
    """What the labels of all of these begin with, for heads of every size, masked and not."""
    for kernel in sorted({kernel for kernel, _, _ in ATTENTION}):
        for channels in (32, 64, 128):
            start = f"{kernel}(CHANNELS={channels},CHUNK={min(channels, 64)},GROUP={4 * lanes},"
            yield from (start + mask + "QUADS=1," for mask in ("", "MASK=1,"))


def matrix_lanes(gpu):
    """Subgroups on a GPU whose matrices are looked at."""
    return 64 if gpu.startswith("rx") else 32


def looked_at(gpu):
    """The variants that a GPU runs: Radeons have subgroups of 64, GeForces of 32."""
    lanes = matrix_lanes(gpu)
    matrices = [*matrix_variants(lanes), *attention_variants(lanes)]
    return [*variants(), *few_variants(), *matrices]


def few_variants():
    """Those of the search for few channels."""
    for quads, v in FEW:
        flags = f"BLOCK={FEW_BLOCK} GROUP={FEW_GROUP} QUADS={quads} TILE_ROWS={FEW_GROUP * v}"
        label = f"vq_search_few_channels({','.join(sorted((flags + f' V={v} VEC=1').split()))})"
        yield label, "vq_search_few_channels", f"{4 * quads} channels"


def tile_name(down, across, v, nc):
    return f"{down * v}x{across * nc} {v}x{nc}"


def variants():
    """Each variant's label, with its kernel and its tile as the engine names it."""
    for kernel, flags in KERNELS.items():
        for down, across, v, nc, depth in TILES:
            tile = (
                f"GROUP={down * across} ACROSS={across} V={v} NC={nc} TILE_K={depth}"
                f" TILE_ROWS={down * v} TILE_COLS={across * nc}"
            )
            label = f"{kernel}({','.join(sorted((flags + ' ' + tile).split()))})"
            yield label, kernel, tile_name(down, across, v, nc)


def graph_loops(text):
    """The loops of NVK's code, which lists each block's successors: instructions of the
    innermost, and those around them in the next loop."""
    blocks, successors, at = {}, {}, None
    for line in text.splitlines():
        if head := re.match(r"block(?:\.u)? (\d+) ", line):
            at = int(head[1])
            blocks[at] = []
        elif end := re.match(r"\} -> \[([\d, ]*)\]", line):
            successors[at] = [int(n) for n in re.findall(r"\d+", end[1])]
        elif at is not None and re.search(r"[a-z]", line):
            blocks[at].append(line)
    before = {b: [p for p in blocks if b in successors.get(p, [])] for b in blocks}
    bodies = {}
    for block, heads in successors.items():
        for head in (head for head in heads if head <= block):
            body, todo = bodies.setdefault(head, {head}), [block]
            while todo:
                if (b := todo.pop()) not in body:
                    body.add(b)
                    todo.extend(before[b])
    for head, body in bodies.items():
        if not any(other != head and other in body for other in bodies):
            outer = min((o for o in bodies.values() if body < o), key=len, default=body)
            parts = (sorted(body), sorted(outer - body))
            yield tuple([line for b in part for line in blocks[b]] for part in parts)


def text_loops(text):
    """The innermost loops of RADV's code, which lie together, from a label to the branch back, and
    what is around them in the next loop."""
    code, labels, spans = [], {}, set()
    for line in text.splitlines():
        if label := re.match(r"\s*(BB\d+):", line):
            labels[label[1]] = len(code)
        elif re.match(r"\s*[a-z]", line.split(";")[0]):
            code.append(line.split(";")[0])
    for at, line in enumerate(code):
        to = re.search(r"\bs_c?branch\w*\s+(BB\d+)\b", line)
        if to and labels.get(to[1], at + 1) <= at:
            spans.add((labels[to[1]], at + 1))
    for start, end in spans:
        if not any((s, e) != (start, end) and start <= s and e <= end for s, e in spans):
            wider = [(s, e) for s, e in spans if s <= start and end <= e and (s, e) != (start, end)]
            s, e = min(wider, key=lambda span: span[1] - span[0], default=(start, end))
            yield code[start:end], code[s:start] + code[end:e]


def hottest(path, product):
    """Of the innermost loop with most of what multiplies: how many, all instructions, issue
    cycles and moves; then the instructions and issue cycles around it."""
    with open(path, encoding="utf-8", errors="replace") as file:
        text = file.read()
    found = []
    for body, around in (graph_loops if "NAK" in os.path.basename(path) else text_loops)(text):
        [work, rest] = [[line for line in part if not WAIT.search(line)] for part in (body, around)]
        [cycles, rest_cycles] = [
            sum(int(n) for line in part for n in re.findall(r"\bdelay=(\d+)", line))
            for part in (body, around)
        ]
        count = lambda pattern: sum(bool(pattern.search(line)) for line in work)  # noqa: E731
        found.append(
            (count(product), len(work), cycles, count(MOVE), len(rest), rest_cycles),
        )
    return max(found, default=(0,) * 6, key=lambda loop: (loop[0], -loop[1]))


def record(table, folders):
    rows = []
    if os.path.exists(table):
        with open(table, encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    for folder in folders:
        gpu, _, robust = os.path.basename(folder.rstrip("/")).rpartition(".")
        rows = [row for row in rows if (row["gpu"], row["robust"]) != (gpu, robust)]
        for label, kernel, tile in looked_at(gpu):
            stem = re.sub(r"[^A-Za-z0-9\-_=.]", "_", label)
            texts = [f"{folder}/{stem}.{kind}.txt" for kind in ("NAK_assembly", "Assembly")]
            text = next((path for path in texts if os.path.exists(path)), None)
            if text is None:
                sys.exit(f"{folder}: no final code of {label}")
            counts = hottest(text, MATRIX_PRODUCT if tile.startswith("coopmat") else MULTIPLY_ADD)
            if counts[0] == 0:
                sys.exit(f"{text}: no loop with what {tile} multiplies by")
            rows.append(dict(zip(COLUMNS, (gpu, robust, kernel, tile, *counts))))
    with open(table, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: (row["gpu"], row["robust"])))


def read(table):
    """The table's rows, and its columns of figures: GPUs with robust access on or off."""
    with open(table, encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return rows, sorted({(row["gpu"], row["robust"]) for row in rows})


def markdown(kernels, columns, cells):
    lines = [
        "| kernel | tile |"
        + "".join(f" {gpu}, robust access {robust} |" for gpu, robust in columns)
    ]
    lines.append("| --- | --- |" + " --- |" * len(columns))
    for kernel, tile in kernels:
        figures = [cells.get((kernel, tile, *column), "") for column in columns]
        lines.append(f"| `{kernel}` | {tile} | " + " | ".join(figures) + " |")
    return lines


def page(table, of):
    """The table as lines of Markdown, of some variants."""
    rows, columns = read(table)
    cells = {}
    for row in rows:
        products, instructions = int(row["products"]), int(row["instructions"])
        share = f"{100 * products / (int(row['cycles']) or instructions):.0f} %"
        if row["tile"].startswith("coopmat"):
            share = f"{instructions / products:.1f}"
            if moves := int(row["moves"]):
                share += f", {(instructions - moves) / products:.1f}"
        cells[row["kernel"], row["tile"], row["gpu"], row["robust"]] = share
    return markdown([(kernel, tile) for _, kernel, tile in of], columns, cells)


def page_around(table, steps):
    """How much of a walk over `steps` along k lies around the innermost loop, likewise."""
    rows, columns = read(table)
    depths = {tile_name(*tile[:4]): tile[4] for tile in TILES}
    cells = {}
    for row in rows:
        if row["kernel"] not in AROUND or row["tile"] not in depths:
            continue
        turns = steps // depths[row["tile"]]
        [loop, around] = [
            int(row[cycles]) or int(row[instructions])
            for cycles, instructions in (("cycles", "instructions"), ("around_cycles", "around"))
        ]
        share = f"{100 * around / (turns * loop + around):.1f} %"
        cells[row["kernel"], row["tile"], row["gpu"], row["robust"]] = share
    kernels = [(kernel, tile) for _, kernel, tile in variants() if kernel in AROUND]
    return markdown(kernels, columns, cells)


def page_few(table, tile):
    """What a score takes of a kernel for few channels, and of a tile of the `tiled` core."""
    rows, columns = read(table)
    depth = {tile_name(*t[:4]): t[4] for t in TILES}[tile]
    figures = {}
    for row in rows:
        loop = int(row["cycles"]) or int(row["instructions"])
        around = int(row["around_cycles"]) or int(row["around"])
        figures[row["kernel"], row["tile"], row["gpu"], row["robust"]] = (loop, around)
    lines = ["| channels | kernel |" + "".join(f" {g}, robust access {r} |" for g, r in columns)]
    lines.append("| --- | --- |" + " --- |" * len(columns))
    for quads, v in FEW:
        cells = {"few channels": [], f"tiles {tile}": []}
        for column in columns:
            few = ("vq_search_few_channels", f"{4 * quads} channels", *column)
            for kernel, key, turns, scores in [
                ("few channels", few, FEW_GROUP // FEW_BLOCK, FEW_GROUP * v),
                (f"tiles {tile}", ("vq_search", tile, *column), -(-4 * quads // depth), 64),
            ]:
                loop, around = figures.get(key, (0, 0))
                each = f"{(turns * loop + around) / scores:.1f}" if loop else ""
                cells[kernel].append(each)
        for kernel, row in cells.items():
            lines.append(f"| {4 * quads} | {kernel} | " + " | ".join(row) + " |")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["names", "heads", "record"])
    parser.add_argument("--table")
    parser.add_argument("--gpu", default="", help="whose variants `names` prints")
    parser.add_argument("folders", nargs="*")
    args = parser.parse_intermixed_args()
    if args.what == "heads":
        print("\n".join(attention_heads(matrix_lanes(args.gpu))))
    elif args.what == "names":
        print("\n".join(label for label, _, _ in looked_at(args.gpu)))
    else:
        record(args.table, args.folders)


if __name__ == "__main__":
    main()
