"""faiss beside `wgvq bench --suite distortion`: k-means, product and residual quantization of the
same vectors, with as many codes, codebooks, rounds and partial codes.

    pip install faiss-cpu
    wgvq bench --suite distortion --vectors x.npy --peer 'python scripts/peers/faiss_vectors.py'

On all of the processor's cores (OMP_NUM_THREADS sets others). All vectors are learned of. A
residual's codebooks are learned one after another, each of what all partial codes leave, as ours
(train_type 0: without the dimensions that faiss adds step by step by default).
"""
import peer

EVERY = {"max_points_per_centroid": 1 << 30, "min_points_per_centroid": 1}


def kmeans(x, sizes):
    model = faiss.Kmeans(x.shape[1], sizes["k"], niter=sizes["rounds"], seed=sizes["seed"], **EVERY)
    model.train(x)
    return model.assign(x)[1].reshape(-1, 1), model.centroids[None]


def every(clustering, sizes):
    clustering.niter, clustering.seed = sizes["rounds"], sizes["seed"]
    clustering.max_points_per_centroid, clustering.min_points_per_centroid = 1 << 30, 1


def bits(k):
    if k & (k - 1):
        raise peer.Refused(f"{k} codes: faiss has powers of two")
    return k.bit_length() - 1


def product(x, sizes):
    quantizer = faiss.ProductQuantizer(x.shape[1], sizes["m"], bits(sizes["k"]))
    every(quantizer.cp, sizes)
    quantizer.train(x)
    codes = unpack(quantizer.compute_codes(x), sizes)
    books = faiss.vector_to_array(quantizer.centroids)
    return codes, books.reshape(sizes["m"], sizes["k"], -1)


def residual(x, sizes):
    quantizer = faiss.ResidualQuantizer(x.shape[1], sizes["m"], bits(sizes["k"]))
    every(quantizer.cp, sizes)
    quantizer.train_type, quantizer.max_beam_size = 0, sizes["beam"]
    quantizer.train(x)
    codes = unpack(quantizer.compute_codes(x), sizes)
    books = faiss.vector_to_array(quantizer.codebooks)
    return codes, books.reshape(sizes["m"], sizes["k"], -1)


def unpack(packed, sizes):
    """Codes [N, M] of faiss's bytes, in which each takes as many bits as it needs, lowest first."""
    import numpy as np
    wide, m = bits(sizes["k"]), sizes["m"]
    ones = np.unpackbits(packed, axis=1, bitorder="little")[:, :wide * m]
    ones = ones.reshape(len(packed), m, wide).astype(np.uint32)
    return (ones << np.arange(wide, dtype=np.uint32)).sum(2)


def solve(case):
    import numpy as np
    kinds = {"kmeans": kmeans, "product": product, "residual": residual}
    kind = kinds.get(case.op.removeprefix("quantize_vectors_"))
    if kind is None or not case.op.startswith("quantize_vectors_"):
        raise peer.Refused(f"no vectors to quantize: {case.op}")
    (x,), found = case.inputs, {}

    def run():
        found["all"] = kind(x, case.sizes)

    def outputs():
        codes, books = found["all"]
        return [codes.astype(np.uint32), books.astype(np.float32)]

    return run, outputs


if __name__ == "__main__":
    try:
        import faiss
    except ImportError as why:
        peer.missing(why)
    else:
        name = f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads"
        peer.serve(name, solve, warm=0)
