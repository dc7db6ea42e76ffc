"""What a small network, trained on Fashion-MNIST's training split alone, takes samples for: the
share that it gives the class asked for.

    pip install torch numpy pillow; scripts/data.sh fashion-mnist
    python scripts/peers/classify.py --weights fashion-cnn.pt --reference
    python scripts/peers/classify.py --weights fashion-cnn.pt samples/ other-samples/ --json

Folders hold PNG files of 28 x 28 pixels, grey, named NUMBER-CLASS.png, where CLASS is a class's
name in lower case with a `-` for every run of other characters than letters and digits
(0017-ankle-boot.png), as `wgvq sample` writes them. Files whose names name no class are counted by
what they are taken for; those whose names begin with no number are passed over. `--reference`
judges the 10,000 real test pictures: what the share of perfect samples would be. The network is
trained where `--weights` is no file yet (some minutes), and kept there.
"""

import argparse, gzip, json, os, re, sys, time
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F
from pathlib import Path
from PIL import Image

CLASSES = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]
# wgvq calls the first class "t-shirt or top".
SLUGS = {
    re.sub("[^a-z0-9]+", "-", name.lower()).strip("-"): i for i, name in enumerate(CLASSES)
} | {"t-shirt-or-top": 0}


def split(name):
    """Pictures u8 [N, 1, 28, 28] and their classes."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(os.environ.get("WGVQ_DATA") or os.path.join(home, "wgvq"), "fashion-mnist")
    read = lambda kind, header: np.frombuffer(
        gzip.open(folder / f"{name}-{kind}-ubyte.gz").read(), np.uint8, offset=header
    ).copy()
    return (
        torch.from_numpy(read("images-idx3", 16)).reshape(-1, 1, 28, 28),
        torch.from_numpy(read("labels-idx1", 8)).long(),
    )


def block(i, o, *pool):
    return nn.Sequential(
        nn.Conv2d(i, o, 3, padding=1, bias=False), *pool, nn.BatchNorm2d(o), nn.ReLU()
    )


def network():
    half = nn.MaxPool2d(2, ceil_mode=True)
    return nn.Sequential(
        block(1, 32, half),
        block(32, 64, half),
        block(64, 64),
        block(64, 128, half),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(128 * 16, 10),
    ).to(memory_format=torch.channels_last)


def pixels(x):
    return ((x.float() / 255 - 0.286) / 0.353).contiguous(memory_format=torch.channels_last)


def train(epochs, seed):
    torch.manual_seed(seed)
    x, y = split("train")
    net, size, begun = network(), 128, time.time()
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01, fused=True)
    steps = epochs * (len(x) // size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps)
    for epoch in range(epochs):
        total = 0.0
        for batch in torch.randperm(len(x)).split(size)[: len(x) // size]:
            # Each picture mirrored or not, each batch moved by up to a pixel.
            drawn = torch.where(torch.rand(size, 1, 1, 1) < 0.5, x[batch].flip(-1), x[batch])
            down, across = torch.randint(3, (2,)).tolist()
            drawn = F.pad(drawn, (1, 1, 1, 1))[..., down : down + 28, across : across + 28]
            loss = F.cross_entropy(net(pixels(drawn)), y[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            total += loss.item()
        print(
            f"epoch {epoch + 1}: loss {total * size / len(x):.4f}, {time.time() - begun:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return net


def guess(net, x):
    net.eval()
    with torch.inference_mode():
        return torch.cat([net(pixels(part)).argmax(1) for part in x.split(500)])


def folder(path):
    """Its pictures, and the class that each name asks for, -1 where it asks for none."""
    files = sorted(Path(path).glob("[0-9]*.png"))
    if not files:
        sys.exit(f"{path} has no PNG files whose names begin with a number")
    images, asked = [], []
    for file in files:
        image = Image.open(file).convert("L")
        if image.size != (28, 28):
            sys.exit(f"{file} has {image.width} x {image.height} pixels, not 28 x 28")
        images.append(np.asarray(image))
        asked.append(SLUGS.get(re.sub("^[0-9]+-", "", file.stem), -1))
    return torch.from_numpy(np.stack(images))[:, None], torch.tensor(asked)


def judge(net, name, x, asked):
    found = guess(net, x)
    confusion = [torch.bincount(found[asked == i], minlength=10).tolist() for i in range(10)]
    right, named = sum(confusion[i][i] for i in range(10)), int((asked >= 0).sum())
    per_class = {
        CLASSES[i]: confusion[i][i] / sum(confusion[i]) for i in range(10) if any(confusion[i])
    }
    unnamed = torch.bincount(found[asked < 0], minlength=10).tolist()
    return {
        "name": name,
        "images": len(x),
        "named": named,
        "share": right / named if named else None,
        "classes": per_class,
        "confusion": confusion,
        "unnamed": unnamed,
    }


def show(verdict):
    print(f"\n{verdict['name']}: {verdict['images']} pictures")
    if verdict["named"]:
        print(
            f"{100 * verdict['share']:.2f} % of {verdict['named']} are taken for the class asked"
            " for\n"
        )
        print(
            f"{'asked for':12} {'share':>8}  taken for "
            + " ".join(f"{name[:7]:>7}" for name in CLASSES)
        )
    for name, row in zip(CLASSES, verdict["confusion"]):
        if any(row):
            print(
                f"{name:12} {100 * verdict['classes'][name]:6.1f} %            "
                + " ".join(f"{n:7}" for n in row)
            )
    if any(verdict["unnamed"]):
        print(
            "named no class, taken for: "
            + ", ".join(f"{name} {n}" for name, n in zip(CLASSES, verdict["unnamed"]))
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--reference", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--epochs", type=int, default=9)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if os.path.exists(args.weights):
        net = network()
        net.load_state_dict(torch.load(args.weights))
    else:
        net = train(args.epochs, args.seed)
        torch.save(net.state_dict(), args.weights)
    x, y = split("t10k")
    test = judge(net, "test split", x, y)
    verdicts = ([test] if args.reference else []) + [
        judge(net, path, *folder(path)) for path in args.folders
    ]
    if args.json:
        print(json.dumps({"test_accuracy": test["share"], "judged": verdicts}))
    else:
        print(f"accuracy on the test split: {100 * test['share']:.2f} %")
        for verdict in verdicts:
            show(verdict)
