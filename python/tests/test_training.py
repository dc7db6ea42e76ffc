"""Runs: what they write, how they stop and go on, what they refuse."""

import hashlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import numpy as np
import pytest

import wgvq


def tensors(run):
    """The tensors of a model, without what its file says of the time."""
    from json import loads

    data = (Path(run) / "final.safetensors").read_bytes()
    length = int.from_bytes(data[:8], "little")
    head = loads(data[8 : 8 + length])
    head.pop("__metadata__", None)
    digest = hashlib.sha256()
    for name in sorted(head):
        begin, end = head[name]["data_offsets"]
        digest.update(name.encode() + data[8 + length + begin : 8 + length + end])
    return digest.hexdigest()


def train(images, out, tiny, **more):
    more = {"steps": 6, "batch_size": 4, "codebook_size": 16, **more}
    return wgvq.train(images, out, settings=tiny, **more)


def test_a_run_and_its_rows(tmp_path, images, tiny):
    rows = []
    run = train(images, tmp_path / "run", {**tiny, "train.eval_every": 3}, callback=rows.append)
    assert run.step == 6 and not run.stopped and run.run == tmp_path / "run"
    assert {row["kind"] for row in rows} == {"train", "test"}
    training = [row for row in rows if row["kind"] == "train"]
    assert [row["step"] for row in training] == [2, 4, 6]
    assert all(np.isfinite(row["loss"]) for row in training)
    measured = [row for row in rows if row["kind"] == "test"]
    assert [row["step"] for row in measured] == [3, 6]
    assert run.evaluation["mse"] == measured[-1]["mse"]
    # The log says the same.
    log = (tmp_path / "run" / "metrics.csv").read_text().splitlines()
    at = log[0].split(",").index("loss")
    assert [float(line.split(",")[at]) for line in log[1:]] == [row["loss"] for row in training]


def test_stopped_and_gone_on_is_uninterrupted(tmp_path, images, tiny):
    whole = train(images, tmp_path / "whole", tiny)
    # Stopped by what the callback returns.
    cut = train(images, tmp_path / "cut", tiny, callback=lambda row: row["step"] >= 2)
    assert cut.stopped and 0 < cut.step < 6 and cut.evaluation is None
    rest = train(images, tmp_path / "cut", {}, resume=True, batch_size=None, codebook_size=None)
    assert rest.step == 6 and tensors(tmp_path / "cut") == tensors(tmp_path / "whole")
    assert rest.evaluation == whole.evaluation

    # Stopped by what it raises.
    class Enough(Exception):
        pass

    def enough(row):
        raise Enough("here")

    with pytest.raises(Enough, match="here"):
        train(images, tmp_path / "raised", tiny, callback=enough)
    train(images, tmp_path / "raised", {}, resume=True, batch_size=None, codebook_size=None)
    assert tensors(tmp_path / "raised") == tensors(tmp_path / "whole")
    # On other images it does not go on.
    with pytest.raises(wgvq.Error):
        train(
            images[::-1],
            tmp_path / "raised",
            {},
            resume=True,
            steps=9,
            batch_size=None,
            codebook_size=None,
        )


def test_a_run_remembers_where_its_images_were_moved(tmp_path, images, tiny):
    before, after = tmp_path / "before.npy", tmp_path / "after.npy"
    run = tmp_path / "run"
    np.save(before, images)
    train(str(before), run, tiny, steps=2)
    before.rename(after)
    assert wgvq.train(str(after), run, resume=True, steps=4).step == 4
    assert "after.npy" in (run / "config.toml").read_text()
    assert wgvq.train(None, run, resume=True, steps=6).step == 6


def test_ctrl_c_leaves_a_run_that_goes_on(tmp_path, tiny):
    script = textwrap.dedent(f"""
        import numpy as np, wgvq
        images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
        def show(row):
            print("row", row["step"], flush=True)
        try:
            wgvq.train(images, {str(tmp_path / "run")!r}, steps=100000, batch_size=4,
                       codebook_size=8, settings={tiny!r}, callback=show)
        except KeyboardInterrupt:
            print("interrupted", flush=True)
        """)
    child = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, env=dict(os.environ)
    )
    assert child.stdout.readline().startswith("row")
    child.send_signal(signal.SIGINT)
    rest = child.stdout.read()
    assert child.wait() == 0 and rest.endswith("interrupted\n")
    step = max(int(p.stem.split("-")[-1]) for p in (tmp_path / "run" / "checkpoints").iterdir())
    images = np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), np.uint8)
    assert wgvq.train(images, tmp_path / "run", resume=True, steps=step + 1).step == step + 1


def test_the_same_bytes_as_the_command(tmp_path, tiny):
    command = os.environ.get("WGVQ_COMMAND")
    if not command:
        pytest.skip("WGVQ_COMMAND names no wgvq")
    settings = {**tiny, "data.width": 16, "data.height": 16}
    sets = [f"--set={key}={value}" for key, value in settings.items()]
    options = ["--steps", "4", "--batch", "4", "--codes", "16", "--seed", "3", "--quiet"]
    out = tmp_path / "command"
    subprocess.run(
        [command, "train", "--preset", "emoji32", "--out", out, *options, *sets], check=True
    )
    wgvq.train(
        None,
        tmp_path / "python",
        preset="emoji32",
        steps=4,
        batch_size=4,
        codebook_size=16,
        seed=3,
        settings=settings,
    )
    assert tensors(tmp_path / "python") == tensors(out)
    for name in ["config.toml", "metrics.csv", "test.csv"]:
        assert (tmp_path / "python" / name).read_bytes() == (out / name).read_bytes(), name
    # Codes of the command, and of this module, of the same pictures.
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    image = pytest.importorskip("PIL.Image")
    pixels = np.random.default_rng(2).integers(0, 256, (5, 16, 16, 3), np.uint8)
    for i, picture in enumerate(pixels):
        image.fromarray(picture).save(pictures / f"{i}.png")
    codes = tmp_path / "codes.safetensors"
    files = sorted(pictures.iterdir())
    subprocess.run([command, "encode", out, *files, "-o", codes, "--npy", "--quiet"], check=True)
    ours = wgvq.Tokenizer.load(tmp_path / "python").encode(pixels)
    assert np.array_equal(np.load(codes.with_suffix(".npy")).reshape(ours.shape), ours)
    # The command opens a run of this module.
    subprocess.run(
        [
            command,
            "encode",
            tmp_path / "python",
            *files,
            "-o",
            tmp_path / "again.safetensors",
            "--quiet",
        ],
        check=True,
    )
    assert (tmp_path / "again.safetensors").read_bytes() == codes.read_bytes()


def test_iterables(tmp_path, images, labels, tiny):
    whole = train(images, tmp_path / "array", tiny)

    def batches():
        for i in range(0, 60, 7):
            yield images[i : i + 7]

    class Dataset:
        """As PyTorch's: lengths and indices, and an error past the end."""

        def __len__(self):
            return 60

        def __getitem__(self, i):
            return images[i], int(labels[i])

    train(batches(), tmp_path / "batches", tiny)
    assert tensors(tmp_path / "batches") == tensors(tmp_path / "array")
    assert train(Dataset(), tmp_path / "dataset", tiny).evaluation == whole.evaluation
    assert tensors(tmp_path / "dataset") == tensors(tmp_path / "array")
    with pytest.raises(wgvq.ArgumentError, match="no image"):
        train(iter([]), tmp_path / "none", tiny)
    with pytest.raises(wgvq.ArgumentError, match="one size"):
        train([images[0], images[0, :8]], tmp_path / "none", tiny)
    assert not (tmp_path / "none").exists()


def test_held_out_images_of_ones_own(tmp_path, images, labels, tiny):
    run = train((images[:50], labels[:50]), tmp_path / "run", tiny, test=(images[50:], labels[50:]))
    own = wgvq.evaluate(run.run, images[50:])
    assert run.evaluation["mse"] == pytest.approx(own["mse"], rel=1e-5)
    with pytest.raises(wgvq.ArgumentError, match="both have labels"):
        train((images[:50], labels[:50]), tmp_path / "no", tiny, test=images[50:])


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"preset": "emoji23"}, wgvq.DataError, "emoji32"),
        ({"settings": {"model.hiden": 3}}, wgvq.ArgumentError, "model.hidden"),
        ({"quantizer": "emma"}, wgvq.ArgumentError, "ema"),
        ({"steps": -1}, wgvq.ArgumentError, "train.steps"),
        ({"labels": [0, 1]}, wgvq.ArgumentError, "2 labels for 60 images"),
        ({"labels": [5] * 60, "classes": ["a"]}, wgvq.ArgumentError, "label 5"),
        ({"settings": {"data.width": 8}}, wgvq.ArgumentError, "resize"),
        ({"preset": "emoji32", "config": "x.toml"}, wgvq.ArgumentError, "one can be given"),
        ({"resume": True, "preset": "emoji32"}, wgvq.ArgumentError, "resume"),
        ({"data": "no such folder"}, wgvq.Error, "no such folder"),
        ({"data": "emoji", "labels": [1]}, wgvq.ArgumentError, "labels"),
    ],
)
def test_what_is_refused(tmp_path, images, arguments, kind, says):
    arguments = {"data": images, **arguments}
    with pytest.raises(kind, match=says):
        wgvq.train(arguments.pop("data"), tmp_path / "run", **arguments)
    assert not (tmp_path / "run").exists()


def test_nothing_is_overwritten(trained, images, tiny):
    before = tensors(trained)
    with pytest.raises(wgvq.FileError, match="overwrite"):
        train(images, trained, tiny)
    with pytest.raises(wgvq.FileError, match="prior"):
        train(images, trained, {}, resume=True, steps=50, batch_size=None, codebook_size=None)
    assert tensors(trained) == before


def test_a_prior_goes_on(tmp_path, images, tiny):
    from conftest import PRIOR

    train(images, tmp_path / "a", tiny)
    train(images, tmp_path / "b", tiny)
    options = {"data": images, "batch_size": 4, "settings": {**PRIOR, "train.checkpoint_every": 1}}
    whole = wgvq.train_prior(tmp_path / "a", steps=5, **options)
    rows = []
    cut = wgvq.train_prior(
        tmp_path / "b",
        steps=5,
        callback=lambda row: rows.append(row) or True,
        **{**options, "settings": {**options["settings"], "train.log_every": 2}},
    )
    # Rows are part of what a run is: the whole run logs as this one.
    whole = wgvq.train_prior(
        tmp_path / "a",
        steps=5,
        overwrite=True,
        **{**options, "settings": {**options["settings"], "train.log_every": 2}},
    )
    assert cut.stopped and rows[0]["step"] == 2
    rest = wgvq.train_prior(tmp_path / "b", resume=True)
    assert not rest.stopped and rest.evaluation == whole.evaluation
    assert tensors(tmp_path / "b" / "prior") == tensors(tmp_path / "a" / "prior")
    with pytest.raises(wgvq.FileError, match="overwrite"):
        wgvq.train_prior(tmp_path / "a", data=images)
    with pytest.raises(wgvq.ArgumentError, match="own configuration"):
        wgvq.train_prior(tmp_path / "a", resume=True, lr=0.5)


def test_a_prior_that_cannot_be_trained_leaves_nothing(tmp_path, images, tiny):
    train(images, tmp_path / "run", tiny)
    for arguments, says in [
        ({}, "memory"),
        ({"data": images, "settings": {"prior.heads": 7}}, "heads"),
    ]:
        with pytest.raises(wgvq.ArgumentError, match=says):
            wgvq.train_prior(tmp_path / "run", steps=1, **arguments)
        assert not (tmp_path / "run" / "prior").exists()


def test_runs_on_a_thread_of_its_own(tmp_path, images, tiny):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(train(images, tmp_path / "run", tiny)))
    thread.start()
    thread.join()
    assert runs[0].step == 6
