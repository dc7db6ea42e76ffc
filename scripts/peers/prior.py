"""The transformer prior in PyTorch: what a training step and sampling cost, for the benchmarks of
ours.

    pip install torch numpy safetensors
    python scripts/peers/prior.py                                    # every figure, on two threads
    python scripts/peers/prior.py --parts cached --n 16 --guidance 2
    python scripts/peers/prior.py --device cuda

Eager, f32, random weights and codes, F.scaled_dot_product_attention. Parts:

    train     a step: forward, cross-entropy, backward, gradients clipped to a norm of 1, fused
              AdamW
    plain     sampling without a cache: every code runs the whole sequence before it again, and the
              head on the last row
    cached    sampling with a cache of keys and values: every code runs one row
    check     no figure: that this model gives the logits, loss and gradients in
              tests/fixtures/prior, and the same codes with a cache as without, in f64

Sampling draws from the top k at temperature 1; guidance runs two rows an image, one without its
class. Prints a JSON line per figure: the median of some calls after some to warm up.
"""

import argparse, functools, json, os, statistics, time
import torch, torch.nn as nn, torch.nn.functional as F
from types import SimpleNamespace
from safetensors import safe_open

FIXTURES = os.path.join(os.path.dirname(__file__), "../../tests/fixtures/prior")


def linear(i, o):
    return nn.Linear(i, o, bias=False)


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.qkv, self.proj = c.heads, linear(c.dim, 3 * c.dim), linear(c.dim, c.dim)

    def forward(self, x, turns, at, cache):
        b, t, d = x.shape
        q, k, v = self.qkv(x).view(b, t, 3, self.heads, -1).unbind(2)
        if turns is not None:
            q, k = (
                torch.view_as_real(torch.view_as_complex(r.unflatten(-1, (-1, 2))) * turns).flatten(
                    -2
                )
                for r in (q, k)
            )
        q, k, v = q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)
        if cache is not None:
            cache[0][:, :, at : at + t], cache[1][:, :, at : at + t] = k, v
            k, v = cache[0][:, :, : at + t], cache[1][:, :, : at + t]
        y = F.scaled_dot_product_attention(q, k, v, is_causal=t > 1)
        return self.proj(y.transpose(1, 2).reshape(b, t, d))


class Mlp(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.gated = c.mlp == "swiglu"
        self.up, self.down = (
            linear(c.dim, c.hidden * (2 if self.gated else 1)),
            linear(c.hidden, c.dim),
        )

    def forward(self, x):
        x = self.up(x)
        if self.gated:
            a, b = x.chunk(2, -1)
            return self.down(F.silu(a) * b)
        return self.down(F.gelu(x))


class Block(nn.Module):
    def __init__(self, c, norm):
        super().__init__()
        self.norm1, self.attn, self.norm2, self.mlp = norm(), Attention(c), norm(), Mlp(c)

    def forward(self, x, *where):
        x = x + self.attn(self.norm1(x), *where)
        return x + self.mlp(self.norm2(x))


class Prior(nn.Module):
    """Parameters are named as in wgvq's files; `c` as the configuration in the fixtures."""

    def __init__(self, c):
        super().__init__()
        norm = functools.partial(nn.RMSNorm if c.norm == "rms" else nn.LayerNorm, c.dim, eps=1e-5)
        rows, cols = c.grid
        self.c, self.length = c, rows * cols * c.codebooks
        self.classes = nn.Embedding(c.classes + 1, c.dim)
        self.tokens = nn.ModuleList(
            nn.Embedding(c.codebook_size, c.dim) for _ in range(c.codebooks)
        )
        self.codebook = nn.Embedding(c.codebooks, c.dim) if c.codebooks > 1 else None
        self.positions = nn.Embedding(rows * cols, c.dim) if c.positions == "learned" else None
        self.blocks = nn.ModuleList(Block(c, norm) for _ in range(c.layers))
        self.norm = norm()
        self.head = (
            None
            if c.tied
            else nn.ModuleList(linear(c.dim, c.codebook_size) for _ in range(c.codebooks))
        )
        for p in self.parameters():
            if p.dim() > 1:
                nn.init.normal_(p, std=0.02)
        self.turns = None
        if c.positions == "rotary":
            pairs, cell = c.dim // c.heads // 4, torch.arange(self.length) // c.codebooks
            frequency = c.rope_base ** -(torch.arange(pairs, dtype=torch.float64) / pairs)
            angle = torch.cat(
                [torch.outer(cell // cols, frequency), torch.outer(cell % cols, frequency)], 1
            )
            self.turns = torch.polar(torch.ones_like(angle), angle)[:, None]
            if torch.get_default_dtype() == torch.float32:
                self.turns = self.turns.to(torch.complex64)

    def forward(self, codes, classes, at=0, caches=None):
        """Rows `at`.. of sequences that begin with `codes` [B, n]: one row for each code and one
        for what follows them."""
        books, n = self.c.codebooks, codes.shape[1] + 1
        before = codes[:, max(at - 1, 0) :]
        if books == 1:
            x = self.tokens[0](before)
        else:
            table = torch.cat([tokens.weight for tokens in self.tokens])
            x = F.embedding(
                before + torch.arange(n - 1)[max(at - 1, 0) :] % books * self.c.codebook_size, table
            )
        if at == 0:
            x = torch.cat([self.classes(classes)[:, None], x], 1)
        place = torch.arange(at, n)
        if self.codebook is not None:
            x = x + self.codebook(place % books)
        if self.positions is not None:
            x = x + self.positions(place // books)
        turns = None if self.turns is None else self.turns[at:n]
        for block, cache in zip(self.blocks, caches or [None] * len(self.blocks)):
            x = block(x, turns, at, cache)
        return self.norm(x)

    def logits(self, x, i):
        """What rows of the `i`-th codebook say."""
        return F.linear(x, (self.tokens if self.head is None else self.head)[i].weight)

    def loss(self, codes, classes):
        """Mean cross-entropy, and the logits [B, T, K]."""
        x, books = self(codes[:, :-1], classes), self.c.codebooks
        y = (
            self.logits(x, 0)
            if books == 1
            else torch.stack([self.logits(x[:, q::books], q) for q in range(books)], 2).flatten(
                1, 2
            )
        )
        return F.cross_entropy(y.flatten(0, 1), codes.flatten()), y

    @torch.inference_mode()
    def sample(self, classes, guidance, top, draw, cached):
        c, n = self.c, len(classes)
        rows = (
            classes
            if guidance is None
            else torch.cat([classes, torch.full_like(classes, c.classes)])
        )
        codes, shape = (
            rows.new_empty(len(rows), 0),
            (
                2,
                len(rows),
                c.heads,
                self.length,
                c.dim // c.heads,
            ),
        )
        caches = [torch.empty(shape) for _ in self.blocks] if cached else None
        for i in range(self.length):
            y = self.logits(self(codes, rows, i if cached else 0, caches)[:, -1], i % c.codebooks)
            if guidance is not None:
                y = y[n:] + guidance * (y[:n] - y[n:])
            best, index = y.topk(min(top, c.codebook_size))
            drawn = index.gather(1, torch.multinomial(best.softmax(-1), 1, generator=draw))
            codes = torch.cat([codes, drawn.repeat(len(rows) // n, 1)], 1)
        return codes[:n]


def check():
    device = torch.get_default_device()
    for name in ("rotary", "learned"):
        with safe_open(os.path.join(FIXTURES, name + ".safetensors"), "pt") as file:
            kept, c = (
                {key: file.get_tensor(key).to(device) for key in file.keys()},
                SimpleNamespace(**json.loads(file.metadata()["config"])),
            )
        weights = {key[6:]: v for key, v in kept.items() if key.startswith("model.")}
        model = Prior(c)
        model.load_state_dict(weights)
        loss, y = model.loss(kept["codes"].long(), kept["classes"].long())
        loss.backward()
        off = {
            "logits": (y - kept["logits"]).abs().max().item(),
            "loss": abs(loss.item() - kept["loss"].item()),
        }
        grads = {key: kept["grad." + key] for key in weights}
        off["grads"] = max(
            ((p.grad - grads[key]).abs().max() / grads[key].abs().max()).item()
            for key, p in model.named_parameters()
        )
        torch.set_default_dtype(torch.float64)
        model = Prior(c)
        model.load_state_dict(weights)
        classes = torch.arange(64) % (c.classes + 1)
        drawn = lambda guidance, cached: model.sample(
            classes, guidance, 10, torch.Generator(device).manual_seed(1), cached
        )
        same = all(
            torch.equal(drawn(guidance, False), drawn(guidance, True)) for guidance in (None, 2.0)
        )
        torch.set_default_dtype(torch.float32)
        print(
            json.dumps({"name": f"prior_check_{name}", "off": off, "same_codes": same}), flush=True
        )
        assert same and max(off.values()) < 1e-4


def median(call, warm, calls):
    """Of wall time, in ms."""
    times = []
    for _ in range(warm + calls):
        begun = time.perf_counter()
        call()
        if torch.get_default_device().type == "cuda":
            torch.cuda.synchronize()
        times.append(1e3 * (time.perf_counter() - begun))
    return statistics.median(times[warm:])


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", default="train,plain,cached")
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--dim", type=int, default=192)
    parser.add_argument("--heads", type=int, default=6)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--norm", choices=["rms", "layer"], default="rms")
    parser.add_argument("--mlp", choices=["swiglu", "gelu"], default="swiglu")
    parser.add_argument("--positions", choices=["rotary", "learned"], default="rotary")
    parser.add_argument("--untied", dest="tied", action="store_false")
    parser.add_argument("--codebooks", type=int, default=1)
    parser.add_argument("--codebook-size", "--K", type=int, default=512)
    parser.add_argument(
        "--grid",
        type=lambda text: [int(n) for n in text.split("x")],
        default=[7, 7],
        help="ROWSxCOLUMNS",
    )
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--rope-base", type=float, default=100.0)
    parser.add_argument("--batch", type=int, default=64, help="sequences of a training step")
    parser.add_argument("--n", type=int, default=64, help="images of a call that samples")
    parser.add_argument("--guidance", type=float)
    parser.add_argument("--top", type=int, default=100)
    parser.add_argument("--warm", type=int, default=2)
    parser.add_argument("--calls", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--tf32",
        action="store_true",
        help="let products and convolutions round their operands to TF32 on CUDA",
    )
    args = parser.parse_args()
    # Said both ways: by default cuDNN's convolutions use it and cuBLAS's products do not.
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = args.tf32
    where = {"threads": args.threads, "device": args.device, "tf32": args.tf32}
    torch.set_num_threads(args.threads)
    torch.set_default_device(args.device)
    torch.manual_seed(0)
    model, parts = Prior(args), args.parts.split(",")
    size = f"l{args.layers}_d{args.dim}_t{model.length}_k{args.codebook_size}"
    if "check" in parts:
        check()
    if "train" in parts:
        optimizer = torch.optim.AdamW(model.parameters(), 3e-4, fused=True)
        codes = torch.randint(args.codebook_size, (args.batch, model.length))
        classes = torch.randint(args.classes + 1, (args.batch,))

        def step():
            loss, _ = model.loss(codes, classes)
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

        ms = median(step, args.warm, args.calls)
        figure = {
            "name": f"prior_train_{size}_b{args.batch}",
            "ms": round(ms, 2),
            "tokens_per_s": round(1e3 * codes.numel() / ms, 1),
        }
        print(json.dumps(figure | where), flush=True)
    for part in ("plain", "cached"):
        if part not in parts:
            continue
        classes, draw = (
            torch.arange(args.n) % args.classes,
            torch.Generator(args.device).manual_seed(0),
        )
        ms = median(
            lambda: model.sample(classes, args.guidance, args.top, draw, part == "cached"),
            args.warm,
            args.calls,
        )
        rates = {
            "images_per_s": round(1e3 * args.n / ms, 2),
            "tokens_per_s": round(1e3 * args.n * model.length / ms, 1),
        }
        name = f"prior_sample_{part}_{size}_n{args.n}" + (
            "" if args.guidance is None else "_guided"
        )
        print(json.dumps({"name": name, "ms": round(ms, 2)} | rates | where), flush=True)
