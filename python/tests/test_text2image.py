"""Images of texts: trained on captions, drawn, and gone on with, beside the command."""

import logging
import os
import subprocess

import numpy as np
import pytest

import wgvq
from conftest import PRIOR
from test_training import tensors

JUDGE = {"model.dim": 16, "model.layers": 1, "train.batch_size": 8}


def captioned(n=60):
    """Images of squares in three colours at two places, and what is seen in them."""
    colours = {"red": (220, 30, 30), "green": (30, 180, 60), "blue": (40, 60, 220)}
    images, texts = np.full((n, 16, 16, 3), 255, np.uint8), []
    for i in range(n):
        colour = list(colours)[i % 3]
        left = i % 2
        at = 1 + i % 4 + (0 if left else 7)
        images[i, 3 + i % 5 : 9 + i % 5, at : at + 5] = colours[colour]
        texts.append(f"a {colour} square on the {'left' if left else 'right'}")
    return images, texts


@pytest.fixture(scope="module")
def data():
    return captioned()


@pytest.fixture(scope="module")
def first(tmp_path_factory, data, request):
    out = tmp_path_factory.mktemp("texts") / "first"
    tiny = request.getfixturevalue("tiny")
    wgvq.train(data[0], out, steps=4, batch_size=8, codebook_size=16, settings=tiny)
    return out


def copied(first, to):
    import shutil

    shutil.copytree(first, to)
    return to


def trained(run, data, **more):
    images, captions = data
    more = {"steps": 4, "judge_steps": 3, **more}
    return wgvq.train_text2image(
        run,
        data=images,
        captions=captions,
        batch_size=8,
        settings={**PRIOR, "train.log_every": 2},
        judge_settings=JUDGE,
        vocabulary=280,
        **more,
    )


def test_a_run_that_reads_texts(tmp_path, first, data, caplog):
    run = copied(first, tmp_path / "run")
    rows = []
    with caplog.at_level(logging.INFO, "wgvq"):
        stages = trained(run, data, callback=rows.append)
    assert list(stages) == ["prior", "contrastive"]
    assert [s.step for s in stages.values()] == [4, 3] and not stages["prior"].stopped
    assert {row["stage"] for row in rows} == {"prior", "contrastive"}
    assert "captions to train on" in caplog.text
    tokenizer = wgvq.Tokenizer.load(run)
    texts = ["a red square on the left", "a blue square on the right"]
    drawn = tokenizer.sample(3, texts=texts, seed=5, guidance=2.0)
    assert drawn.images.shape == (6, 16, 16, 3) and drawn.scores is None
    one = tokenizer.sample(3, texts=texts[0], seed=5, guidance=2.0, batch=2)
    assert np.array_equal(one.codes, drawn.codes[:3])
    best = tokenizer.sample(2, texts=texts, candidates=3, seed=5, guidance=2.0)
    assert best.scores.shape == (4,) and best.scores[0] >= best.scores[1]
    assert {c.tobytes() for c in best.codes[:2]} <= {c.tobytes() for c in drawn.codes[:3]}
    assert np.array_equal(tokenizer.decode(best.codes), best.images)
    # What the prior cannot read is told, or refused.
    with caplog.at_level(logging.INFO, "wgvq"):
        tokenizer.sample(1, texts="a pink sphinx, \u2603")
    assert "\u2603" in caplog.text
    for call, says in [
        (lambda: tokenizer.sample(1, texts="\u2603", strict=True), "`strict`"),
        (lambda: tokenizer.sample(1, texts=" "), "empty"),
        (lambda: tokenizer.sample(1, texts=[]), "no text"),
        (lambda: tokenizer.sample(1, texts=[3]), "no text"),
        (lambda: tokenizer.sample(0, texts="a"), "from 1"),
        (lambda: tokenizer.sample(3, texts="a", candidates=2), "at most as many"),
        (lambda: tokenizer.sample(1, "red", texts="a"), "one can be given"),
        (lambda: tokenizer.sample(1, rerank=True), "go with `texts`"),
    ]:
        with pytest.raises(wgvq.ArgumentError, match=says):
            call()
    # What is there is not replaced unasked.
    before = tensors(run / "prior")
    with pytest.raises(wgvq.FileError, match="`overwrite`"):
        trained(run, data)
    assert tensors(run / "prior") == before
    assert trained(run, data, overwrite=True, judge_steps=0)["prior"].step == 4
    assert tensors(run / "prior") == before and not (run / "contrastive").exists()


def test_stopped_and_gone_on_is_uninterrupted(tmp_path, first, data):
    whole = copied(first, tmp_path / "whole")
    trained(whole, data)
    cut = copied(first, tmp_path / "cut")
    stages = trained(cut, data, callback=lambda row: True)
    assert list(stages) == ["prior"] and stages["prior"].stopped
    images, captions = data
    # Its own options may be given again, and others not.
    with pytest.raises(wgvq.ArgumentError, match="`vocabulary`") as refused:
        wgvq.train_text2image(cut, data=images, captions=captions, vocabulary=300, resume=True)
    assert "`judge_steps`" in str(refused.value) and "stage1" not in str(refused.value)
    with pytest.raises(wgvq.DataError, match="others than those"):
        wgvq.train_text2image(cut, data=images, captions=captions[::-1], resume=True)
    rest = wgvq.train_text2image(cut, data=images, captions=captions, vocabulary=280, resume=True)
    assert list(rest) == ["prior", "contrastive"]
    for stage in rest:
        assert tensors(cut / stage) == tensors(whole / stage)
    assert wgvq.train_text2image(cut, resume=True) == {}


def test_nothing_is_written_while_another_program_has_the_run(tmp_path, first, data):
    fcntl = pytest.importorskip("fcntl")
    run = copied(first, tmp_path / "run")
    with (run / ".wgvq-lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(wgvq.FileError, match="another command is writing there"):
            trained(run, data)
    assert not (run / "text").exists() and not (run / "prior").exists()


@pytest.mark.parametrize(
    ("arguments", "kind", "says"),
    [
        ({"captions": ["a"]}, wgvq.ArgumentError, "1 texts for 60 images"),
        ({"captions": None}, wgvq.DataError, "no image has a caption"),
        ({"system": "imagen"}, wgvq.ArgumentError, "dalle and parti"),
        ({"size": "huge"}, wgvq.Error, "tiny"),
        ({"vocabulary": 3}, wgvq.ArgumentError, "`vocabulary`|vocabulary"),
        ({"text_length": 2}, wgvq.ArgumentError, "text_length"),
        ({"judge_settings": {"model.dimm": 3}}, wgvq.ArgumentError, "model.dim"),
        ({"resume": True}, wgvq.FileError, "no training on captions"),
        ({"data": "emoji"}, wgvq.ArgumentError, "images in memory"),
    ],
)
def test_what_is_refused(tmp_path, first, data, arguments, kind, says):
    run = copied(first, tmp_path / "run")
    arguments = {"data": data[0], "captions": data[1], "steps": 1, **arguments}
    with pytest.raises(kind, match=says):
        wgvq.train_text2image(run, **arguments)
    assert not (run / "prior").exists() and not (run / "text").exists()


def test_iterables_of_images_and_captions(tmp_path, first, data):
    run, other = copied(first, tmp_path / "run"), copied(first, tmp_path / "other")
    options = {"steps": 2, "batch_size": 8, "settings": PRIOR, "judge_steps": 0, "vocabulary": 280}
    images, captions = data
    pairs = list(zip(images, captions))
    wgvq.train_text2image(run, data=pairs, **options)
    wgvq.train_text2image(other, data=(images, captions), **options)
    assert tensors(run / "prior") == tensors(other / "prior")
    # The captions are another part of what a first stage ignores.
    assert wgvq.evaluate(run, (images, captions))["images"] == 60


def test_the_same_bytes_as_the_command(tmp_path, data, tiny):
    command = os.environ.get("WGVQ_COMMAND")
    if not command:
        pytest.skip("WGVQ_COMMAND names no wgvq")
    image = pytest.importorskip("PIL.Image")
    lines = []
    for i, (pixels, text) in enumerate(zip(*data)):
        image.fromarray(pixels).save(tmp_path / f"{i:02}.png")
        lines.append(f'{{"image": "{i:02}.png", "text": "{text}"}}\n')
    source = tmp_path / "captions.jsonl"
    source.write_text("".join(lines))
    settings = {**tiny, "data.width": 16, "data.height": 16, "quantizer.kind": "cosine"}
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    first = [f"--stage1={key}={value}" for key, value in settings.items()]
    prior = [f"--set={key}={value}" for key, value in PRIOR.items()]
    judge = [f"--judge={key}={value}" for key, value in JUDGE.items()]
    subprocess.run(
        [command, "text2image", "train", "--data", source, "--out", theirs, "--quiet", *first,
         "--stage1=quantizer.codebook_size=16", "--stage1=train.batch_size=8", "--stage1-steps=4",
         "--size=tiny", "--steps=4", "--batch=8", "--judge-steps=3", "--vocabulary=280",
         "--seed=3", *prior, *judge],
        check=True,
    )  # fmt: skip
    wgvq.train(
        str(source), ours, steps=4, batch_size=8, codebook_size=16, seed=3, settings=settings
    )
    wgvq.train_text2image(
        ours,
        data=str(source),
        size="tiny",
        steps=4,
        batch_size=8,
        judge_steps=3,
        judge_settings=JUDGE,
        vocabulary=280,
        seed=3,
        settings=PRIOR,
    )
    for stage in ["", "prior", "contrastive"]:
        assert tensors(ours / stage) == tensors(theirs / stage), stage
    for name in [
        "text/tokenizer.json",
        "text/asked.toml",
        "prior/config.toml",
        "prior/metrics.csv",
        "contrastive/config.toml",
        "contrastive/metrics.csv",
    ]:
        assert (ours / name).read_bytes() == (theirs / name).read_bytes(), name
    # What is drawn of a text, by the command of a run of this module, and by this module.
    text, out = "a green square on the left", tmp_path / "drawn"
    subprocess.run(
        [command, "text2image", "sample", ours, text, "--n=3", "--seed=5", "--rerank", "--quiet",
         "--out", out],
        check=True,
    )  # fmt: skip
    drawn = wgvq.Tokenizer.load(theirs).sample(3, texts=text, seed=5, rerank=True)
    files = sorted(out.glob("000-*.png"))
    assert len(files) == 3
    for pixels, file in zip(drawn.images, files):
        assert np.array_equal(np.asarray(image.open(file)), pixels), file
    # The command goes on with a run of this module.
    again = subprocess.run(
        [command, "text2image", "train", "--resume", ours, "--steps=6"],
        check=True,
        capture_output=True,
        text=True,
    )
    assert "step 6" in again.stdout + again.stderr or "6/6" in again.stdout + again.stderr
