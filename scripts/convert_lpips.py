#!/usr/bin/env python3
"""Makes the file that wgvq measures perceptual distances with (LPIPS, Zhang et al. 2018): a
network's weights and those of its features.

    pip install torch torchvision lpips safetensors
    python scripts/convert_lpips.py vgg lpips-vgg.safetensors

downloads torchvision's network (VGG16: 528 MB, of which 59 MB are kept) and takes the features'
weights, version 0.1, from the `lpips` package. Networks are vgg, which VQ-GANs are trained with,
alex and squeeze. Files that are there already are taken instead:

    python scripts/convert_lpips.py vgg lpips-vgg.safetensors \\
        --network vgg16-397923af.pth --features vgg.pth

where the first is a state dict under torchvision's names (`features.0.weight`), and the second the
`lpips` package's `lpips/weights/v0.1/vgg.pth` (`lin0.model.1.weight`). With both, torch and
safetensors suffice.
"""

import argparse
import importlib.util
import pathlib
import sys

import torch
from safetensors.torch import save_file

# The torchvision constructor, the convolutions' names, and the channels of the compared features.
FIRES = [
    f"{i}.{part}"
    for i in (3, 4, 6, 7, 9, 10, 11, 12)
    for part in ("squeeze", "expand1x1", "expand3x3")
]
NETWORKS = {
    "vgg": ("vgg16", [0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28], [64, 128, 256, 512, 512]),
    "alex": ("alexnet", [0, 3, 6, 8, 10], [64, 192, 384, 256, 256]),
    "squeeze": ("squeezenet1_1", [0, *FIRES], [64, 128, 256, 384, 384, 512, 512]),
}


def load(path):
    return torch.load(path, map_location="cpu", weights_only=True)


def network_weights(name, path):
    if path:
        return load(path)
    if not importlib.util.find_spec("torchvision"):
        sys.exit(
            "torchvision is not installed: `pip install torchvision`, or give --network the path of"
            " its state dict"
        )
    import torchvision

    return getattr(torchvision.models, NETWORKS[name][0])(weights="IMAGENET1K_V1").state_dict()


def feature_weights(name, path):
    if path:
        return load(path)
    package = importlib.util.find_spec("lpips")
    if not package:
        sys.exit(
            "lpips is not installed: `pip install lpips`, or give --features the path of its"
            " weights/v0.1/" + name + ".pth"
        )
    return load(pathlib.Path(package.origin).parent / "weights" / "v0.1" / f"{name}.pth")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=NETWORKS, help="the network")
    parser.add_argument("out", help="the file to write")
    parser.add_argument("--network", metavar="PTH", help="a state dict under torchvision's names")
    parser.add_argument(
        "--features", metavar="PTH", help="the lpips package's weights for the network's features"
    )
    given = parser.parse_args()
    _, convolutions, channels = NETWORKS[given.name]
    wanted = {f"features.{c}.{part}": None for c in convolutions for part in ("weight", "bias")}
    wanted |= {f"lin{i}.model.1.weight": [1, c, 1, 1] for i, c in enumerate(channels)}
    found = {
        **network_weights(given.name, given.network),
        **feature_weights(given.name, given.features),
    }
    tensors = {}
    for name, shape in wanted.items():
        if name not in found:
            sys.exit(
                f"`{name}` is missing: these are not the weights of {NETWORKS[given.name][0]} and"
                " of its features"
            )
        if shape and list(found[name].shape) != shape:
            sys.exit(
                f"`{name}` has shape {list(found[name].shape)}, {shape} was expected: it is another"
                " network's"
            )
        tensors[name] = found[name].detach().float().contiguous()
    save_file(tensors, given.out, metadata={"lpips": f"{given.name}, version 0.1"})
    print(
        f"{given.out}: {len(tensors)} tensors,"
        f" {pathlib.Path(given.out).stat().st_size / 1e6:.1f} MB"
    )


main()
