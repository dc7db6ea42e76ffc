"""PyTorch beside `wgvq bench`: products, convolutions, attention, norms and the search, forward and
with gradients.

    pip install torch numpy
    wgvq bench --suite standard --peer 'python scripts/peers/pytorch.py'
    wgvq bench --suite standard --peer 'python scripts/peers/pytorch.py --mode compiled --tf32 on'

On CUDA where it has it, else on all of the processor's cores. --mode eager or compiled
(torch.compile). --tf32 on lets products and convolutions of a GPU round operands to TF32: wgvq then
gives it inputs that have no more bits, so that the same tolerance holds.
"""
import argparse
import peer


def of(op, sizes):
    """The operation as a function of tensors, laid out as wgvq has them: images are NHWC, weights
    [O, H, W, I]."""
    F = torch.nn.functional
    if op == "matmul":
        ta, tb = sizes["ta"], sizes["tb"]
        return lambda a, b, *_: (a.mT if ta else a) @ (b.mT if tb else b)
    if op == "conv2d" and not sizes["relu"]:
        s, p = sizes["s"], sizes["p"]

        def conv(x, w, *_):
            # Views: channels lie last in memory, as PyTorch's channels_last has them.
            x, w = x.permute(0, 3, 1, 2), w.permute(0, 3, 1, 2)
            return F.conv2d(x, w, stride=s, padding=p).permute(0, 2, 3, 1)

        return conv
    if op == "vq_search":
        return lambda x, e: ((e * e).sum(1)[None] - 2 * x @ e.t()).argmin(1)
    if op == "attention" and not sizes["packed"] and not sizes["mask"]:
        causal = bool(sizes["causal"])
        return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=causal)
    if op == "layer_norm":
        return lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b, 1e-5)
    if op == "group_norm":
        g = sizes["g"]

        def norm(x, w, b):
            return F.group_norm(x.permute(0, 3, 1, 2), g, w, b, 1e-5).permute(0, 2, 3, 1)

        return norm
    if op == "group_norm_activation" and sizes.get("half", 0) == 0:
        norm = of("group_norm", sizes)
        if sizes["f"] == 0:
            return lambda x, w, b: F.silu(norm(x, w, b))
        return lambda x, w, b: F.leaky_relu(norm(x, w, b), 0.2)
    raise peer.Refused(f"no {op} like this here")


def sync():
    if device == "cuda":
        torch.cuda.synchronize()


def solve(case):
    f = of(case.op, case.sizes)
    if options.mode == "compiled":
        torch._dynamo.reset()
        f = torch.compile(f)
    inputs = [torch.from_numpy(x).to(device) for x in case.inputs]
    found = {}
    if case.upstream is None:
        def forward():
            with torch.no_grad():
                found["y"] = f(*inputs)
            sync()
        return forward, lambda: [found["y"].cpu().numpy()]
    wanted = [inputs[i].requires_grad_() for i in case.wrt]
    upstream = torch.from_numpy(case.upstream).to(device)

    def both():
        found["grads"] = torch.autograd.grad(f(*inputs), wanted, upstream)
        sync()

    return both, lambda: [g.cpu().numpy() for g in found["grads"]]


if __name__ == "__main__":
    plain = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain)
    parser.add_argument("--mode", choices=["eager", "compiled"], default="eager")
    parser.add_argument("--tf32", choices=["on", "off"], default="off")
    parser.add_argument("--device", choices=["cpu", "cuda"])
    options = parser.parse_args()
    try:
        import torch
    except ImportError as why:
        peer.missing(why)
    else:
        device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
        tf32 = options.tf32 == "on" and device == "cuda"
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = tf32
        where = f"{torch.get_num_threads()} threads"
        if device == "cuda":
            where = torch.cuda.get_device_name()
        mode = options.mode + (", TF32" if tf32 else "")
        name = f"PyTorch {torch.__version__} {mode}, {where}"
        peer.serve(name, solve, operands="tf32" if tf32 else "f32")
