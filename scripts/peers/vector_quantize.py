"""vector-quantize-pytorch beside `wgvq bench`: a quantizer's forward pass in training, and the
search alone.

    pip install vector-quantize-pytorch
    wgvq bench vq_module_train_fwd --peer 'python scripts/peers/vector_quantize.py'

What is judged are the codes of the first pass, by the same codebook as the reference's. Averages
move at every pass after it.
"""
import peer


def solve(case):
    if case.op not in ("quantizer_ema", "vq_search") or case.upstream is not None:
        raise peer.Refused(f"vector-quantize-pytorch has no {case.op}")
    x, codes = (torch.from_numpy(a).to(device) for a in case.inputs)
    train = case.op == "quantizer_ema"
    options = {"decay": 0.99, "commitment_weight": 0.25, "threshold_ema_dead_code": 0}
    vq = VectorQuantize(dim=codes.shape[1], codebook_size=len(codes), **options).to(device)
    book = vq._codebook
    book.embed.data.copy_(codes[None])
    book.embed_avg.data.copy_(codes[None])
    book.initted.data.copy_(torch.ones_like(book.initted))
    vq.train(train)
    rows, found = x[None], {}

    def run():
        with torch.set_grad_enabled(train):
            index = vq(rows)[1]
        if device == "cuda":
            torch.cuda.synchronize()
        found.setdefault("index", index)

    return run, lambda: [found["index"].reshape(-1).cpu().numpy().astype("uint32")]


if __name__ == "__main__":
    try:
        import torch
        from vector_quantize_pytorch import VectorQuantize
    except ImportError as why:
        peer.missing(why)
    else:
        from importlib.metadata import version
        device = "cuda" if torch.cuda.is_available() else "cpu"
        name = f"vector-quantize-pytorch {version('vector-quantize-pytorch')}"
        peer.serve(f"{name}, PyTorch {torch.__version__} {device}", solve)
