"""Every public name has an example, and what it shows is so. Those of the guide run, too."""

import doctest
import inspect
import re
import sys
import types
from pathlib import Path

import numpy as np
import pytest

import wgvq
from conftest import TINY

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE | doctest.IGNORE_EXCEPTION_DETAIL
GUIDE = Path(__file__).parents[2] / "docs" / "python.md"


def described():
    """What is public, by name, with its description."""
    for name in wgvq.__all__:
        thing = getattr(wgvq, name)
        if name == "__version__":
            continue
        yield name, inspect.getdoc(thing)
        if inspect.isclass(thing) and thing in (wgvq.Gpu, wgvq.Tokenizer):
            for member, value in vars(thing).items():
                if not member.startswith("_"):
                    value = getattr(value, "__func__", value)
                    yield f"{name}.{member}", inspect.getdoc(value)


DESCRIBED = dict(described())


@pytest.mark.parametrize("name", DESCRIBED)
def test_example(name, tmp_path, images, labels, trained, tokenizer, request):
    examples = doctest.DocTestParser().get_doctest(DESCRIBED[name] or "", {}, name, None, 0)
    assert examples.examples, f"{name} has no example"
    examples.globs = {
        "folder": tmp_path,
        "images": images,
        "labels": labels,
        "np": np,
        "run": trained,
        "tiny": dict(TINY),
        "tokenizer": tokenizer,
        "wgvq": wgvq,
    }
    if "other_run" in DESCRIBED[name]:
        examples.globs["other_run"] = request.getfixturevalue("other_run")
    said = []
    # Of exceptions the class is compared here, and their sentences in other tests.
    result = doctest.DocTestRunner(optionflags=FLAGS).run(examples, out=said.append)
    assert result.failed == 0, "".join(said)


def test_every_member_is_among_them():
    assert {"Tokenizer.encode", "Tokenizer.load", "Gpu.list", "Gpu.name", "train"} <= set(DESCRIBED)
    assert len(DESCRIBED) > 35


class Recorded(types.ModuleType):
    """A stand-in for W&B and MLflow: the functions of both that the guide calls, as they take
    them."""

    def __init__(self, name):
        super().__init__(name)
        self.rows = []

    def init(self, project):
        assert isinstance(project, str)

    def log(self, data, step=None):
        assert all(isinstance(key, str) for key in data)
        self.rows.append((dict(data), step))

    def start_run(self):
        import contextlib

        return contextlib.nullcontext()

    def log_metrics(self, metrics, step=None):
        # MLflow takes numbers alone, under names of its alphabet.
        for key, value in metrics.items():
            assert re.fullmatch(r"[\w. /-]+", key) and float(value) == value
        self.rows.append((dict(metrics), step))


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_callbacks_of_the_guide(name, tmp_path, monkeypatch, images, tiny):
    code = [c for c in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.S) if name in c]
    assert len(code) == 1 and len(code[0].splitlines()) <= 10
    recorded = Recorded(name)
    monkeypatch.setitem(sys.modules, name, recorded)
    monkeypatch.chdir(tmp_path)
    small = {**tiny, "train.eval_every": 3, "train.steps": 6}

    def train(data, out, **options):
        return wgvq.train(data, out, settings=small, codebook_size=16, **options)

    stand_in = types.SimpleNamespace(train=train)
    exec(code[0], {"images": images, "wgvq": stand_in})
    assert [step for _, step in recorded.rows] == [2, 3, 4, 6, 6]
    names = {key for row, _ in recorded.rows for key in row}
    separator = "/" if name == "wandb" else "_"
    assert {f"train{separator}loss", f"test{separator}mse"} <= names
