#!/usr/bin/env python3
"""Makes assets/emoji32.webp and assets/emoji32.tsv, the data that `wgvq demo` trains on, from
Google's Noto emoji.

    npm pack emoji-datasource-google@16.0.0 && tar xzf emoji-datasource-google-16.0.0.tgz
    python3 -m pip install pillow==13.0.0
    python3 scripts/make_emoji_atlas.py package assets

Each 64 px picture is laid on white and brought to 32 px with Lanczos. The atlas has 64 pictures in
a row, left to right and top to bottom, in the order of the emoji keyboard, a picture's skin tones
after it; the rest of the last row is white. Of a picture that shares its group with the one before
it, the atlas has the difference, modulo 256. It is a lossless WebP, a fifth smaller than a PNG of
the pictures; src/data/source/emoji.rs reads it, and a test there holds the SHA-256 of their pixels.
The TSV has a line for each picture, in the same order, after a line of column names:

    code         the code points, in hexadecimal with dashes between
    name         the data set's short name, with the skin tones added; unique
    category     one of ten (the classes of the set)
    subcategory  one of about a hundred
    group        the position in emoji.json of the picture without skin tone: shared by all its
                 skin tones, so that a picture's variants come on one side of the split into train
                 and test
    caption      the name in plain words, skin tones included
"""

import json
import pathlib
import re
import sys

from PIL import Image, ImageChops

SIZE, COLUMNS = 32, 64
TONES = {
    "1F3FB": "light",
    "1F3FC": "medium-light",
    "1F3FD": "medium",
    "1F3FE": "medium-dark",
    "1F3FF": "dark",
}


def caption(name, tones):
    """`MAN: RED HAIR` with one tone -> `man with red hair, dark skin tone`."""
    words = name.lower().strip()
    words = re.sub(r"^(person|man|woman): (.* hair|beard|bald)$", r"\1 with \2", words)
    words = words.replace("with bald", "without hair")
    words = re.sub(r"^(family|keycap|kiss|couple with heart): ", r"\1, ", words)
    words = re.sub(r"^(.*) flag$", r"flag of \1", words) if not name.isupper() else words
    return ", ".join(
        [words] + ([" and ".join(f"{tone} skin tone" for tone in tones)] if tones else [])
    )


def rows(emoji):
    """(image file, TSV fields) of every picture, in the atlas's order."""
    for group, base in sorted(enumerate(emoji), key=lambda pair: pair[1]["sort_order"]):
        variants = [((), base)] + [
            (keys.split("-"), v) for keys, v in base.get("skin_variations", {}).items()
        ]
        for keys, variant in variants:
            tones = [TONES[key] for key in keys]
            name = "-".join([base["short_name"]] + (["+".join(tones)] if tones else []))
            text = caption(base["name"], tones)
            yield (
                variant["image"],
                [
                    variant["unified"],
                    name,
                    base["category"],
                    base["subcategory"],
                    str(group),
                    text,
                ],
            )


def picture(path):
    """One picture on white, SIZE x SIZE."""
    drawing = Image.open(path).convert("RGBA")
    white = Image.new("RGBA", drawing.size, (255, 255, 255, 255))
    white.alpha_composite(drawing)
    return white.convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)


def main(package, out):
    package, out = pathlib.Path(package), pathlib.Path(out)
    table = list(rows(json.loads((package / "emoji.json").read_text(encoding="utf-8"))))
    assert len({fields[1] for _, fields in table}) == len(table), "names are not unique"
    assert not any(
        "\t" in field or "\n" in field or not field for _, fields in table for field in fields
    )
    atlas = Image.new("RGB", (COLUMNS * SIZE, -(-len(table) // COLUMNS) * SIZE), (255, 255, 255))
    last, last_group = None, None
    for i, (image, fields) in enumerate(table):
        own, group = picture(package / "img/google/64" / image), fields[4]
        tile = ImageChops.subtract_modulo(own, last) if group == last_group else own
        atlas.paste(tile, (i % COLUMNS * SIZE, i // COLUMNS * SIZE))
        last, last_group = own, group
    atlas.save(out / "emoji32.webp", lossless=True, quality=100, method=6)
    header = "code\tname\tcategory\tsubcategory\tgroup\tcaption"
    lines = [header] + ["\t".join(fields) for _, fields in table]
    (out / "emoji32.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{len(table)} pictures, {(out / 'emoji32.webp').stat().st_size:,} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
