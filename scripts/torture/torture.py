"""Parts of scripts/torture.sh that run the program. Python 3.11, its standard library alone."""

import argparse
import json
import os
import sys
import tempfile
import time

import calls
import disk
import kill
import load
import scenes
import shards

PARTS = {"kill": (kill.main, 500), "disk": (disk.main, 180), "load": (load.main, 20000),
         "shards": (shards.main, 20)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--program", required=True)
    parser.add_argument("--count", type=int)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", action="append", default=[], metavar="SCENE")
    parser.add_argument("--work", help="a folder that stays, with the last failure in it")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    run, usual = PARTS[args.part]
    with tempfile.TemporaryDirectory(prefix="wgvq-torture-") as folder:
        bench = scenes.Bench(args.program, args.work or folder)
        if args.list:
            print("\n".join(s.name for s in scenes.scenes(bench)))
            return 0
        if args.part not in ("load", "shards") and calls.machine() is None:
            print("ptrace is not allowed or not known here: only kills at random moments, and only "
                  "disks that can be mounted", file=sys.stderr)
        began = time.monotonic()

        def say(text):
            print(f"{time.monotonic() - began:8.1f} s  {text}", flush=True)

        count = usual if args.count is None else args.count
        report = run(bench, count, args.seed, args.only, say)
    report = {"part": args.part, "count": count, "seed": args.seed,
              "seconds": round(time.monotonic() - began), **report}
    print(json.dumps(report, indent=2))
    return 1 if report["failures"] else 0


if __name__ == "__main__":
    os.umask(0o022)
    sys.exit(main())
