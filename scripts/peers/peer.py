"""The protocol of `wgvq bench --peer`, for programs that time another library beside wgvq.

    import peer
    peer.serve("a library 1.0", solve)

`solve(case)` gets a Case and returns two functions: one that computes and waits until it is done,
which is what is timed, and one that returns its outputs as arrays of NumPy. It raises peer.Refused
where the library does not have the operation. docs/benchmarking.md describes the lines that go to
and fro.
"""
import json, os, sys, time
from collections import namedtuple

# What libraries print, from Python or from C, when they are loaded or used, goes to standard error:
# it is no answer. Import this before them.
ANSWERS = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(2, 1)
sys.stdout = sys.stderr

TYPES = {"f32": "<f4", "u32": "<u4", "u8": "|u1"}

# op: the operation; sizes: its sizes by name; inputs: arrays; upstream: the gradient of the output,
# or None for the forward pass alone; wrt: the inputs whose gradients are wanted.
Case = namedtuple("Case", "op sizes inputs upstream wrt")


class Refused(Exception):
    """What the library does not have."""


def load(folder, file):
    import numpy as np
    values = np.fromfile(os.path.join(folder, file["file"]), TYPES[file["dtype"]])
    return values.reshape(file["shape"])


def store(folder, i, array):
    import numpy as np
    array = np.ascontiguousarray(array)
    kinds = {"f": "f32", "u": "u8" if array.dtype == np.uint8 else "u32"}
    dtype = kinds.get(array.dtype.kind, "u32")
    array.astype(TYPES[dtype]).tofile(os.path.join(folder, f"out{i}.bin"))
    return {"file": f"out{i}.bin", "dtype": dtype, "shape": list(array.shape)}


def repeat(run, seconds, least):
    samples, begun = [], time.perf_counter()
    while len(samples) < least or time.perf_counter() - begun < seconds:
        start = time.perf_counter()
        run()
        samples.append((time.perf_counter() - start) * 1e3)
    return samples


def lines():
    """The questions, each with the function that answers it."""

    def answer(**fields):
        ANSWERS.write(json.dumps(fields) + "\n")

    for line in sys.stdin:
        yield json.loads(line), answer


def missing(why):
    """Answers that the library is not installed."""
    for _, answer in lines():
        answer(missing=str(why))
        return


def serve(name, solve, operands="f32", warm=2):
    """Answers until the questions end. `operands` says what products are computed in: f32, tf32 or
    f16."""
    run = None
    for question, answer in lines():
        if "wgvq_peer" in question:
            answer(peer=name, operands=operands)
        elif "case" in question:
            asked = question["case"]
            folder, upstream = asked["folder"], asked.get("upstream")
            inputs = [load(folder, file) for file in asked["inputs"]]
            upstream = upstream and load(folder, upstream)
            case = Case(asked["op"], asked["sizes"], inputs, upstream, asked.get("wrt"))
            try:
                run, outputs = solve(case)
                for _ in range(1 + warm):
                    run()
                answer(outputs=[store(folder, i, y) for i, y in enumerate(outputs())])
            except Refused as why:
                run = None
                answer(refused=str(why))
            except Exception as why:  # whatever a library throws is its answer, and no end
                run = None
                answer(refused=f"{type(why).__name__}: {why}".splitlines()[0])
        elif "time" in question:
            if run is None:
                answer(refused="there is no case to repeat")
            else:
                asked = question["time"]
                answer(samples_ms=repeat(run, asked["seconds"], asked["least"]))
