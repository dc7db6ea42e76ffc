"""Full disks, folders that cannot be written, file systems without locks and syncs, disks that
fail, and clocks that jump."""

import os
import random
import shutil
import subprocess

import calls
import kill
import scenes
from scenes import Failed

E = calls.ERRORS
WRITING = ("write", "open", "mkdir", "rename", "link", "ftruncate")


def interposed(bench, scene, decide):
    bench.lay_out(scene.base)
    return calls.run(bench.args(scene.args), bench.now, decide, bench.log, bench.env)


def refused_or_done(bench, scene, whole, code):
    """A command that met an error says so, or did all that it was to do."""
    said = bench.said()
    if "panicked" in said or code is None or code < 0:
        raise Failed(f"it ended with {code}: {said.strip()}")
    if code == 0:
        differ = scenes.compare(whole.after, scenes.all_files(bench.now), scene)
        if differ:
            raise Failed("it says that it is done: " + "; ".join(differ[:5]))
    elif bench.now not in said and "cache" not in said:
        raise Failed(f"the error names no file: {said.strip()}")
    return code


def then_goes_on(bench, scene, whole):
    kill.go_on(bench, scene, whole)
    differ = scenes.compare(whole.after, scenes.all_files(bench.now), scene)
    if differ:
        raise Failed("gone on with, it is not the same: " + "; ".join(differ[:8]))


def failing(bench, scene, whole, rng, name):
    """From a call on every write fails for want of room, or one call fails once."""
    at = rng.randrange(len(whole.events))
    kind = whole.events[at].kind

    def decide(i, event):
        if name in ("ENOSPC", "EDQUOT"):
            return E[name] if i >= at and event.kind in ("write", "mkdir") else None
        return E[name] if i == at and event.kind in WRITING + ("fsync", "unlink") else None

    outcome = interposed(bench, scene, decide)
    code = refused_or_done(bench, scene, whole, outcome.code)
    if code != 0:
        kill.check_stopped(bench, scene, whole, not kill.decided(outcome.events))
    then_goes_on(bench, scene, whole)
    return f"{name} from call {at}, {kind}: exit {code}"


def read_only(bench, scene, whole):
    """Every call that would change the folder is refused: so is the command, and nothing is
    changed."""
    outcome = interposed(bench, scene, lambda i, e: E["EROFS"])
    code = outcome.code
    if code != 1:
        raise Failed(f"it ended with {code}: {bench.said().strip()}")
    refused_or_done(bench, scene, whole, code)
    differ = scenes.compare(whole.before, scenes.all_files(bench.now), scene)
    if differ:
        raise Failed("it changed what it cannot write: " + "; ".join(differ))
    return "read-only: refused"


def without(bench, scene, whole, kinds, name):
    """A file system that lacks calls: the work is done all the same."""
    outcome = interposed(bench, scene, lambda i, e: E[name] if e.kind in kinds else None)
    if outcome.code != 0:
        raise Failed(f"it ended with {outcome.code}: {bench.said().strip()}")
    refused_or_done(bench, scene, whole, 0)
    return f"without {' and '.join(kinds)} ({name}): the same bytes"


def mounted(bench, scene, whole, share):
    """A file system with room for a part of what is written, then for all of it."""
    base = bench.base(scene.base)
    size = sum(map(len, whole.after.values())) + 4096 * 3 * len(whole.after)
    had = sum(map(len, whole.before.values())) + 4096 * 3 * len(whole.before)
    room = int(had + share * (size - had))
    shutil.rmtree(bench.now, ignore_errors=True)
    os.makedirs(bench.now)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "wgvq-torture", bench.now]
    if subprocess.run(mount, capture_output=True, check=False).returncode != 0:
        shutil.rmtree(bench.now)
        return None
    try:
        shutil.copytree(base, bench.now, symlinks=True, dirs_exist_ok=True)
        code, _ = bench.call(scene.args)
        code = refused_or_done(bench, scene, whole, code)
        if code != 0:
            kill.check_stopped(bench, scene, whole, False)
        subprocess.run(["mount", "-o", "remount,size=1g", bench.now], check=True)
        then_goes_on(bench, scene, whole)
        return f"tmpfs with {room >> 10} KiB: exit {code}"
    finally:
        subprocess.run(["umount", bench.now], check=True)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <time.h>
#include <stdlib.h>
#include <sys/time.h>
static int (*real)(clockid_t, struct timespec *);
static long calls;
/* Each look at the time of day is 26 hours later or 25 hours earlier than the one before, or all
   are in a year of one's choice. */
int clock_gettime(clockid_t clock, struct timespec *t) {
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int failed = real(clock, t);
    if (failed || clock != CLOCK_REALTIME) return failed;
    const char *at = getenv("TORTURE_CLOCK");
    if (at && *at != 'j') { t->tv_sec = atol(at); return 0; }
    long n = __atomic_fetch_add(&calls, 1, __ATOMIC_RELAXED);
    t->tv_sec += n % 2 ? -25 * 3600L * (n / 2 + 1) : 26 * 3600L * (n / 2 + 1);
    return 0;
}
"""


def clock(bench, scene, whole, at):
    """A clock that stands at a strange time, or jumps back and forth."""
    library = os.path.join(bench.work, "clock.so")
    if not os.path.exists(library):
        source = library[:-2] + "c"
        with open(source, "w", encoding="utf-8") as file:
            file.write(CLOCK)
        try:
            built = subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"],
                                   capture_output=True, check=False)
        except FileNotFoundError:
            return None
        if built.returncode != 0:
            return None
    bench.lay_out(scene.base)
    kept = dict(bench.env)
    bench.env.update(LD_PRELOAD=library, TORTURE_CLOCK=at)
    try:
        bench.must(scene.args)
        then = bench.call(scene.resume)[0] if scene.trains else 0
    finally:
        bench.env = kept
    if then != 0:
        raise Failed(f"its end is not known again: {bench.said()}")
    differ = scenes.compare(whole.after, scenes.all_files(bench.now), scene)
    if differ:
        raise Failed("it is not the same: " + "; ".join(differ[:8]))
    return f"clock at {at}: the same bytes"


def main(bench, count, seed, only, say):
    rng = random.Random(seed)
    chosen = scenes.chosen(bench, only)
    wholes, tally, failures, missing = {}, {}, [], set()
    clocks = ["0", "jumps", "4102444800", "253402300800"]
    # Each with whether it is done through ptrace.
    ways = [("full", True, lambda s, w: failing(bench, s, w, rng, "ENOSPC")),
            ("full, mounted", False, lambda s, w: mounted(bench, s, w, rng.uniform(0.05, 1.0))),
            ("quota", True, lambda s, w: failing(bench, s, w, rng, "EDQUOT")),
            ("failing", True, lambda s, w: failing(bench, s, w, rng, "EIO")),
            ("read-only", True, lambda s, w: read_only(bench, s, w)),
            ("no locks", True, lambda s, w: without(bench, s, w, ("flock",), "ENOLCK")),
            ("no syncs", True, lambda s, w: without(bench, s, w, ("fsync",), "EINVAL")),
            ("neither", True, lambda s, w: without(bench, s, w, ("flock", "fsync"), "EINVAL")),
            ("clock", False, lambda s, w: clock(bench, s, w, rng.choice(clocks)))]
    for i in range(count):
        scene = rng.choice(chosen)
        name, traced, way = ways[i % len(ways)]
        row = tally.setdefault(name, {"tried": 0, "failed": 0})
        try:
            if scene.name not in wholes:
                wholes[scene.name] = kill.Undisturbed(bench, scene)
            allowed = calls.machine() is not None or not traced
            what = way(scene, wholes[scene.name]) if allowed else None
            if what is None:
                missing.add(name)
                say(f"{i + 1}/{count} {name}: not possible here")
                continue
            say(f"{i + 1}/{count} {scene.name}: {what}")
        except Failed as e:
            row["failed"] += 1
            failures.append(f"{scene.name}, {name}: {e}")
            say(f"{i + 1}/{count} {scene.name}, {name}: FAILED: {e}")
        row["tried"] += 1
    return {"ways": tally, "failures": failures, "not possible here": sorted(missing)}
