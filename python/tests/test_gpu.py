"""Adapters, benchmarks, and what the package says of itself."""

import inspect
import json

import pytest

import wgvq


def test_adapters():
    adapters = wgvq.Gpu.list()
    assert adapters and {"index", "name", "backend", "driver"} <= set(adapters[0])
    gpu = wgvq.Gpu(adapter=str(adapters[0]["index"]))
    assert gpu.name == adapters[0]["name"] and gpu.name in repr(gpu)
    assert wgvq.Gpu(core="tiled").core == "tiled"
    with pytest.raises(wgvq.DeviceError, match="no such adapter"):
        wgvq.Gpu(adapter="no such adapter")
    with pytest.raises(wgvq.ArgumentError, match="tiled"):
        wgvq.Gpu(core="tilde")
    assert wgvq.default_gpu() is wgvq.default_gpu()


def test_a_budget_is_kept(images, tiny, tmp_path):
    with pytest.raises(wgvq.OutOfMemory, match="budget") as raised:
        small = wgvq.Gpu(memory_budget=100_000)
        wgvq.train(images, tmp_path / "run", settings=tiny, steps=1, gpu=small)
    assert isinstance(raised.value, MemoryError)


def test_bench():
    [row] = wgvq.bench("vq_search_n99_k17_d8", seconds=0.01)
    assert row["pass"] and row["name"] == "vq_search_n99_k17_d8" and row["compared"] > 0
    json.dumps(row)
    with pytest.raises(wgvq.Error, match="vq_search"):
        wgvq.bench("vq_serch_n99_k17_d8")


def test_every_public_name_is_described():
    for name in wgvq.__all__:
        if name == "__version__":
            continue
        thing = getattr(wgvq, name)
        assert inspect.getdoc(thing), name
    for name, method in inspect.getmembers(wgvq.Tokenizer, inspect.isfunction):
        assert name.startswith("_") or inspect.getdoc(method), name
    assert set(wgvq.presets()) >= {"emoji32", "fashion28"}
