#!/usr/bin/env python3
"""Holds what compilers say of the kernels against a table of budgets, or writes the table.

Reads files named after a GPU, with a line of JSON for each kernel variant, as
`wgvq kernels --statistics --json` prints them. scripts/gpulab.sh runs this.
"""

import argparse
import csv
import json
import os
import sys

sys.dont_write_bytecode = True  # scripts/ holds nothing that is made

import kernel_loops  # noqa: E402

COLUMNS = ["gpu", "kernel", "variants", "registers", "spills", "instructions", "occupancy"]
ORDER = [
    "rtx2060",
    "rtx3080",
    "rtx4070",
    "rtx5080",
    "rx580",
    "rx6800",
    "rx7900",
    "rx9070",
    "deck",
    "m1",
    "adreno740",
]
# A compiler's figures move a little with text that does not matter.
SLACK = {"registers": 1.0, "spills": 1.0, "instructions": 1.02}


def family(label):
    """A kernel's name, with the matrix core whose variant it is where that is not `tiled`."""
    name, _, defines = label.partition("(")
    for define, core in ((",SIDE=", "coopmat"), (",LANES=", "subgroup")):
        if define in "," + defines:
            return name if name.endswith(core) else f"{name} {core}"
    return name


def worst(path):
    """The worst figures of each kernel's variants, the number refused, and occupancy's unit."""
    kernels, refused, unit, seen = {}, [], None, set()
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row["kernel"] in seen:
                continue
            seen.add(row["kernel"])
            if "refused" in row:
                refused.append(f"{row['kernel']}: {row['refused']}")
            if "registers" not in row:
                continue
            unit = row["occupancy_unit"] or unit
            name = family(row["kernel"])
            old = kernels.setdefault(
                name,
                {"variants": 0, "registers": 0, "spills": 0, "instructions": 0, "occupancy": None},
            )
            old["variants"] += 1
            for figure in ("registers", "spills", "instructions"):
                old[figure] = max(old[figure], int(row[figure] or 0))
            if row["occupancy"] is not None:
                fewest = int(row["occupancy"])
                old["occupancy"] = (
                    fewest if old["occupancy"] is None else min(old["occupancy"], fewest)
                )
    return kernels, refused, unit


def read_budgets(path):
    """The table's Mesa, its access, and its rows by GPU and kernel."""
    with open(path, encoding="utf-8", newline="") as table:
        head = table.readline()
        if not head.startswith("# Mesa "):
            sys.exit(f"{path}: the first line names no Mesa version")
        mesa, robust = head.removeprefix("# Mesa ").strip().split(", robust access ")
        rows = {(row["gpu"], row["kernel"]): row for row in csv.DictReader(table)}
    return mesa, robust, rows


def check(args, found):
    mesa, robust, budgets = read_budgets(args.budgets)
    if robust != args.robust:
        sys.exit(f"{args.budgets} holds for robust access {robust}, this is {args.robust}")
    over, refusals = [], []
    for gpu, (kernels, refused, _) in found.items():
        refusals += [f"{gpu}: refused: {what}" for what in refused]
        for name, figures in sorted(kernels.items()):
            budget = budgets.get((gpu, name))
            if budget is None:
                over.append(
                    f"{gpu}: {name} has no budget; scripts/gpulab.sh record {gpu} makes one"
                )
                continue
            for figure, slack in SLACK.items():
                if figures[figure] > int(budget[figure]) * slack:
                    over.append(
                        f"{gpu}: {name}: {figures[figure]} {figure}, of {budget[figure]} allowed"
                    )
            fits, least = figures["occupancy"], budget["occupancy"]
            if fits is not None and least and fits < int(least):
                over.append(f"{gpu}: {name}: {fits} waves fit at once, {least} before")
    for line in refusals + over:
        print(line)
    kernels = sum(len(kernels) for kernels, _, _ in found.values())
    print(f"{kernels} kernels on {len(found)} GPUs, {len(over)} beyond their budget")
    if refusals:
        # A kernel that a compiler refuses runs on no version of it that has this fault.
        print(f"{len(refusals)} kernels are refused")
        return 1
    if over and mesa != args.mesa:
        print(f"warning only: the budgets are of Mesa {mesa}, this is {args.mesa}")
        return 0
    return 1 if over else 0


def record(args, found):
    rows = {}
    measured = lambda name: not args.only or name.split()[0] in args.only.split()  # noqa: E731
    if os.path.exists(args.budgets):
        mesa, robust, rows = read_budgets(args.budgets)
        if (mesa, robust) != (args.mesa, args.robust):
            lost = sorted({gpu for gpu, name in rows if gpu not in found or not measured(name)})
            if lost:
                sys.exit(
                    f"{args.budgets} is of Mesa {mesa}, robust access {robust}, and this is"
                    f" {args.mesa}, {args.robust}: budgets of {', '.join(lost)} would be lost."
                    " Record all GPUs and all kernels at once"
                )
            rows = {}
    for gpu, (kernels, refused, _) in found.items():
        if refused:
            sys.exit(f"{gpu} refuses {len(refused)} kernels, first {refused[0]}")
        rows = {key: row for key, row in rows.items() if key[0] != gpu or not measured(key[1])}
        for name, figures in kernels.items():
            rows[gpu, name] = {"gpu": gpu, "kernel": name, **figures}
    os.makedirs(os.path.dirname(args.budgets), exist_ok=True)
    with open(args.budgets, "w", encoding="utf-8", newline="") as table:
        table.write(f"# Mesa {args.mesa}, robust access {args.robust}\n")
        writer = csv.DictWriter(table, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for key in sorted(rows):
            writer.writerow(rows[key])
    with open(args.page, "w", encoding="utf-8") as page:
        page.write(text(args, rows))
        if args.loops and os.path.exists(args.loops):
            page.write(loops(args.loops))
    spilling = sum(int(row["spills"]) > 0 for row in rows.values())
    print(f"{args.budgets}: {len(rows)} budgets, {spilling} of them with spills; {args.page}")
    return 0


def text(args, rows):
    gpus = sorted(
        {gpu for gpu, _ in rows},
        key=lambda gpu: (ORDER.index(gpu) if gpu in ORDER else len(ORDER), gpu),
    )
    names = sorted({name for _, name in rows})
    lines = [
        "# Kernels, as GPUs' compilers see them",
        "",
        "This page is made by `scripts/gpulab.sh record`, and is not to be edited.",
        "",
        (
            f"Mesa {args.mesa}'s compilers for these GPUs, run without the GPUs, robust buffer"
            f" access {args.robust}."
        ),
        (
            "The variants of each kernel are a choice (`wgvq kernels --pairwise`) of those that the"
            " GPU can run; a cell has the worst of them: registers, then the fewest waves or"
            " threads that fit at once, then, in bold, registers spilled to memory."
        ),
        (
            "Registers count 32 bits for an invocation on GeForce and Radeon, 16 bits on Apple, and"
            " vectors of four on Adreno."
        ),
        (
            "Waves are warps of a multiprocessor on GeForce, subgroups of a SIMD on Radeon, threads"
            " of a core on Apple, and waves of a core on Adreno."
        ),
        (
            "A name with `subgroup` or `coopmat` behind it is a variant of that matrix core, which"
            " a GPU runs where it is asked for (`--core`), or where `wgvq tune` measured that its"
            " `subgroup` core is faster than `tiled`."
        ),
        (
            "Tiles of the `tiled` core for which a GPU has too few registers, and which neither the"
            " default table nor `wgvq tune` chooses there, are left out: 8 x 8 sums an invocation"
            " on Apple's."
        ),
        "A cell is empty where the GPU cannot run the kernel, or where it was not measured.",
        (
            "Intel's GPUs, and the drivers of NVIDIA, AMD on Windows, Metal and Direct3D, are not"
            " seen here."
        ),
        "",
        "| kernel | " + " | ".join(gpus) + " |",
        "| --- |" + " --- |" * len(gpus),
    ]
    for name in names:
        cells = []
        for gpu in gpus:
            row = rows.get((gpu, name))
            if row is None:
                cells.append("")
                continue
            spilled = f", **{row['spills']}**" if int(row["spills"]) > 0 else ""
            occupancy = "" if row["occupancy"] in (None, "") else f", {row['occupancy']}"
            cells.append(f"{row['registers']}{occupancy}{spilled}")
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def loops(table):
    lines = [
        "",
        "## Multiply-adds",
        "",
        (
            "Of the issue cycles of the innermost loop on GeForce, and of its instructions on"
            " Radeon, those that are multiply-adds, loads and all."
        ),
        (
            "The tiles are those of the `tiled` core, rows and columns of a workgroup and of an"
            " invocation; the variants those of whole tiles along k."
        ),
        "",
        *kernel_loops.page(table, kernel_loops.variants()),
        "",
        (
            "Around that loop lies what a convolution does once for each tap, its weight's gradient"
            " for each row of pixels, and the search for each tile of codes, whose scores it"
            " compares."
        ),
        (
            "Of a walk over 64 channels (of a weight's gradient, 64 pixels) its share, by the same"
            " figures:"
        ),
        "",
        *kernel_loops.page_around(table, 64),
        "",
        "## The search for few channels",
        "",
        (
            "Issue cycles on GeForce, instructions on Radeon, that an invocation takes for each"
            " score of a latent and a code, the product and the comparison, loads and all: of"
            " `vq_search_few_channels`, and of `vq_search` with the largest tiles of the default"
            " table, whose sums are made of whole tiles of 8 channels."
        ),
        "",
        *kernel_loops.page_few(table, "128x64 8x8"),
        "",
        "## Products of matrices",
        "",
        (
            "Instructions of the `coopmat` core's innermost loop for each product of matrices"
            " (`wmma` on Radeon, `hmma` on GeForce, of which a product of 16 x 16 x 16 takes two),"
            " loads and all; then without copies of registers, where there are some."
        ),
        (
            "The variants are those of whole tiles along k; operands are read as f32 and rounded on"
            " their way."
        ),
        (
            "None of these kernels has been run on a GPU: what they compute has been tested with"
            " emulated matrices alone ([ARCHITECTURE.md](../ARCHITECTURE.md))."
        ),
        "",
        *kernel_loops.page(table, kernel_loops.matrix_variants(32)),
        "",
        (
            "Attention's loop over the other side's rows, 32 a turn, likewise: with what makes"
            " weights of scores, and forward with the branch in which sums are brought down, which"
            " few turns take."
        ),
        "",
        *kernel_loops.page(table, kernel_loops.attention_variants(32)),
    ]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["check", "record"])
    parser.add_argument("--mesa", required=True)
    parser.add_argument("--robust", default="on")
    parser.add_argument("--budgets", required=True)
    parser.add_argument("--page", required=True)
    parser.add_argument("--only", default="", help="the kernels measured, where not all were")
    parser.add_argument("--loops", help="the table that scripts/kernel_loops.py made")
    parser.add_argument("files", nargs="+")
    args = parser.parse_args()
    found = {os.path.basename(path).removesuffix(".jsonl"): worst(path) for path in args.files}
    sys.exit({"check": check, "record": record}[args.what](args, found))


if __name__ == "__main__":
    main()
