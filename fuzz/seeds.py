#!/usr/bin/env python3
"""Writes small valid files that a fuzz target begins with: seeds.py TARGET FOLDER."""

import gzip
import io
import json
import pathlib
import struct
import sys
import tarfile
import zlib


def png(side):
    """A grey image of `side` pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    rows = b"".join(b"\0" + bytes((x * 9 + y * 5) % 256 for x in range(side)) for y in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def idx():
    return bytes([0, 0, 8, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 3]) + bytes(range(60))


def array(descr, shape, data):
    header = f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00\x76\x00" + f"{header:<117}\n".encode() + data


def npy():
    return array("<f4", (2, 3), bytes(24))


def images_npy():
    return array("|u1", (2, 4, 4), bytes(range(32)))


def cifar():
    """Two records of CIFAR-10."""
    return b"".join(bytes([label]) + bytes(i % 256 for i in range(3072)) for label in (3, 7))


def events():
    """A record with the version, which every event file begins with; its sums are masked CRCs."""

    def masked(data):
        crc = 0xFFFFFFFF
        for byte in data:
            crc ^= byte
            for _ in range(8):
                crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        crc ^= 0xFFFFFFFF
        return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF

    event = b"\x09" + struct.pack("<d", 1.0) + b"\x1a\x0dbrain.Event:2"
    length = struct.pack("<Q", len(event))
    return length + struct.pack("<I", masked(length)) + event + struct.pack("<I", masked(event))


def tar():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in [
            ("0.png", png(4)),
            ("0.txt", b"a red square"),
            ("0.cls", b"7"),
            ("deep/1.png", png(5)),
            ("deep/1.json", b'{"caption": "two", "n": [1, 2.5]}'),
            ("../2.png", png(4)),
        ]:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def safetensors(tensors, metadata):
    """One file of tensors: names to (dtype, shape, bytes)."""
    header, data = {"__metadata__": metadata}, b""
    for name, (dtype, shape, content) in tensors.items():
        offsets = [len(data), len(data) + len(content)]
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": offsets}
        data += content
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


CAPTIONS = b"""{"image": "0.png", "text": "a"}
{"image": "https://example.com/1.png", "text": "b", "split": "test"}
{"image": "../../etc/passwd", "text": "c"}
"""

CODES = {
    "format": "1",
    "model": "0123456789abcdef",
    "quantizer": "ema",
    "names": json.dumps(["0.png", "1.png"]),
    "codebook_size": "512",
    "image": "[8, 8, 3]",
}


def codes():
    return safetensors({"codes": ("U32", [2, 2, 2], bytes(32))}, CODES)


def packed():
    """One image of a code on each of two levels; the target adds the checksum."""
    head = b"wgvq" + bytes([1, 0]) + bytes.fromhex("0123456789abcdef")
    return head + bytes([1, 1, 8, 8, 3, 1, 1, 1, 1]) + bytes([5, 77, 130, 9])


def shards():
    """A manifest of codes; the file of codes is not there."""
    level = {"name": "top", "grid": [2, 2], "codebook_size": 512, "codebooks": 1}
    source = {
        "kind": "codes",
        "model": "0123456789abcdef",
        "quantizer": "ema",
        "levels": [level],
        "image": [8, 8, 3],
        "data": "here",
        "data_sha256": "d",
        "images": 3,
    }
    manifest = {
        "format": 1,
        "version": "0.1.0",
        "shard": {"number": 1, "of": 1},
        "source": source,
        "rows": [0, 3],
        "file": "shard-00001-of-00001.safetensors",
        "sha256": "0" * 64,
        "adapter": "llvmpipe",
    }
    return json.dumps(manifest).encode()


def weights_index():
    files = {"encoder.conv_in.weight": "a.safetensors", "decoder.conv_out.bias": "b.safetensors"}
    return json.dumps({"metadata": {"total_size": 8}, "weight_map": files}).encode()


SEEDS = {
    "idx": idx,
    "idx_gzip": lambda: gzip.compress(idx(), mtime=0),
    "npy": npy,
    "images_npy": images_npy,
    "cifar": cifar,
    "events": events,
    "captions": lambda: CAPTIONS,
    "tar": tar,
    "codes": codes,
    "packed": packed,
    "shards": shards,
    "weights_index": weights_index,
}


def main():
    target, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    if target not in SEEDS:
        sys.exit(f"no seeds for `{target}`; there are some for {', '.join(SEEDS)}")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "seed").write_bytes(SEEDS[target]())


main()
