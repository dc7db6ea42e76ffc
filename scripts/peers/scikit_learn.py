"""scikit-learn beside `wgvq bench`: k-means of as many rounds as ours, and the nearest of codes.

    pip install scikit-learn
    wgvq bench --kernel kmeans --peer 'python scripts/peers/scikit_learn.py'

KMeans by Lloyd's algorithm from random rows, without its early end; pairwise_distances_argmin.
"""
import peer


def kmeans(case):
    import numpy as np
    from sklearn.cluster import KMeans
    (x,), k, rounds = case.inputs, case.sizes["k"], 6
    rows = np.random.default_rng(3).choice(len(x), k, replace=False)
    found = {}

    def run():
        # A tolerance of 0 lets it end early only where no row changes its cluster.
        model = KMeans(k, init=x[rows], n_init=1, max_iter=rounds, tol=0, algorithm="lloyd")
        found["model"] = model.fit(x)

    def outputs():
        model = found["model"]
        return [model.cluster_centers_, np.bincount(model.labels_, minlength=k).astype(np.uint32)]

    return run, outputs


def search(case):
    import numpy as np
    from sklearn.metrics import pairwise_distances_argmin
    x, codes = case.inputs
    found = {}

    def run():
        found["index"] = pairwise_distances_argmin(x, codes)

    return run, lambda: [found["index"].astype(np.uint32)]


def solve(case):
    of = {"vq_search": search, "kmeans": kmeans}.get(case.op)
    if of is None or case.upstream is not None:
        raise peer.Refused(f"scikit-learn has no {case.op}")
    return of(case)


if __name__ == "__main__":
    try:
        import sklearn
    except ImportError as why:
        peer.missing(why)
    else:
        import warnings
        warnings.filterwarnings("ignore", category=UserWarning)
        from sklearn.exceptions import ConvergenceWarning
        warnings.filterwarnings("ignore", category=ConvergenceWarning)
        peer.serve(f"scikit-learn {sklearn.__version__}", solve)
