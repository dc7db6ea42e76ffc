"""The same model with vector-quantize-pytorch's quantizers in PyTorch: the curves that `wgvq
compare --reference` draws beside ours.

    pip install torch vector-quantize-pytorch==1.32.* numpy pillow
    python scripts/peers/learning.py --steps 500 --seeds 0 > beside.csv
    wgvq compare --steps 500 --reference beside.csv --out compared

The model of Sonnet's example (128 hidden, 2 residual blocks of 32, downsampling 4), Adam at 3e-4,
batches of 32 of the embedded emoji, pixels in [-1, 1], test split by picture as wgvq splits it.
Quantizers, with the options that wgvq's defaults stand for:

    ema       VectorQuantize(64, 512, decay .99, commitment .25, k-means, dead codes below 1
              revived)
    vq        the same with the codebook learned by gradient (its loss has the commitment loss's
              weight there)
    cosine    the same as ema with use_cosine_sim and codebook_dim 16
    fsq       FSQ([8, 5, 5, 5]) on 4 channels
    lfq       LFQ(512) on 9 channels, entropy 0.1, commitment .25
    residual  ResidualVQ(4 of ema)
    product   GroupedResidualVQ(1 quantizer, 4 groups of ema)
    simvq     SimVQ(64, 512), its defaults but the rotation
    gumbel    no module of the package: the Gumbel-softmax of a 1 x 1 convolution with PyTorch's
              initialisation, straight through, temperature from 1 to 1/16 along a cosine over
              2,000 steps, KL weight 5e-4, as taming-transformers trains it

Prints quantizer,seed,step,mse,psnr,perplexity,used,codes: the test split, pixels in [0, 1]. Of
several codebooks the perplexity is the mean and the codes used the sum.
"""

import argparse, os, sys
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
import vector_quantize_pytorch as vqp
from PIL import Image

ASSETS = os.path.join(os.path.dirname(__file__), "../../assets")
KINDS = ["ema", "vq", "cosine", "fsq", "lfq", "residual", "product", "simvq", "gumbel"]


def emoji():
    """Pictures u8 [N, 3, 32, 32], and whether each is tested on. Variants and pictures drawn alike
    share a side (src/data/emoji.rs)."""
    atlas = np.asarray(Image.open(os.path.join(ASSETS, "emoji32.webp")).convert("RGB"))
    rows = [
        line.split("\t")
        for line in (
            open(os.path.join(ASSETS, "emoji32.tsv"), encoding="utf-8").read().splitlines()[1:]
        )
    ]
    across = atlas.shape[1] // 32
    x = np.stack(
        [atlas[i // across * 32 :][:32, i % across * 32 :][:, :32] for i in range(len(rows))]
    )
    # Of a picture that shares its group with the one before it, the atlas has the difference.
    for i in range(1, len(rows)):
        if rows[i][4] == rows[i - 1][4]:
            x[i] += x[i - 1]
    first, shared = {}, {}
    for row, picture in zip(rows, x):
        own = shared.get(int(row[4]), int(row[4]))
        group = first.setdefault(picture.tobytes(), own)
        if group != own:
            shared = {k: group if v == own else v for k, v in shared.items()}
            first = {k: group if v == own else v for k, v in first.items()}
            shared |= {own: group, int(row[4]): group}
    groups = np.array([shared.get(int(row[4]), int(row[4])) for row in rows])
    return torch.from_numpy(x.copy()).permute(0, 3, 1, 2), groups % 10 == 0


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = (
            nn.Conv2d(128, 32, 3, padding=1, bias=False),
            nn.Conv2d(32, 128, 1, bias=False),
        )

    def forward(self, x):
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Gumbel(nn.Module):
    def __init__(self, dim, codes):
        super().__init__()
        self.logits, self.codebook, self.codes, self.step = (
            nn.Linear(dim, codes),
            nn.Embedding(codes, dim),
            codes,
            0,
        )

    def forward(self, z):
        logits = self.logits(z)
        if not self.training:
            index = logits.argmax(-1)
            return self.codebook(index), index
        self.step += 1
        way = min(self.step / 2000, 1.0)
        temperature = 0.0625 + (0.5 + 0.5 * np.cos(np.pi * way)) * (1.0 - 0.0625)
        drawn = F.gumbel_softmax(logits, tau=temperature, hard=True)
        p = logits.softmax(-1)
        kl = (p * (p * self.codes + 1e-10).log()).sum(-1).mean()
        return drawn @ self.codebook.weight, drawn.argmax(-1), 5e-4 * kl


def quantizer(kind):
    """The module, its channels, its codebooks and their codes."""
    ema = dict(
        codebook_size=512,
        decay=0.99,
        commitment_weight=0.25,
        kmeans_init=True,
        threshold_ema_dead_code=1,
        rotation_trick=False,
    )
    if kind == "ema":
        return vqp.VectorQuantize(dim=64, **ema), 64, 1, 512
    if kind == "vq":
        return (
            vqp.VectorQuantize(dim=64, learnable_codebook=True, ema_update=False, **ema),
            64,
            1,
            512,
        )
    if kind == "cosine":
        return vqp.VectorQuantize(dim=64, codebook_dim=16, use_cosine_sim=True, **ema), 64, 1, 512
    if kind == "fsq":
        return vqp.FSQ([8, 5, 5, 5]), 4, 1, 1000
    if kind == "lfq":
        return (
            vqp.LFQ(codebook_size=512, dim=9, entropy_loss_weight=0.1, commitment_loss_weight=0.25),
            9,
            1,
            512,
        )
    if kind == "residual":
        return vqp.ResidualVQ(dim=64, num_quantizers=4, **ema), 64, 4, 512
    if kind == "product":
        return vqp.GroupedResidualVQ(dim=64, num_quantizers=1, groups=4, **ema), 64, 4, 512
    if kind == "gumbel":
        return Gumbel(64, 512), 64, 1, 512
    if kind == "simvq":
        return vqp.SimVQ(dim=64, codebook_size=512, rotation_trick=False), 64, 1, 512
    sys.exit(f"learning.py: there is no `{kind}` here, only {', '.join(KINDS)}")


def train(kind, seed, steps, every, train_x, test_x):
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    vq, channels, books, codes = quantizer(kind)
    encoder = nn.Sequential(
        nn.Conv2d(3, 64, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(64, 128, 4, 2, 1),
        nn.ReLU(),
        nn.Conv2d(128, 128, 3, 1, 1),
        Block(),
        Block(),
        nn.ReLU(),
        nn.Conv2d(128, channels, 1),
    )
    decoder = nn.Sequential(
        nn.Conv2d(channels, 128, 3, 1, 1),
        Block(),
        Block(),
        nn.ReLU(),
        nn.ConvTranspose2d(128, 64, 4, 2, 1),
        nn.ReLU(),
        nn.ConvTranspose2d(64, 3, 4, 2, 1),
    )
    optimizer = torch.optim.Adam(
        [*encoder.parameters(), *decoder.parameters(), *vq.parameters()], 3e-4
    )

    def forward(batch):
        z = encoder(batch)
        b, d, h, w = z.shape
        out = vq(z.permute(0, 2, 3, 1).reshape(b, h * w, d))
        loss = out[2].sum() if len(out) > 2 else 0.0
        # Indices of the groups lie outermost, those of a stack innermost.
        index = out[1].permute(1, 2, 0, 3) if kind == "product" else out[1]
        return (
            decoder(out[0].reshape(b, h, w, d).permute(0, 3, 1, 2)),
            index.reshape(-1, books),
            loss,
        )

    def measure(step):
        vq.eval()
        squares, counts = 0.0, torch.zeros(books, codes)
        with torch.no_grad():
            for batch in test_x.split(128):
                batch = batch.float() / 127.5 - 1
                y, index, _ = forward(batch)
                squares += ((y.clamp(-1, 1) - batch) ** 2).sum().item() / 4
                for i in range(books):
                    counts[i] += torch.bincount(index[:, i].long(), minlength=codes)
        vq.train()
        mse, p = squares / test_x.numel(), counts / counts.sum(1, keepdim=True)
        perplexity = torch.exp(-(p * (p + 1e-30).log()).sum(1)).mean().item()
        print(
            f"{kind},{seed},{step},{mse:.6e},{-10 * np.log10(mse):.3f},{perplexity:.2f},"
            f"{int((counts > 0).sum())},{books * codes}",
            flush=True,
        )

    for step in range(1, steps + 1):
        batch = train_x[torch.from_numpy(rng.integers(0, len(train_x), 32))].float() / 127.5 - 1
        y, _, own = forward(batch)
        loss = F.mse_loss(y, batch) + own
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % every == 0 or step == steps:
            measure(step)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--quantizers", default=",".join(KINDS))
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    unknown = [kind for kind in args.quantizers.split(",") if kind not in KINDS]
    if unknown:
        parser.error(f"no quantizers here: {', '.join(unknown)}; there are {', '.join(KINDS)}")
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    x, test = emoji()
    print(f"{(~test).sum()} pictures to train on, {test.sum()} to test", file=sys.stderr)
    print("quantizer,seed,step,mse,psnr,perplexity,used,codes")
    for kind in args.quantizers.split(","):
        for seed in args.seeds.split(","):
            train(kind, int(seed), args.steps, max(args.steps // 10, 1), x[~test], x[test])
