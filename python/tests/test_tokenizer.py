"""Codes and images through a trained model."""

import threading

import numpy as np
import pytest

import wgvq


def test_shapes(tokenizer, images):
    assert tokenizer.image_shape == (16, 16, 3)
    assert tokenizer.levels == [wgvq.Level("", 4, 4, 1, 16)]
    codes = tokenizer.encode(images)
    assert codes.shape == (60, 4, 4) and codes.dtype == np.uint32 and codes.max() < 16
    decoded = tokenizer.decode(codes)
    assert decoded.shape == images.shape and decoded.dtype == np.uint8
    assert np.array_equal(tokenizer.reconstruct(images), decoded)
    assert np.array_equal(tokenizer.decode(codes.reshape(60, 16)), decoded)
    assert tokenizer.split(codes)[""].shape == (60, 4, 4, 1)
    one = tokenizer.encode(images[7])
    assert one.shape == (4, 4) and np.array_equal(one, codes[7])
    assert np.array_equal(tokenizer.decode(one), decoded[7])
    assert tokenizer.encode(images[:0]).shape == (0, 4, 4)
    assert "quantizer" in tokenizer.config and len(tokenizer.hash) == 64


def test_arrays_of_every_kind(tokenizer, images):
    codes = tokenizer.encode(images)
    frozen = images.copy()
    frozen.setflags(write=False)
    flipped = np.ascontiguousarray(images[::-1])[::-1]
    assert not flipped.flags["C_CONTIGUOUS"]
    fortran = np.asfortranarray(images)

    class Wrapped:
        def __array__(self, dtype=None, copy=None):
            return images

    class Exported:
        def __dlpack__(self, **options):
            return images.__dlpack__(**options)

        def __dlpack_device__(self):
            return images.__dlpack_device__()

    for other in [frozen, flipped, fortran, Wrapped(), Exported(), list(images), images.tolist()]:
        if isinstance(other, list) and isinstance(other[0], list):
            # Lists of numbers have no type of their own.
            other = np.array(other, np.uint8)
        assert np.array_equal(tokenizer.encode(other), codes), type(other)
    torch = pytest.importorskip("torch")
    assert np.array_equal(tokenizer.encode(torch.from_numpy(images)), codes)
    assert np.array_equal(
        tokenizer.decode(torch.from_numpy(codes.astype(np.int64))), tokenizer.decode(codes)
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.zeros((2, 16, 16, 3), np.float32), "images are uint8"),
        (np.zeros((2, 16, 16, 3), np.int64), "images are uint8"),
        (np.zeros((2, 3, 16, 16), np.uint8), "transpose"),
        (np.zeros((2, 8, 16, 3), np.uint8), r"\[N, 16, 16, 3\]"),
        (np.zeros((16,), np.uint8), "shape"),
        (np.zeros((1, 2, 16, 16, 3), np.uint8), "shape"),
        (object(), "images"),
        ([np.zeros((2, 2)), np.zeros(3)], "images"),
    ],
)
def test_wrong_images(tokenizer, wrong, says):
    with pytest.raises(wgvq.ArgumentError, match=says):
        tokenizer.encode(wrong)


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.full((1, 4, 4), 16), "16"),
        (np.full((1, 4, 4), -1), "below 0"),
        (np.zeros((1, 4, 4)), "whole numbers"),
        (np.zeros((1, 5, 4), int), "codes are"),
        (np.full((1, 4, 4), 1 << 40), "32 bits"),
    ],
)
def test_wrong_codes(tokenizer, wrong, says):
    with pytest.raises(wgvq.Error, match=says):
        tokenizer.decode(wrong)


def test_files_that_are_none(tmp_path):
    with pytest.raises(wgvq.FileError, match="final.safetensors") as raised:
        wgvq.Tokenizer.load(tmp_path / "nothing")
    assert isinstance(raised.value, OSError)
    (tmp_path / "final.safetensors").write_bytes(b"no model")
    with pytest.raises(wgvq.FileError):
        wgvq.Tokenizer.load(tmp_path)


def test_drawing(tokenizer, images):
    assert tokenizer.classes == ["one", "two", "three"]
    drawn = tokenizer.sample(5, seed=3)
    assert drawn.images.shape == (5, 16, 16, 3) and drawn.codes.shape == (5, 16)
    assert drawn.log_likelihood.shape == (5,) and (drawn.log_likelihood < 0).all()
    again = tokenizer.sample(5, seed=3, batch=2)
    assert np.array_equal(drawn.codes, again.codes)
    assert not np.array_equal(drawn.codes, tokenizer.sample(5, seed=4).codes)
    assert np.array_equal(tokenizer.decode(drawn.codes), drawn.images)
    of_class = tokenizer.sample(2, "two", guidance=2.0, top_k=4, top_p=0.9, temperature=0.8)
    assert of_class.codes.shape == (2, 16)

    kept = tokenizer.complete(images[3], "top-half", n=2, seed=1)
    own = tokenizer.encode(images[3])
    assert (kept.codes.reshape(2, 4, 4)[:, :2] == own[:2]).all()


def test_parallel_drawing_and_masks(tokenizer, images):
    plain = tokenizer.sample(5, seed=3)
    assert (plain.passes == 16).all()
    for window in (True, 4, np.int64(16), "auto"):
        drawn = tokenizer.sample(5, seed=3, parallel=window)
        assert np.array_equal(drawn.codes, plain.codes)
    assert (tokenizer.sample(5, seed=3, parallel=16).passes <= 16).all()

    own, hole = tokenizer.encode(images[3]).ravel(), np.zeros((16, 16), bool)
    hole[4:8, 8:] = True  # the cells 6 and 7 of 4 x 4
    drawn = tokenizer.complete(images[3], mask=hole, n=8, seed=1)
    others = [i for i in range(16) if i not in (6, 7)]
    assert (drawn.codes[:, others] == own[others]).all()
    assert (drawn.codes[:, [6, 7]] != own[[6, 7]]).any()
    as_bytes = tokenizer.complete(
        images[3], mask=np.where(hole, 128, 127).astype("u1"), n=8, seed=1
    )
    assert np.array_equal(drawn.codes, as_bytes.codes)


@pytest.mark.parametrize(
    ("draw", "says"),
    [
        (lambda t, x: t.sample(0), "from 1"),
        (lambda t, x: t.sample(-1), "argument `n`"),
        (lambda t, x: t.sample(1, "four"), "no class `four`"),
        (lambda t, x: t.sample(1, temperature=-1.0), "temperature"),
        (lambda t, x: t.sample(1, batch=0), "batch"),
        (lambda t, x: t.sample(1, parallel="often"), "parallel"),
        (lambda t, x: t.sample(1, parallel=0), "parallel"),
        (lambda t, x: t.sample(1, passes=0), "passes"),
        (lambda t, x: t.complete(x[0], "top-half", mask=np.ones((16, 16), bool)), "one can be"),
        (lambda t, x: t.complete(x[0], mask=np.ones((8, 16), bool)), "shape"),
        (lambda t, x: t.complete(x[0], mask=np.ones((16, 16), "f4")), "bool"),
        (lambda t, x: t.complete(x[0], mask=np.zeros((16, 16), bool)), "nothing is left"),
        (lambda t, x: t.complete(x[0], "middle-half"), "top-half"),
        (lambda t, x: t.complete(x[:2], "top-half"), "one image"),
        (lambda t, x: t.complete(x[0], "top-1"), "nothing is left"),
    ],
)
def test_wrong_draws(tokenizer, images, draw, says):
    with pytest.raises(wgvq.ArgumentError, match=says):
        draw(tokenizer, images)


def test_a_run_without_a_prior_says_so(tmp_path, images, tiny):
    wgvq.train(images, tmp_path / "run", steps=1, batch_size=4, codebook_size=4, settings=tiny)
    with pytest.raises(wgvq.FileError, match="prior"):
        wgvq.Tokenizer.load(tmp_path / "run").sample(1)


def test_measuring(tokenizer, trained, images):
    figures = tokenizer.evaluate(images)
    error = (tokenizer.reconstruct(images).astype(float) - images) / 255
    # Reconstructions are rounded to bytes, which the measurement is not.
    assert figures["mse"] == pytest.approx((error**2).mean(), rel=0.02)
    codes = tokenizer.encode(images)
    share = np.bincount(codes.ravel(), minlength=16) / codes.size
    entropy = -(share[share > 0] * np.log(share[share > 0])).sum()
    assert figures["perplexity"] == pytest.approx(np.exp(entropy), rel=1e-3)
    assert figures["used"] == (share > 0).sum() and figures["images"] == 60
    # What the training measured on the images that it held out.
    rows = (trained / "test.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(",")))
    own = wgvq.evaluate(trained, images[::10])
    assert own["mse"] == pytest.approx(float(last["mse"]), rel=1e-4)
    with pytest.raises(wgvq.ArgumentError, match="memory"):
        tokenizer.evaluate()
    with pytest.raises(wgvq.Error, match="16 x 16"):
        tokenizer.evaluate(np.zeros((3, 8, 8, 3), np.uint8))


def test_other_threads_run_meanwhile(tokenizer, images):
    """The interpreter's lock is free while the engine computes, and threads may share a model."""
    many, ticks, stop = np.tile(images, (20, 1, 1, 1)), [0], threading.Event()

    def tick():
        while not stop.is_set():
            ticks[0] += 1
            stop.wait(0.001)

    counting = threading.Thread(target=tick)
    counting.start()
    results = [None, None]

    def encode(i):
        results[i] = tokenizer.encode(many)

    threads = [threading.Thread(target=encode, args=(i,)) for i in range(2)]
    before = ticks[0]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    during = ticks[0] - before
    stop.set()
    counting.join()
    assert during >= 5
    assert np.array_equal(results[0], results[1])
