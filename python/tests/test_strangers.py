"""What strangers do: arrays of every kind, forks, pickles, folders that go, threads."""

import copy
import ctypes
import os
import pickle
import shutil
import subprocess
import sys
import textwrap
import threading

import numpy as np
import pytest

import wgvq


def misaligned(array):
    """The same values at an odd address."""
    memory = np.empty(array.nbytes + 16, np.uint8)
    odd = memory[1 + (memory.ctypes.data % 2 == 1) :][: array.nbytes]
    out = odd.view(np.uint8).reshape(-1).view(array.dtype).reshape(array.shape)
    out[...] = array
    return out


def test_vectors_of_every_kind():
    vectors = np.random.default_rng(3).normal(size=(40, 6)).astype(np.float32)
    codebook = vectors[:7].copy()
    found = wgvq.search(vectors, codebook)
    frozen = vectors.copy()
    frozen.setflags(write=False)
    odd = misaligned(vectors)
    assert not odd.flags["ALIGNED"]
    for other in [
        frozen,
        odd,
        vectors.astype(">f4"),
        vectors.astype(np.float64),
        vectors.astype(">f8"),
        np.asfortranarray(vectors),
        np.ascontiguousarray(vectors[::-1])[::-1],
        np.repeat(vectors, 2, axis=1)[:, ::2],
        np.ma.masked_array(vectors, mask=False),
        np.matrix(vectors),
        vectors.tolist(),
        memoryview(vectors),
    ]:
        assert np.array_equal(wgvq.search(other, codebook), found), type(other)
    stretched = np.broadcast_to(vectors[:1], (5, 6))
    assert wgvq.search(stretched, codebook).tolist() == [int(found[0])] * 5


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (np.full((3, 6), np.nan), "NaN"),
        (np.full((3, 6), np.inf), "infinite"),
        (np.full((3, 6), 1e300), "float32"),
        (np.zeros((3, 6), complex), "numbers"),
        (np.zeros((3, 6), "M8[s]"), "numbers"),
        (np.zeros((3, 0)), "channels"),
        (np.zeros(()), r"\[N, D\]"),
        ([[1.0], [2.0, 3.0]], "vectors"),
        (None, "vectors"),
        ("text", "vectors"),
        (np.ma.masked_array(np.zeros((3, 6)), mask=True), "masked"),
    ],
)
def test_wrong_vectors(wrong, says):
    with pytest.raises(wgvq.ArgumentError, match=says):
        wgvq.search(wrong, np.zeros((2, 6), np.float32))


def test_codes_of_every_kind(tokenizer, images):
    codes = tokenizer.encode(images)
    decoded = tokenizer.decode(codes)
    for other in [
        codes.astype(">u4"),
        codes.astype(np.int8),
        codes.astype(">i8"),
        misaligned(codes),
        np.asfortranarray(codes),
        codes.tolist(),
    ]:
        assert np.array_equal(tokenizer.decode(other), decoded)
    assert tokenizer.decode(codes[:0]).shape == (0, 16, 16, 3)
    assert np.array_equal(tokenizer.encode(misaligned(images)), codes)
    with pytest.raises(wgvq.ArgumentError):
        tokenizer.decode(np.zeros(()))
    with pytest.raises(wgvq.ArgumentError):
        tokenizer.decode(codes > 3)


def test_dlpack(tokenizer, images):
    torch = pytest.importorskip("torch")
    codes = tokenizer.encode(images)
    tensor = torch.from_numpy(images.copy())

    class OnlyDlpack:
        def __dlpack__(self, **options):
            return tensor.__dlpack__(**options)

        def __dlpack_device__(self):
            return tensor.__dlpack_device__()

    assert np.array_equal(tokenizer.encode(OnlyDlpack()), codes)
    channels_first = tensor.permute(0, 3, 1, 2).contiguous().permute(0, 2, 3, 1)
    assert not channels_first.is_contiguous()
    assert np.array_equal(tokenizer.encode(channels_first), codes)
    with pytest.raises(wgvq.ArgumentError, match="processor|array"):
        tokenizer.encode(torch.empty(images.shape, dtype=torch.uint8, device="meta"))
    grad = torch.zeros(3, 4, requires_grad=True)
    with pytest.raises(wgvq.ArgumentError, match="array"):
        wgvq.search(grad, np.zeros((2, 4), np.float32))
    assert torch.from_numpy(tokenizer.encode(images).astype(np.int64)).shape == (60, 4, 4)


def test_without_a_copy(tokenizer, images):
    """What lies as the engine reads it is not copied."""
    from wgvq import _arrays

    assert np.shares_memory(_arrays.images(images, "images"), images)
    vectors = np.zeros((3, 4), np.float32)
    assert np.shares_memory(_arrays.floats(vectors, "vectors"), vectors)
    codes = np.zeros((3, 4, 4), np.uint32)
    assert np.shares_memory(_arrays.whole(codes, "codes"), codes)


def test_pickles(tokenizer, images, tmp_path, trained):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    own = wgvq.Tokenizer.load(run)
    codes = own.encode(images)
    kept = pickle.dumps(own)
    for other in [pickle.loads(kept), copy.copy(own), copy.deepcopy(own)]:
        assert other.run == run and np.array_equal(other.encode(images), codes)
    assert pickle.loads(pickle.dumps(own.sample(1))).codes.shape == (1, 16)
    assert pickle.loads(pickle.dumps(wgvq.Level("", 1, 2, 3, 4))).codes == 6
    refused = pickle.loads(pickle.dumps(wgvq.DataError("a")))
    assert isinstance(refused, wgvq.DataError) and str(refused) == "a"
    with pytest.raises(TypeError, match="Gpu"):
        pickle.dumps(wgvq.default_gpu())
    wgvq.train(images, run, steps=1, codebook_size=8, overwrite=True, batch_size=4)
    with pytest.raises(wgvq.FileError, match="another model"):
        pickle.loads(kept)


def test_a_folder_that_goes(tmp_path, trained, images):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    own, drawing = wgvq.Tokenizer.load(run), wgvq.Tokenizer.load(run)
    drawn = drawing.sample(2, seed=1)
    codes = own.encode(images)
    shutil.rmtree(run)
    # What was loaded goes on, and what was not says that it is not there.
    assert np.array_equal(own.encode(images), codes)
    assert np.array_equal(drawing.sample(2, seed=1).codes, drawn.codes)
    for call in [
        lambda: own.sample(1),
        lambda: own.classes,
        lambda: pickle.loads(pickle.dumps(own)),
        lambda: wgvq.train_prior(run, data=images),
        lambda: wgvq.train(images, run, resume=True),
        lambda: wgvq.train_text2image(run, data=images),
    ]:
        with pytest.raises(wgvq.FileError):
            call()
    assert not run.exists()


def python(code, **more):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        env=dict(os.environ),
        **more,
    )


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_forks(trained):
    """A fork before the first use works, and one after it is told, and ends."""
    done = python(f"""
        import os, sys, warnings
        warnings.simplefilter("ignore")
        import numpy as np, wgvq
        images = np.zeros((2, 16, 16, 3), np.uint8)
        def child(act):
            sys.stdout.flush()
            pid = os.fork()
            if pid == 0:
                try:
                    print(act())
                except BaseException as e:
                    print(type(e).__name__, e)
                sys.stdout.flush()
                sys.exit(0)
            _, status = os.waitpid(pid, 0)
            assert status == 0, status
        child(lambda: wgvq.Tokenizer.load({str(trained)!r}).encode(images).shape)
        tokenizer = wgvq.Tokenizer.load({str(trained)!r})
        tokenizer.encode(images)
        child(lambda: tokenizer.encode(images).shape)
        child(lambda: wgvq.Gpu())
        child(lambda: wgvq.search([[1.0]], [[1.0]]))
        print(tokenizer.encode(images).shape)
    """)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == lines[4] == "(2, 4, 4)" and len(lines) == 5, lines
    for line in lines[1:4]:
        assert line.startswith("DeviceError") and "spawn" in line, line


def test_processes_that_are_spawned(trained, tmp_path):
    """Workers of a pool load what they are given anew."""
    script = tmp_path / "work.py"
    script.write_text(
        textwrap.dedent(f"""
        import multiprocessing, numpy as np, wgvq
        def shape(tokenizer):
            return tokenizer.encode(np.zeros((2, 16, 16, 3), np.uint8)).shape
        if __name__ == "__main__":
            tokenizer = wgvq.Tokenizer.load({str(trained)!r})
            shape(tokenizer)
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                print(pool.map(shape, [tokenizer]))
    """)
    )
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=300, env=dict(os.environ)
    )
    assert done.stdout == "[(2, 4, 4)]\n", done.stderr


def test_the_lock_is_free(tokenizer, images):
    """Another thread gets the interpreter's lock while the engine computes, by the lock's own
    account: it runs Python between the beginning and the end of one call into the engine."""
    many = np.tile(images, (10, 1, 1, 1))[:512]
    events, started = [], threading.Event()

    def count():
        started.wait()
        for i in range(100):
            events.append(i)

    class Native:
        """The engine's half, noting when a call begins and ends."""

        def __init__(self, inner):
            self.inner = inner

        def encode(self, pixels):
            events.append("begin")
            started.set()
            codes = self.inner.encode(pixels)
            events.append("end")
            return codes

        def __getattr__(self, name):
            return getattr(self.inner, name)

    # The lock is given up by nobody of himself within this time, so that the thread can only run
    # where the engine lets it.
    before = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    watched = wgvq.Tokenizer(Native(tokenizer._native))
    thread = threading.Thread(target=count)
    thread.start()
    try:
        watched.encode(many)
    finally:
        sys.setswitchinterval(before)
    thread.join()
    assert events.index(99) < events.index("end"), events[:5]


def test_many_threads_use_one_tokenizer(tokenizer, images):
    codes = tokenizer.encode(images)
    wrong = []

    def work(i):
        for _ in range(3):
            own = tokenizer.encode(images[i:])
            if not np.array_equal(own, codes[i:]):
                wrong.append(i)
            if not np.array_equal(tokenizer.decode(own), tokenizer.decode(codes)[i:]):
                wrong.append(i)
            tokenizer.sample(1, seed=i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_iterables_that_fill_one_array_anew(tmp_path, images, tiny):
    """A loader may give the same memory at each step."""
    buffer = np.empty((6, 16, 16, 3), np.uint8)

    def batches():
        for i in range(0, 60, 6):
            buffer[...] = images[i : i + 6]
            yield buffer

    from test_training import tensors, train

    train(batches(), tmp_path / "batches", tiny)
    train(images, tmp_path / "array", tiny)
    assert tensors(tmp_path / "batches") == tensors(tmp_path / "array")


def test_memory_that_is_shared_with_c(tokenizer, images):
    raw = (ctypes.c_uint8 * images.nbytes).from_buffer_copy(images.tobytes())
    array = np.ctypeslib.as_array(raw).reshape(images.shape)
    assert np.array_equal(tokenizer.encode(array), tokenizer.encode(images))
    mapped = np.frombuffer(images.tobytes(), np.uint8).reshape(images.shape)
    assert not mapped.flags.writeable
    assert np.array_equal(tokenizer.encode(mapped), tokenizer.encode(images))


@pytest.mark.parametrize(
    "call",
    [
        lambda t: t.sample("3"),
        lambda t: t.sample(3.5),
        lambda t: t.sample(1, temperature="hot"),
        lambda t: t.sample(1, top_k=-1),
        lambda t: t.sample(1, seed=None),
        lambda t: t.sample(1, temperature=float("nan")),
        lambda t: wgvq.kmeans(np.zeros((3, 2)), 2.5),
        lambda t: wgvq.kmeans(np.zeros((3, 2)), 1 << 40),
        lambda t: wgvq.quantize(np.zeros((3, 2)), levels=[0, 5]),
        lambda t: wgvq.quantize(np.zeros((3, 2)), levels=[-1, 5]),
        lambda t: wgvq.quantize(np.zeros((3, 2)), levels=["a", 5]),
        lambda t: wgvq.quantize(np.zeros((3, 2)), levels=5),
        lambda t: wgvq.bench("vq_search_n99_k17_d8", seconds=-1.0),
        lambda t: wgvq.bench("vq_search_n99_k17_d8", seconds=float("inf")),
    ],
)
def test_numbers_that_are_none(tokenizer, call):
    with pytest.raises(wgvq.Error):
        call(tokenizer)
