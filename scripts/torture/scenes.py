"""What the program is made to do while it is tortured: small trainings of every kind, and every
command that writes. A scene is laid out in a folder, run, and run again until it is done."""

import json
import os
import shutil
import struct
import subprocess
import tomllib
import zlib


ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")


# Seconds after which a program that has not ended hangs.
LIMIT = 600


class Failed(Exception):
    """What must not happen; the text says what it is."""


def png(path, width, height, pixel):
    rows = b"".join(
        b"\0" + bytes(v & 255 for x in range(width) for v in pixel(x, y)) for y in range(height))

    def chunk(name, data):
        body = name + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head)
                   + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


CLASSES = ["birds", "fish", "trees"]


def pictures(folder):
    """Thirty pictures of 16 x 16 in three classes, with captions."""
    captions = []
    for i in range(30):
        name = f"{CLASSES[i % 3]}/{i:02}.png"
        os.makedirs(os.path.join(folder, CLASSES[i % 3]), exist_ok=True)
        png(os.path.join(folder, name), 16, 16,
            lambda x, y, i=i: (x * 9 + i * 31, y * 11 + i * 17, (x * y + i * 53) % 251))
        shade, kind = ["red", "dark", "pale", "wide"][i % 4], CLASSES[i % 3]
        captions.append(json.dumps({"image": name, "text": f"a {shade} one of the {kind}"}))
    with open(os.path.join(folder, "captions.jsonl"), "w", encoding="utf-8") as file:
        file.write("\n".join(captions) + "\n")


TINY = """[data]
source = '{data}'
width = 16
height = 16
{more_data}
[model]
{model}
[quantizer]
{quantizer}
[train]
steps = {steps}
batch_size = 4
log_every = 2
eval_every = 6
checkpoint_every = 3
{train}
"""

VQVAE = "hidden = 16\nresidual_layers = 1\nresidual_hidden = 8"
CODES = "codebook_size = 32\ncodebook_dim = 8\nkmeans_iters = 3"
VQGAN = "kind = 'vqgan'\nhidden = 32\nmultipliers = [1, 1]\nresidual_layers = 1"
GAN = "[gan]\nstart = 4\nhead_start = 1\nramp = 2\nhidden = 4\nlayers = 2"
LEVELS = "kind = 'vqvae2'\nlevels = 2\ndownsample = 4\n" + VQVAE

FIRST = {
    "ema": {"model": VQVAE, "quantizer": CODES},
    "gumbel": {"model": VQVAE, "quantizer": "kind = 'gumbel'\n" + CODES},
    "residual": {"model": VQVAE, "quantizer": "kind = 'residual'\n" + CODES},
    "fsq-crops": {"model": VQVAE, "quantizer": "kind = 'fsq'",
                  "more_data": "crop = 'random'\nflip = true"},
    "average": {"model": VQVAE, "quantizer": CODES, "train": "ema_decay = 0.9"},
    "vqvae2": {"model": LEVELS, "quantizer": CODES},
    "vqgan": {"model": VQGAN, "quantizer": CODES, "train": GAN},
}
# Steps of those that take long.
STEPS = {"vqgan": 7}

PRIOR = ["--batch", "4", "--steps", "12"]
for key in ("prior.layers=1", "prior.dim=16", "prior.heads=1", "train.checkpoint_every=3",
            "train.warmup=2", "train.log_every=1", "train.eval_every=6"):
    PRIOR += ["--set", key]

STAGE1 = ["model.hidden=16", "model.residual_layers=1", "model.residual_hidden=8", "data.width=16",
          "data.height=16", "quantizer.codebook_size=32", "quantizer.kmeans_iters=3",
          "train.batch_size=4", "train.checkpoint_every=3"]
TEXTS = ["--stage1-steps", "6", "--steps", "6", "--batch", "4", "--judge-steps", "6",
         "--vocabulary", "270", "--size", "tiny", "--set", "train.checkpoint_every=3"]
for key in ("layers=1", "dim=16", "heads=1", "text_layers=1"):
    TEXTS += ["--set", f"prior.{key}"]
for key in STAGE1:
    TEXTS += ["--stage1", key]
for key in ("model.dim=16", "model.layers=1", "train.checkpoint_every=3"):
    TEXTS += ["--judge", key]


class Bench:
    """The program, and a folder in which scenes are laid out, always at the same path: it stands in
    what a run keeps."""

    def __init__(self, program, work):
        self.program, self.work = os.path.abspath(program), os.path.abspath(work)
        self.now = os.path.join(self.work, "now")
        self.data = os.path.join(self.work, "pictures")
        self.log = os.path.join(self.work, "output.txt")
        os.makedirs(self.work, exist_ok=True)
        if not os.path.isdir(self.data):
            pictures(self.data)
        self.env = dict(os.environ)
        for key in ("WGVQ_ADAPTER", "WGVQ_CORE", "WGVQ_DATA", "TZ"):
            self.env.pop(key, None)
        self.env.update(XDG_CACHE_HOME=os.path.join(self.work, "cache"), NO_COLOR="1",
                        WGVQ_TUNING=os.path.join(self.work, "no-tuning"))
        self.env.setdefault("XDG_RUNTIME_DIR", self.work)
        # Mesa's software driver compiles in half the time, to the same numbers.
        self.env.setdefault("GALLIVM_PERF", "nopt")
        self.env.setdefault("MESA_SHADER_CACHE_DIR", os.path.join(self.work, "shaders"))

    def path(self, *names):
        return os.path.join(self.now, *names)

    def args(self, args):
        return [self.program] + args

    def call(self, args, timeout=LIMIT):
        """Runs it to its end: the exit status, and what it said."""
        with open(self.log, "wb") as out:
            try:
                done = subprocess.run(self.args(args), stdin=subprocess.DEVNULL, stdout=out,
                                      stderr=out, env=self.env, timeout=timeout, check=False)
            except subprocess.TimeoutExpired as e:
                raise Failed(f"it hangs: {' '.join(args)} had not ended after {timeout:.0f} s:\n"
                             f"{self.said()}") from e
        return done.returncode, self.said()

    def said(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return file.read()

    def must(self, args):
        code, said = self.call(args)
        if code != 0:
            raise Failed(f"{' '.join(args)} ended with {code}:\n{said}")
        return said

    def config(self, kind, steps=None):
        steps = steps or STEPS.get(kind, 12)
        path = os.path.join(self.work, f"{kind}-{steps}.toml")
        parts = {"model": "", "quantizer": "", "more_data": "", "train": ""}
        parts.update(FIRST[kind])
        with open(path, "w", encoding="utf-8") as file:
            file.write(TINY.format(data=self.data, steps=steps, **parts))
        return path

    def lay_out(self, name):
        """Puts a copy of what a scene begins with where it is run."""
        base = self.base(name)
        shutil.rmtree(self.now, ignore_errors=True)
        shutil.copytree(base, self.now, symlinks=True)

    def base(self, name):
        """A folder of what several scenes begin with, made once."""
        place = os.path.join(self.work, "bases", name)
        if not os.path.isdir(place):
            shutil.rmtree(self.now, ignore_errors=True)
            os.makedirs(self.now)
            with open(self.path("notes.txt"), "w", encoding="utf-8") as file:
                file.write("mine\n")
            {"empty": lambda: None, "run": self.make_run, "levels": self.make_levels,
             "prior": self.make_prior, "texts": self.make_texts, "outputs": self.make_outputs,
             "codes": self.make_codes, "results": self.make_results}[name]()
            os.makedirs(os.path.dirname(place), exist_ok=True)
            shutil.copytree(self.now, place, symlinks=True)
        return place

    def make_run(self):
        self.must(["train", self.config("ema", 9), "--out", self.path("run"), "--quiet",
                   "--seed", "5"])
        with open(self.path("run", "notes.txt"), "w", encoding="utf-8") as file:
            file.write("mine\n")

    def make_levels(self):
        self.must(["train", self.config("vqvae2", 6), "--out", self.path("run"), "--quiet"])
        self.must(["prior", self.path("run"), "--level", "top", "--quiet"] + PRIOR)

    def make_prior(self):
        self.make_run()
        self.must(["prior", self.path("run"), "--quiet"] + PRIOR + ["--seed", "3"])

    def make_texts(self):
        self.must(texts(self) + ["--quiet"])

    def make_codes(self):
        self.make_run()
        self.must(["encode", self.path("run"), *self.images(), "-o",
                   self.path("codes.safetensors"), "--quiet"])

    def images(self):
        folder = os.path.join(self.data, CLASSES[0])
        return [os.path.join(folder, name) for name in sorted(os.listdir(folder))[:4]]

    def make_results(self):
        """Results of measurements: recorded ones, whose times stay as they are."""
        results = os.path.join(ROOT, "benches/runs/llvmpipe-xeon2.jsonl")
        shutil.copy(results, self.path("results.jsonl"))

    def make_outputs(self):
        """A prior's run, with one of each output, made with other options than later."""
        self.make_prior()
        for args in writers(self, older=True):
            self.must(args + ["--quiet"])


def texts(bench):
    data = os.path.join(bench.data, "captions.jsonl")
    return ["text2image", "train", "--data", data, "--out", bench.path("texts")] + TEXTS


def writers(bench, older=False):
    """A call of each command that writes files of a prior's run."""
    run = bench.path("run")
    images = bench.images()[:2] if older else bench.images()[1:]
    seed = ["--seed", "9" if older else "1"]
    few = ["--images", "2" if older else "5"]
    return [
        ["encode", run, *images, "-o", bench.path("out", "codes.safetensors"), "--npy"],
        ["reconstruct", run, *images, "-o", bench.path("out", "pictures.png")],
        ["reconstruct", run, *images, "--native-size", "-o", bench.path("large")],
        ["inspect", run, *few],
        ["report", run, *few],
        ["report", run, "--html", "--out", bench.path("page")],
        ["export", run, "--decoder", "-o", bench.path("out", "decoder.safetensors")],
        ["export", run, "--hf", bench.path("hub")],
        ["export", run, "--onnx", bench.path("onnx")],
        ["export", run, "--npy", bench.path("arrays")],
        ["sample", run, "--n", "2" if older else "3", "--out", bench.path("samples"), *seed],
        ["complete", run, images[0], "--n", "2", "-o", bench.path("out", "completed.png"), *seed],
    ]


class Scene:
    """A call of the program, what it begins with, and what is compared."""

    def __init__(self, name, base, args, run=None, resume=None, checkpoint=None, timed=False):
        self.name, self.base, self.args = name, base, args
        # Of a training: its folder, how it is gone on with, and where its checkpoints lie.
        self.run, self.resume, self.checkpoint = run, resume, checkpoint
        # Whether what it writes is of times, and other ones whenever it is run.
        self.timed = timed

    @property
    def trains(self):
        return self.resume is not None


def scenes(bench):
    found = []
    out = bench.path("run")

    def training(name, base, args, run, resume):
        first = os.path.join(run, "checkpoints")
        found.append(Scene(name, base, args + ["--quiet"], run, resume + ["--quiet"], first))

    for kind in FIRST:
        training(f"train {kind}", "empty", ["train", bench.config(kind), "--out", out], out,
                 ["train", "--resume", out])
    training("train tensorboard", "empty",
             ["train", bench.config("ema"), "--out", out, "--tensorboard"], out,
             ["train", "--resume", out])
    training("train --overwrite", "outputs",
             ["train", bench.config("vqgan"), "--out", out, "--overwrite"], out,
             ["train", "--resume", out])
    prior = bench.path("run", "prior")
    training("prior", "run", ["prior", out] + PRIOR, prior, ["prior", out, "--resume"])
    training("prior --overwrite", "prior",
             ["prior", out, "--overwrite", "--seed", "4"] + PRIOR, prior,
             ["prior", out, "--resume"])
    bottom = ["--level", "bottom"]
    training("prior bottom", "levels", ["prior", out, *bottom] + PRIOR,
             bench.path("run", "prior-bottom"), ["prior", out, *bottom, "--resume"])
    written = bench.path("texts")
    training("text2image", "empty", texts(bench), written,
             ["text2image", "train", "--resume", written])
    compared = ["compare", bench.config("ema", 6), "--quantizers", "ema,fsq", "--out",
                bench.path("compared"), "--quiet"]
    found.append(Scene("compare", "empty", compared))
    for args in writers(bench):
        kind = next((a for a in args if a in ("--hf", "--onnx", "--npy", "--html", "--decoder",
                                              "--native-size")), "")
        name = f"{args[0]} {kind}".strip()
        found.append(Scene(name, "prior", args + ["--quiet"]))
        found.append(Scene(name + " --overwrite", "outputs", args + ["--quiet", "--overwrite"]))
    found.append(Scene("decode", "codes", [
        "decode", out, bench.path("codes.safetensors"), "-o", bench.path("decoded"), "--quiet"]))
    found.append(Scene("text2image sample", "texts", [
        "text2image", "sample", written, "a red one", "--n", "2", "--out", bench.path("drawn"),
        "--quiet"]))
    found.append(Scene("text2image evaluate", "texts", [
        "text2image", "evaluate", written, "--n", "2", "--pool", "2", "--sweep", "1",
        "--out", bench.path("judged"), "--quiet"]))
    found.append(Scene("bench report", "results", [
        "bench", "report", bench.path("results.jsonl"), "-o", bench.path("site")]))
    found.append(Scene("bench --plot", "empty", [
        "bench", "--kernel", "add", "--n", "64,256", "--seconds", "0.02", "--any-clock", "--plot",
        bench.path("add.png"), "--quiet"], timed=True))
    found.append(Scene("kernels --wgsl", "empty", [
        "kernels", "softmax", "--wgsl", bench.path("kernels")]))
    found.append(Scene("import", "empty", [
        "import", os.path.join(ROOT, "tests/fixtures/vqgan/taming.safetensors"), "--size", "32",
        "--out", out, "--quiet"]))
    return found


def chosen(bench, only):
    """Scenes of these names, or whose names contain one of them where none has it; all, where none
    is given."""
    every = scenes(bench)
    names = {s.name for s in every}
    return [s for s in every if not only or any(
        s.name == o or o not in names and o in s.name for o in only)]


# Files that say when something was done, or how fast.
VOLATILE = ("sessions.json", "pace.json", "run.lock", "compare.csv", "compare.md")


def is_volatile(path):
    name = os.path.basename(path)
    return name in VOLATILE or name.startswith("events.out.tfevents")


def all_files(folder):
    found = {}
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)
            with open(path, "rb") as file:
                found[os.path.relpath(path, folder)] = file.read()
    return found


def is_private(path):
    """A file that is being made, or that nobody reads yet."""
    parts = path.split(os.sep)
    return any(part.startswith(".wgvq-") for part in parts) and parts[-1] != ".wgvq-pictures.json"


def is_scratch(path):
    """What a killed command may leave beside what it wrote, until somebody removes it: a hidden
    file that it had begun, or an empty one by whose lock it kept others away."""
    name = os.path.basename(path)
    return name.startswith(".wgvq-") and name.endswith(".tmp") or name.startswith(".wgvq-lock")


def broken(path, data):
    """What is wrong with a file that stands in its place, if anything is."""
    end = os.path.splitext(path)[1]
    try:
        if end == ".safetensors":
            size = struct.unpack("<Q", data[:8])[0]
            parts = json.loads(data[8:8 + size])
            ends = [v["data_offsets"][1] for k, v in parts.items() if k != "__metadata__"]
            if 8 + size + max(ends, default=0) != len(data):
                return "its tensors end elsewhere than the file"
        elif end == ".json":
            json.loads(data)
        elif end == ".toml":
            tomllib.loads(data.decode())
        elif end == ".png" and not data.endswith(b"IEND\xaeB`\x82"):
            return "it has no end"
        elif end == ".html" and not data.rstrip().endswith(b"</html>"):
            return "it has no end"
        elif end == ".npy":
            size = struct.unpack("<H", data[8:10])[0]
            head = data[10:10 + size].decode()
            shape = head[head.index("(") + 1:head.index(")")].split(",")
            count = 1
            for n in shape:
                count *= int(n) if n.strip() else 1
            if 10 + size + 4 * count != len(data) and 10 + size + 2 * count != len(data):
                return "its numbers end elsewhere than the file"
        elif end == ".wgsl" and not data.rstrip().endswith(b"}"):
            return "it has no end"
        elif not data and os.path.basename(path) not in ("run.lock", "notes.txt"):
            return "it is empty"
    except (ValueError, KeyError, struct.error) as e:
        return str(e)
    return None


def compare(want, got, scene):
    """Differences between the files of two folders that should be alike."""
    found = []
    for path in sorted(set(want) | set(got)):
        if path not in got:
            if not is_volatile(path):
                found.append(f"{path} is lost")
        elif path not in want:
            if not is_volatile(path) and not is_scratch(path):
                found.append(f"{path} is left over")
        elif want[path] != got[path] and not is_volatile(path) and not scene.timed:
            found.append(f"{path} is another")
    return found
