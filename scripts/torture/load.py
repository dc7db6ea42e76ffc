"""Many steps in one process: memory, open files and threads must not grow."""

import os
import re
import subprocess
import time

import scenes


def figures(pid):
    """Resident KiB, open files and threads of a process."""
    with open(f"/proc/{pid}/status", encoding="ascii") as file:
        status = file.read()
    number = lambda key: int(re.search(rf"^{key}:\s+(\d+)", status, re.M)[1])  # noqa: E731
    return number("VmRSS"), len(os.listdir(f"/proc/{pid}/fd")), number("Threads")


def last_step(path):
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.path.getsize(path) - 400))
            lines = file.read().decode().splitlines()
        return int(lines[-1].split(",")[0])
    except (OSError, ValueError, IndexError):
        return 0


def main(bench, count, seed, _only, say):
    """Trains `count` steps of the smallest model."""
    bench.lay_out("empty")
    config = bench.config("ema", count)
    keys = ["train.log_every=50", "train.eval_every=2000", "train.checkpoint_every=2000",
            "train.batch_size=1"]
    args = ["train", config, "--out", bench.path("run"), "--quiet", "--seed", str(seed)]
    for key in keys:
        args += ["--set", key]
    with open(bench.log, "wb") as out:
        child = subprocess.Popen(bench.args(args), stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 env=bench.env)
    seen = []
    log = bench.path("run", "metrics.csv")
    # It hangs where so long no row is written: one comes every fifty steps.
    step, moved, hangs = 0, time.monotonic(), False
    while child.poll() is None:
        time.sleep(0.5)
        before, step = step, last_step(log)
        if step > before:
            moved = time.monotonic()
        if time.monotonic() - moved > scenes.LIMIT:
            hangs = True
            child.kill()
            break
        try:
            if not seen or step > seen[-1][0]:
                seen.append((step, *figures(child.pid)))
        except (OSError, TypeError):
            break
    failures = []
    try:
        child.wait(scenes.LIMIT)
    except subprocess.TimeoutExpired:
        hangs = True
        child.kill()
        child.wait()
    if hangs:
        failures.append(f"it hangs at step {step}: nothing came for {scenes.LIMIT} s")
    elif child.returncode != 0:
        failures.append(f"it ended with {child.returncode}: {bench.said()}")
    # From a tenth of the way on all that is made once is there.
    settled = [s for s in seen if s[0] >= count // 10]
    if len(settled) < 4:
        failures.append(f"only {len(settled)} looks at {count} steps")
        return {"failures": failures}
    half = len(settled) // 2
    worst = lambda rows, i: max(row[i] for row in rows)  # noqa: E731
    early, late = settled[:half], settled[half:]
    report = {"steps": settled[-1][0], "looks": len(settled)}
    for i, (name, slack) in enumerate([("KiB", 4096), ("files", 0), ("threads", 0)], 1):
        report[name] = [worst(early, i), worst(late, i)]
        say(f"{name}: at most {worst(early, i)} in the first half, {worst(late, i)} in the second")
        if worst(late, i) > worst(early, i) + slack:
            failures.append(f"{name} grew from {worst(early, i)} to {worst(late, i)}")
    report["failures"] = failures
    return report
