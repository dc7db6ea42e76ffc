"""faiss beside `wgvq bench`: the exact search, and k-means of as many rounds as ours.

    pip install faiss-cpu
    wgvq bench --kernel vq_search --peer 'python scripts/peers/faiss_flat.py'

IndexFlatL2 and Kmeans on all of the processor's cores (OMP_NUM_THREADS sets others). Adding the
codes to the index is timed too: ours takes them as they are, and in training they change at every
step.
"""
import peer


def search(case):
    import numpy as np
    x, codes = case.inputs
    found = {}

    def run():
        index = faiss.IndexFlatL2(codes.shape[1])
        index.add(codes)
        found["index"] = index.search(x, 1)[1]

    return run, lambda: [found["index"].reshape(-1).astype(np.uint32)]


def kmeans(case):
    import numpy as np
    (x,), k, rounds = case.inputs, case.sizes["k"], 6
    rows = np.random.default_rng(3).choice(len(x), k, replace=False)
    found = {}

    def run():
        # All rows are taken, however many fall on a mean.
        every = {"max_points_per_centroid": 1 << 30, "min_points_per_centroid": 1}
        model = faiss.Kmeans(x.shape[1], k, niter=rounds, seed=3, **every)
        model.train(x, init_centroids=x[rows])
        found["index"] = model.assign(x)[1]
        found["means"] = model.centroids

    def outputs():
        return [found["means"], np.bincount(found["index"], minlength=k).astype(np.uint32)]

    return run, outputs


def solve(case):
    of = {"vq_search": search, "kmeans": kmeans}.get(case.op)
    if of is None or case.upstream is not None:
        raise peer.Refused(f"faiss has no {case.op}")
    return of(case)


if __name__ == "__main__":
    try:
        import faiss
    except ImportError as why:
        peer.missing(why)
    else:
        peer.serve(f"faiss {faiss.__version__}, {faiss.omp_get_max_threads()} threads", solve)
