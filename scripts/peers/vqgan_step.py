"""A VQ-GAN's training step in PyTorch on the processor: the model, discriminator and losses of
`wgvq train --model vqgan`, for its time and memory.

    pip install torch numpy
    python scripts/peers/vqgan_step.py --batch 8 --size 64 --hidden 32 --multipliers 1,1,2 \\
        --blocks 1 --disc-hidden 32 --disc-layers 2

The network is taming-transformers' under its widths; codebook by moving averages without revival;
L1, structural similarity and edges at three scales, hinge loss, feature matching and the adaptive
weight, both optimisers. Prints a line of JSON: the median time of a step in which both players
move, and the process's largest resident size less what it was before the model was made.
"""

import argparse, json, resource, statistics, time
import torch
import torch.nn as nn
import torch.nn.functional as F

p = argparse.ArgumentParser()
p.add_argument("--batch", type=int, default=8)
p.add_argument("--size", type=int, default=64)
p.add_argument("--hidden", type=int, default=32)
p.add_argument("--multipliers", default="1,1,2")
p.add_argument("--blocks", type=int, default=1)
p.add_argument("--codes", type=int, default=512)
p.add_argument("--dim", type=int, default=64)
p.add_argument("--disc-hidden", type=int, default=32)
p.add_argument("--disc-layers", type=int, default=2)
p.add_argument("--steps", type=int, default=9)
a = p.parse_args()
# On the processor there is no TF32; where somebody moves this to CUDA, neither default is taken.
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
torch.manual_seed(0)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def norm(c):
    return nn.GroupNorm(32, c, eps=1e-6)


class Block(nn.Module):
    def __init__(self, i, o):
        super().__init__()
        self.n1, self.c1, self.n2, self.c2 = (
            norm(i),
            nn.Conv2d(i, o, 3, 1, 1),
            norm(o),
            nn.Conv2d(o, o, 3, 1, 1),
        )
        self.short = nn.Conv2d(i, o, 1) if i != o else nn.Identity()

    def forward(self, x):
        return self.short(x) + self.c2(F.silu(self.n2(self.c1(F.silu(self.n1(x))))))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.n, self.qkv, self.out = norm(c), nn.Conv2d(c, 3 * c, 1), nn.Conv2d(c, c, 1)

    def forward(self, x):
        b, c, h, w = x.shape
        q, k, v = self.qkv(self.n(x)).reshape(b, 3, c, h * w).transpose(2, 3).unbind(1)
        return x + self.out(
            F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, c, h, w)
        )


def middle(c):
    return [Block(c, c), Attention(c), Block(c, c)]


class Down(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = nn.Conv2d(c, c, 3, 2, 0)

    def forward(self, x):
        return self.c(F.pad(x, (0, 1, 0, 1)))


class Up(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.c = nn.Conv2d(c, c, 3, 1, 1)

    def forward(self, x):
        return self.c(F.interpolate(x, scale_factor=2.0, mode="nearest"))


widths = [a.hidden * int(m) for m in a.multipliers.split(",")]
enc, c = [nn.Conv2d(3, a.hidden, 3, 1, 1)], a.hidden
for i, w in enumerate(widths):
    for _ in range(a.blocks):
        enc.append(Block(c, w))
        c = w
    if i + 1 < len(widths):
        enc.append(Down(c))
enc += middle(c) + [norm(c), nn.SiLU(), nn.Conv2d(c, a.dim, 3, 1, 1), nn.Conv2d(a.dim, a.dim, 1)]
dec = [nn.Conv2d(a.dim, a.dim, 1), nn.Conv2d(a.dim, c, 3, 1, 1)] + middle(c)
for i, w in reversed(list(enumerate(widths))):
    for _ in range(a.blocks + 1):
        dec.append(Block(c, w))
        c = w
    if i > 0:
        dec.append(Up(c))
last = nn.Conv2d(c, 3, 3, 1, 1)
dec += [norm(c), nn.SiLU(), last]
encoder, decoder = nn.Sequential(*enc), nn.Sequential(*dec)

disc, c = [], 3
for i in range(a.disc_layers + 2):
    final = i == a.disc_layers + 1
    o = 1 if final else a.disc_hidden * min(2**i, 8)
    stride = 2 if i < a.disc_layers else 1
    plain = i == 0 or final
    layers = (
        [nn.Conv2d(c, o, 4, stride, 1, bias=plain)]
        + ([] if plain else [nn.BatchNorm2d(o)])
        + ([] if final else [nn.LeakyReLU(0.2)])
    )
    disc.append(nn.Sequential(*layers))
    c = o
disc = nn.ModuleList(disc)


def judge(x):
    features = []
    for layer in disc:
        x = layer(x)
        features.append(x)
    return x, features[:-1]


codebook = torch.randn(a.codes, a.dim)
counts, sums = torch.ones(a.codes), codebook.clone()


def quantize(z):
    rows = z.permute(0, 2, 3, 1).reshape(-1, a.dim)
    with torch.no_grad():
        d = (codebook**2).sum(1) - 2 * rows @ codebook.T
        index = d.argmin(1)
        onehot = F.one_hot(index, a.codes).float()
        counts.mul_(0.99).add_(onehot.sum(0), alpha=0.01)
        sums.mul_(0.99).add_(onehot.T @ rows, alpha=0.01)
    z_q = codebook[index].reshape(z.shape[0], z.shape[2], z.shape[3], a.dim).permute(0, 3, 1, 2)
    commit = 0.25 * F.mse_loss(z, z_q)
    with torch.no_grad():
        n = counts.sum()
        codebook.copy_(sums / ((counts + 1e-5) / (n + a.codes * 1e-5) * n)[:, None])
    return z + (z_q - z).detach(), commit


g = torch.exp(-(((torch.arange(11) - 5.0) / 1.5) ** 2) / 2)
window = (g[:, None] * g / g.sum() ** 2).expand(3, 1, 11, 11).contiguous()


def ssim(x, y):
    x, y = (0.5 * x + 0.5).clamp(0, 1), (0.5 * y + 0.5).clamp(0, 1)
    f = lambda t: F.conv2d(t, window, groups=3)
    mx, my = f(x), f(y)
    sx, sy, sxy = f(x * x) - mx * mx, f(y * y) - my * my, f(x * y) - mx * my
    return (
        (2 * mx * my + 1e-4) * (2 * sxy + 9e-4) / ((mx**2 + my**2 + 1e-4) * (sx + sy + 9e-4))
    ).mean()


def structure(x, y):
    total = 0
    for i in range(3):
        edges = 0.5 * (
            (x.diff(dim=3) - y.diff(dim=3)).abs().mean()
            + (x.diff(dim=2) - y.diff(dim=2)).abs().mean()
        )
        total = total + edges + 0.5 - 0.5 * ssim(x, y)
        x, y = F.avg_pool2d(x, 2), F.avg_pool2d(y, 2)
    return total / 3


opt_g = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], 5e-4)
opt_d = torch.optim.Adam(disc.parameters(), 5e-4, betas=(0.5, 0.9))


def step(x):
    z_q, commit = quantize(encoder(x))
    y = decoder(z_q)
    own = (y - x).abs().mean() + structure(y, x)
    with torch.no_grad():
        real = judge(x)[1]
    logits, fake = judge(y)
    heard = -logits.mean() + 2 / len(real) * sum((f - r).abs().mean() for f, r in zip(fake, real))
    norms = [
        torch.autograd.grad(loss, last.weight, retain_graph=True)[0].norm() for loss in (own, heard)
    ]
    weight = 0.8 * (norms[0] / (norms[1] + 1e-4)).clamp(0, 1e4).detach()
    opt_g.zero_grad()
    (own + weight * heard + commit).backward()
    opt_g.step()
    opt_d.zero_grad()
    loss = 0.5 * (F.relu(1 - judge(x)[0]).mean() + F.relu(1 + judge(y.detach())[0]).mean())
    loss.backward()
    opt_d.step()


x = torch.rand(a.batch, 3, a.size, a.size) * 2 - 1
times = []
for i in range(a.steps + 2):
    began = time.perf_counter()
    step(x)
    times.append(time.perf_counter() - began)
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
count = sum(t.numel() for t in [*encoder.parameters(), *decoder.parameters()])
print(
    json.dumps(
        {
            "peer": "torch-cpu",
            "name": "vqgan_step",
            "ms": round(1e3 * statistics.median(times[2:]), 1),
            "peak_mib": peak >> 10,
            "parameters": count,
        }
    )
)
