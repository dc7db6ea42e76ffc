#!/usr/bin/env python3
"""The tables of SCALING.md: bytes that a step sends, and steps over 8 to 1,024 processes, computed.

    scripts/scaling.py target/release/wgvq ~/photographs

`wgvq plan` says the parameters and operations of each configuration, by a step of one image of a
folder. All else is the formula and the figures below, which SCALING.md states.
"""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

# Bytes per second either way, and seconds that a message takes whatever its size.
NETWORKS = {
    "1 Gbit/s Ethernet": (0.117e9, 50e-6),
    "25 Gbit/s Ethernet": (2.9e9, 10e-6),
    "200 Gbit/s InfiniBand": (23e9, 2e-6),
}
# Operations per second of a step on one GPU, bytes per second between it and its host, and seconds
# in which a host adds up a number.
GPU, BUS, ADD = 5e12, 12e9, 1e-9
RANKS = [8, 32, 128, 512, 1024]
# Pieces of the gradients, at most; bytes of one that each process adds up, at least; and what of a
# step's computation is the walk back, behind which all pieces but the last go.
PIECES, SHARE, BACK = 4, 128 << 10, 2 / 3

# Sides and channels of the images of each configuration.
PRESETS = {
    "emoji32": (32, 3),
    "fashion28": (28, 1),
    "photo64": (64, 3),
    "photo128": (128, 3),
}

# Priors by their parameters; operations a step are 6 a parameter and code, of 49 codes and 64
# images.
PRIORS = {"prior base": 4.7e6, "prior large": 99e6, "prior xl": 302e6, "prior xxl": 1019e6}


def images(preset):
    """Images of a step."""
    path = Path(__file__).parent.parent / f"src/config/presets/{preset}.toml"
    train = tomllib.loads(path.read_text())["train"]
    return train["batch_size"] * train.get("accumulate", 1)


def configurations(program, folder):
    """Name, numbers in the messages of a step, images and operations of a step."""
    for name, (side, channels) in PRESETS.items():
        command = [program, "--quiet", "--json", "plan", "--preset", name, "--data", folder]
        keys = {"width": side, "height": side, "channels": channels}
        for key, value in keys.items():
            command += ["--set", f"data.{key}={value}"]
        command += ["--batch", "1", "--set", "train.accumulate=1"]
        out = subprocess.run(command, capture_output=True, text=True)
        if out.returncode:
            sys.exit(f"{name}: {out.stderr}")
        plan = json.loads(out.stdout.strip().splitlines()[-1])
        book = plan["codebook"]
        # Gradients; sums and counts of codes, and the rows that dead codes become; the
        # discriminator's.
        messages = [plan["parameters"], book, book, plan["discriminator"]]
        count = images(name)
        yield name, [m for m in messages if m], count, count * plan["flops_per_step"]
    for name, parameters in PRIORS.items():
        yield name, [parameters], 64, 6 * parameters * 49 * 64


def sent(messages, ranks):
    """Bytes that each of so many ranks sends in a step."""
    return 2 * (ranks - 1) / ranks * 4 * sum(messages)


def pieces(gradients, ranks):
    """Messages in which so many gradients go."""
    return int(min(PIECES, max(1, 4 * gradients // (SHARE * ranks))))


def communication(messages, ranks, network):
    """Seconds of a step in messages: to the host, to each its share, added up, to all, back; and
    what of them may go on while the device computes, of the gradients."""
    bandwidth, latency = network
    first, numbers = messages[0], sum(messages)
    parts = pieces(first, ranks)
    count = len(messages) - 1 + parts
    over = sent(messages, ranks) / bandwidth + 2 * count * (ranks - 1) * latency
    early = sent([first], ranks) / bandwidth + 2 * parts * (ranks - 1) * latency + first * ADD
    return over + 2 * 4 * numbers / BUS + numbers * ADD, early * (parts - 1) / parts


def waiting(messages, alone, ranks, network):
    """Seconds of a step in which nothing is computed: all but what the walk back hides."""
    wait, early = communication(messages, ranks, network)
    parts = pieces(messages[0], ranks)
    return wait - min(early, BACK * alone * (parts - 1) / parts)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    found = list(configurations(*sys.argv[1:]))
    print("| configuration | numbers | messages | bytes sent a step by each of 8 | of 1,024 |")
    print("| --- | --- | --- | --- | --- |")
    for name, messages, _, _ in found:
        mb = [f"{sent(messages, ranks) / 1e6:.2f} MB" for ranks in (8, 1024)]
        print(f"| {name} | {sum(messages):,.0f} | {len(messages)} | {mb[0]} | {mb[1]} |")
    for network, figures in NETWORKS.items():
        print(f"\n{network}:\n")
        print("| configuration | one GPU, ms | " + " | ".join(f"{r:,}" for r in RANKS) + " |")
        print("| --- | --- |" + " --- |" * len(RANKS))
        for name, messages, images, flops in found:
            alone = flops / GPU
            cells = []
            for ranks in RANKS:
                wait = waiting(messages, alone, ranks, figures)
                speed = ranks * alone / (alone + wait)
                cells.append(f"{1e3 * wait:.1f}, {speed:.{1 if speed < 10 else 0}f}")
            print(f"| {name} | {1e3 * alone:.2f} | " + " | ".join(cells) + " |")
    print("\nImages a process at which computation takes as long as messages, 32 processes\n")
    print("| configuration | " + " | ".join(NETWORKS) + " |")
    print("| --- |" + " --- |" * len(NETWORKS))
    for name, messages, images, flops in found:
        each = flops / images / GPU
        waits = [communication(messages, 32, figures)[0] for figures in NETWORKS.values()]
        cells = [f"{wait / each:,.0f}" for wait in waits]
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
