"""Holds the figures of `wgvq evaluate --json --keep FOLDER` against other programs', computed from
the images and features in that folder: `agree.py FIGURES FOLDER`.
"""

import json, os, sys
import numpy as np
from PIL import Image
import answers

figures, folder = sys.argv[1:]
lines = [json.loads(line) for line in open(figures)]
own = {line["metric"]: line for line in lines}


def images(name):
    place = os.path.join(folder, name)
    each = [np.asarray(Image.open(os.path.join(place, f))) for f in sorted(os.listdir(place))]
    return np.stack([i if i.ndim == 3 else i[..., None] for i in each]).astype(float)


def levels(height, width):
    often = 0
    while often < 4 and height % 2 == 0 and width % 2 == 0:
        height, width, often = height // 2, width // 2, often + 1
    return often


training, held_out, samples = map(images, ["training", "held-out", "samples"])
depth = levels(*training.shape[1:3])
theirs = {"value": {}, "floor": {}}
for key, other in [("value", "samples"), ("floor", "held-out")]:
    judged = samples if key == "value" else held_out
    theirs[key]["fwd"] = answers.fwd(training, judged, depth)
    a, b = (
        np.load(os.path.join(folder, name + ".npy")).astype(float) for name in ["training", other]
    )
    theirs[key] |= answers.of_features(a, b)
    theirs[key]["mind"] = answers.mind(a, b)

failed = 0
for key, found in theirs.items():
    for name, want in found.items():
        got = own[name.removeprefix("sklearn.")][key]
        # Directions are random: a thousand here, twenty thousand there.
        allowed = 0.1 if name == "mind" else 5e-5
        # The unbiased kernel distance may be nearly nothing: what it is the difference of counts.
        scale = max(abs(want), 1e-2) if name.endswith("kid") else abs(want)
        holds = abs(got - want) <= allowed * scale + 1e-12
        failed += not holds
        print(f"{key:6} {name:20} {got:14.8f} {want:14.8f} {'' if holds else '  DIFFERS'}")
sys.exit(f"{failed} figures differ" if failed else 0)
