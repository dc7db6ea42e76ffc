"""A data set as codes and as tokens, in seven shards by three processes at a time that are killed
at random and started again: the bytes of a single process."""

import filecmp
import os
import random
import subprocess
import time

IMAGES, SHARDS, WORKERS = 10_000, 7, 3
MODEL = "tests/fixtures/runs/ema"


def pictures(path, seed):
    """Writes images of 16 x 16 as a NumPy array: noise over colours, so that no two are alike."""
    rng = random.Random(seed)
    shape = f"({IMAGES}, 16, 16, 3)"
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}"
    header += " " * (-(len(header) + 11) % 64) + "\n"
    with open(path, "wb") as file:
        file.write(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
        for _ in range(IMAGES):
            low, high = sorted(rng.randrange(256) for _ in range(2))
            scale = bytes(low + (high - low) * i // 255 for i in range(256))
            file.write(rng.randbytes(768).translate(scale))


def same(one, other):
    """The files in which two folders, or two files, differ."""
    if os.path.isfile(one):
        return [] if filecmp.cmp(one, other, shallow=False) else [other]
    names = sorted(os.listdir(one))
    if names != sorted(os.listdir(other)):
        return [f"{other}: {sorted(os.listdir(other))}"]
    return [n for n in names if not filecmp.cmp(f"{one}/{n}", f"{other}/{n}", shallow=False)]


def main(bench, count, seed, _only, say):
    """Kills `count` processes, half of them at codes and half at tokens."""
    rng = random.Random(seed)
    bench.lay_out("empty")
    data = bench.path("pictures.npy")
    pictures(data, seed)
    report, failures = {"images": IMAGES, "shards": SHARDS, "processes": 0}, []
    for what, extra in [("codes", []), ("tokens", ["--tokens"])]:
        encode = ["encode", MODEL, "--data", data, *extra, "-o"]
        whole, shards, joined = (bench.path(f"{what}-{name}") for name in ["1", "shards", "joined"])

        def run(args):
            with open(bench.log, "ab") as out:
                return subprocess.Popen(bench.args(args), stdin=subprocess.DEVNULL, stdout=out,
                                        stderr=out, env=bench.env)

        began = time.monotonic()
        if run([*encode, whole]).wait() != 0:
            return {**report, "failures": [f"{what}: {bench.said()}"]}
        # As long as a shard takes at most, with others beside it.
        longest = (time.monotonic() - began) * WORKERS / SHARDS + 2
        say(f"{what}: {IMAGES} images by one process")
        waiting, at_work, kills = list(range(1, SHARDS + 1)), {}, 0
        wanted = count // 2
        while waiting or at_work:
            while waiting and len(at_work) < WORKERS:
                shard = waiting.pop(rng.randrange(len(waiting)))
                report["processes"] += 1
                at_work[shard] = run([*encode, shards, "--shard", f"{shard}/{SHARDS}"])
            if kills < wanted:
                time.sleep(rng.random() * longest / 2)
                shard = rng.choice(list(at_work))
                if at_work[shard].poll() is None:
                    at_work[shard].kill()
                    at_work[shard].wait()
                    waiting.append(shard)
                    del at_work[shard]
                    kills += 1
                    say(f"{what}: kill {kills}/{wanted}, shard {shard}")
            else:
                time.sleep(0.05)
            for shard, child in list(at_work.items()):
                if child.poll() is None:
                    continue
                if child.returncode != 0:
                    failures.append(f"{what}, shard {shard}: {bench.said()}")
                del at_work[shard]
        if run(["encode", "--join", shards, "-o", joined]).wait() != 0:
            failures.append(f"{what}: not joined: {bench.said()}")
            continue
        failures += [f"{what}: {name} differs" for name in same(whole, joined)]
        left = [n for n in os.listdir(shards) if not n.startswith("shard-")]
        failures += [f"{what}: {name} is left" for name in left]
        say(f"{what}: joined, after {kills} kills")
        report[f"{what} kills"] = kills
    report["failures"] = failures
    return report
