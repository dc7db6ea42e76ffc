"""Kills the program at random moments and at each kind of call that changes files, then makes it go
on: it has to end with the bytes of a run that nobody disturbed."""

import os
import random
import signal
import subprocess
import time

import calls
import scenes
from scenes import Failed

# One kill in so many of a training, at most, comes before its first checkpoint.
EARLY = 4


def manifest(event, scene):
    """Whether a call puts the first thing that a training can go on from in its place."""
    if event.kind not in ("rename", "link") or not event.to.endswith(".json"):
        return False
    return os.path.basename(os.path.dirname(event.to)) == "checkpoints"


class Undisturbed:
    """A scene's run that nobody disturbs: what it leaves, its calls, and how long it takes."""

    def __init__(self, bench, scene):
        bench.lay_out(scene.base)
        self.before = scenes.all_files(bench.now)
        began = time.monotonic()
        bench.must(scene.args)
        self.seconds = time.monotonic() - began
        self.after = scenes.all_files(bench.now)
        wrong = [f"{p}: {w}" for p, d in self.after.items() if (w := scenes.broken(p, d))]
        wrong += [f"{p} is left over" for p in self.after if scenes.is_private(p)]
        if wrong:
            raise Failed("undisturbed: " + "; ".join(wrong))
        self.events = []
        if calls.machine():
            bench.lay_out(scene.base)
            outcome = calls.run(bench.args(scene.args), bench.now, lambda *_: None, bench.log,
                                bench.env)
            if outcome.code != 0:
                raise Failed(f"watched, it ended with {outcome.code}:\n{bench.said()}")
            differ = scenes.compare(self.after, scenes.all_files(bench.now), scene)
            if differ:
                raise Failed("run twice, it is not the same: " + "; ".join(differ[:5]))
            self.events = outcome.events
        found = [i for i, e in enumerate(self.events) if manifest(e, scene)]
        self.first = found[0] + 1 if scene.trains and found else 0


def decided(events):
    """Whether the rename was made by which new content replaces old one."""
    return any(e.kind == "rename" and (".wgvq-run-new" in e.to or ".wgvq-output-new" in e.to)
               for e in events)


def check_stopped(bench, scene, whole, undecided):
    """What holds of a folder whose process was killed. `undecided` says that it is known to have
    come before the rename by which new content replaces old."""
    now = scenes.all_files(bench.now)
    wrong = []
    for path, data in now.items():
        if not scenes.is_private(path) and not scenes.is_volatile(path):
            what = scenes.broken(path, data)
            if what:
                wrong.append(f"{path} is half-written: {what}")
    under_way = any(part.startswith(".wgvq-") and "-new" in part
                    for path in now for part in path.split(os.sep))
    if scene.trains:
        config = os.path.relpath(os.path.join(scene.run, "config.toml"), bench.now)
        done = now.get(config) != whole.before.get(config)
    else:
        done = False
    replaces = "--overwrite" in scene.args
    for path, data in whole.before.items():
        if now.get(path) == data or scenes.is_volatile(path):
            continue
        if path in now and now[path] == whole.after.get(path):
            continue  # it was replaced whole
        if os.path.basename(path) == "notes.txt" or not replaces:
            wrong.append(f"{path} was not to be touched and is")
        elif undecided:
            wrong.append(f"{path} went before what replaces it was whole")
        elif not under_way and not done and (path in now or path in whole.after):
            wrong.append(f"{path} is neither old nor new")
    if wrong:
        raise Failed("; ".join(wrong[:6]))


def go_on(bench, scene, whole):
    """Does what a user would do, until the command is done."""
    tries = [scene.args]
    if scene.trains:
        there = os.path.isfile(os.path.join(scene.run, "config.toml"))
        settled = "--overwrite" not in scene.args
        steps = scenes.all_files(scene.run) if there else {}
        same = whole.before.get(os.path.relpath(os.path.join(scene.run, "config.toml"), bench.now))
        replaced = there and steps.get("config.toml") != same
        unsettled = os.path.isdir(os.path.join(scene.run, ".wgvq-run-new"))
        if unsettled or (replaced if not settled else there):
            tries = [scene.resume, scene.args]
    said = ""
    for args in tries:
        code, said = bench.call(args)
        if code == 0:
            return
        if "panicked" in said:
            break
        if "--overwrite" not in args and ("already" in said or "holds a run" in said
                                          or "is there" in said):
            # It was done before it was killed, or so the comparison has to find.
            return
    raise Failed(f"it does not go on: {said.strip()}")


def trial(bench, scene, whole, rng):
    """One kill. Returns what was done, and whether it came before the first checkpoint."""
    bench.lay_out(scene.base)
    early = scene.trains and rng.random() < 1 / (EARLY + 1)
    mode = rng.choices(["call", "half", "time"], [6, 2, 3])[0]
    if not whole.events:
        mode = "time"
    undecided = False
    if mode == "time":
        what = kill_at_random(bench, scene, whole, rng, early)
    else:
        among = range(0, whole.first) if early else range(whole.first, len(whole.events))
        if mode == "half":
            halves = [i for i in among
                      if whole.events[i].kind == "write" and whole.events[i].size > 1]
            among = halves or among
        # Renames, syncs and writes alike, however many there are of each.
        kinds = sorted({whole.events[i].kind for i in among})
        kind = rng.choice(kinds)
        at = rng.choice([i for i in among if whole.events[i].kind == kind])
        mode = "half" if mode == "half" and kind == "write" else "kill"
        outcome = calls.run(bench.args(scene.args), bench.now,
                            lambda i, e: mode if i == at else None, bench.log, bench.env)
        if outcome.killed is None:
            what = f"at call {at}, which did not come"
        else:
            short = str(outcome.killed).replace(bench.now + os.sep, "")
            what = f"{'in half of' if mode == 'half' else 'before'} call {at}, {short}"
            undecided = not decided(outcome.events[:-1])
    try:
        check_stopped(bench, scene, whole, undecided)
        go_on(bench, scene, whole)
        end = scenes.all_files(bench.now)
        differ = scenes.compare(whole.after, end, scene)
        if differ:
            raise Failed("gone on with, it is not the same: " + "; ".join(differ[:8]))
    except Failed as e:
        raise Failed(f"killed {what}: {e}") from e
    scratch = [p for p in end if scenes.is_scratch(p)]
    if scratch and scene.trains:
        raise Failed(f"killed {what}: a run keeps scratch files: {scratch}")
    return what, early, bool(scratch), "ended" in what or "did not come" in what


def kill_at_random(bench, scene, whole, rng, early):
    with open(bench.log, "wb") as out:
        child = subprocess.Popen(bench.args(scene.args), stdin=subprocess.DEVNULL, stdout=out,
                                 stderr=out, env=bench.env, start_new_session=True)
    began = time.monotonic()
    if scene.trains and not early:
        def reached():
            places = [scene.checkpoint, scene.run + "/.wgvq-run-new"]
            before = {os.path.join(bench.now, p) for p in whole.before}
            for place in places:
                if os.path.isdir(place) and any(
                        n.endswith(".json") and os.path.join(place, n) not in before
                        for n in os.listdir(place)):
                    return True
            return False
        while child.poll() is None and not reached():
            if time.monotonic() - began > scenes.LIMIT:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                raise Failed(f"it hangs: no checkpoint after {scenes.LIMIT} s:\n{bench.said()}")
            time.sleep(0.002)
        share = max(0.0, whole.seconds - (time.monotonic() - began))
        time.sleep(rng.random() * share * 0.7)
    elif scene.trains:
        time.sleep(rng.random() * whole.seconds * 0.4)
    else:
        time.sleep(rng.random() * whole.seconds * 0.9)
    after = time.monotonic() - began
    ended = child.poll() is not None
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    child.wait()
    return f"after {after:.2f} s" + (", when it had ended" if ended else "")


def main(bench, count, seed, only, say):
    """Spreads `count` kills over all scenes. Returns what is to be reported."""
    rng = random.Random(seed)
    chosen = scenes.chosen(bench, only)
    rows, failures, wholes = {}, [], {}
    order = []
    for i in range(count):
        if not order:
            # Trainings twice as often as commands that write once.
            order = [s for s in chosen for _ in range(2 if s.trains else 1)]
            rng.shuffle(order)
        scene = order.pop()
        none = dict.fromkeys(("kills", "early", "scratch", "late", "failed"), 0)
        row = rows.setdefault(scene.name, none)
        try:
            if scene.name not in wholes:
                wholes[scene.name] = Undisturbed(bench, scene)
            whole = wholes[scene.name]
            if whole is None:
                continue
            what, early, scratch, late = trial(bench, scene, whole, rng)
            row["late"] += int(late)
            row["early"] += int(early)
            row["scratch"] += int(scratch)
            left = ", and a hidden file" if scratch else ""
            say(f"{i + 1}/{count} {scene.name}: killed {what}; the same{left}")
        except Failed as e:
            wholes.setdefault(scene.name, None)
            row["failed"] += 1
            failures.append(f"{scene.name}: {e}")
            say(f"{i + 1}/{count} {scene.name}: FAILED: {e}")
        row["kills"] += 1
    keys = ("kills", "early", "scratch", "late")
    total = {key: sum(r[key] for r in rows.values()) for key in keys}
    trains = {s.name for s in chosen if s.trains}
    total["of trainings"] = sum(r["kills"] for name, r in rows.items() if name in trains)
    return {**total, "failures": failures, "scenes": rows,
            "at calls": calls.machine() is not None}
