"""Makes tokenizers with random weights by diffusers and transformers, and quantizers by
vector-quantize-pytorch, imports them with wgvq, and holds codes and pixels against theirs: agree.py
WGVQ FOLDER."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from diffusers import VQModel
from PIL import Image
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.models.emu3.configuration_emu3 import Emu3VQVAEConfig
from transformers.models.emu3.modeling_emu3 import Emu3VQVAE
from transformers.models.janus.configuration_janus import JanusVQVAEConfig
from transformers.models.janus.modeling_janus import JanusVQVAE
from vector_quantize_pytorch import ResidualVQ, SimVQ, VectorQuantize

WGVQ, WORK = sys.argv[1], Path(sys.argv[2])
SIDE = 32


def run(*arguments):
    command = [WGVQ, *map(str, arguments), "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stderr}")
    return done.stdout


def diffusers_model(**more):
    usual = dict(
        block_out_channels=(32, 64),
        down_block_types=("DownEncoderBlock2D", "AttnDownEncoderBlock2D"),
        up_block_types=("AttnUpDecoderBlock2D", "UpDecoderBlock2D"),
        layers_per_block=2,
        latent_channels=6,
        num_vq_embeddings=61,
        vq_embed_dim=4,
        norm_num_groups=32,
    )
    return VQModel(**{**usual, **more})


def livelier(model):
    """Random weights as they are made hardly tell one latent from another."""
    torch.manual_seed(5)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if name.endswith("embedding.weight"):
                weight.normal_()
            elif weight.ndim == 1:
                weight.add_(0.1 * torch.randn_like(weight))
            else:
                weight.normal_(std=weight[0].numel() ** -0.5)
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(std=0.1)
            elif name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
    return model.eval().double()


@torch.no_grad()
def of_diffusers(model, image):
    latents = model.quant_conv(model.encoder(image))
    codes = nearest(latents, model.quantize.embedding.weight)
    return codes, model.decode(latents).sample


@torch.no_grad()
def of_janus(model, image):
    latents = model.quant_conv(model.encoder(image))
    # As its authors' own program: latents and codes of length 1.
    unit = torch.nn.functional.normalize
    codes = nearest(unit(latents, dim=1), unit(model.quantize.embedding.weight, dim=1))
    # Its rows and columns come back the other way round, see `quant_state_dims`.
    return codes, model.decode(codes.reshape(1, -1))


@torch.no_grad()
def of_emu3(model, image):
    codes = model.encode(image, torch.tensor([[SIDE, SIDE]])).image_tokens[0]
    return codes.reshape(-1), model.decode(codes[None])


@torch.no_grad()
def among_latents(model):
    """Codes among its latents, which layers with small weights bring close together."""
    image = torch.rand(1, 1, 3, SIDE, SIDE, dtype=torch.float64) * 2 - 1
    latents = model.encoder(image.repeat(1, 4, 1, 1, 1)).permute(0, 2, 1, 3, 4)
    rows = model.quant_conv(latents)[0, :, 0].flatten(1).T
    weight = model.quantize.embedding.weight
    weight.copy_((rows.mean(0) + rows.std(0) * torch.randn_like(weight)).float())
    return model


def nearest(latents, codebook):
    rows = latents.permute(0, 2, 3, 1).reshape(-1, latents.shape[1])
    return torch.cdist(rows, codebook).argmin(1)


def check(name, folder, model, compute):
    rng = np.random.default_rng(3)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    pixels = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    place = WORK / f"{name}.png"
    Image.fromarray(pixels).save(place)
    image = torch.from_numpy(pixels.copy()).double().permute(2, 0, 1)[None] / 127.5 - 1
    codes, wanted = compute(model, image)
    into = WORK / f"run-{name}"
    run("import", folder, "--size", SIDE, "--out", into)
    run("encode", into, place, "-o", WORK / f"{name}.safetensors")
    with safe_open(WORK / f"{name}.safetensors", "np") as file:
        own = file.get_tensor("indices").reshape(-1).astype(np.int64)
    run("decode", into, WORK / f"{name}.safetensors", "-o", WORK / f"decoded-{name}")
    decoded = np.asarray(Image.open(WORK / f"decoded-{name}" / f"{name}.png")).astype(np.float64)
    wanted = ((wanted[0].permute(1, 2, 0) + 1) * 127.5).clamp(0, 255).numpy()
    off = float(np.abs(decoded - wanted).max())
    same = int((own == codes.numpy()).sum())
    used = len(set(own.tolist()))
    print(f"{name}: {same} of {len(own)} codes the same, {used} in use; pixels off by {off:.2f}")
    if same != len(own) or off > 0.51 or used < 8:
        sys.exit(f"{name}: not the same")


def check_codebook(name, kind, quantizer):
    """The codes of vectors by a quantizer's codebook, in training and after it."""
    generator = torch.Generator().manual_seed(7)
    quantizer.train()
    for _ in range(3):
        quantizer(torch.randn(1, 512, 8, generator=generator))
    quantizer.eval()
    x = torch.randn(1, 300, 8, generator=generator)
    with torch.no_grad():
        wanted = quantizer(x)[1][0].reshape(300, -1).numpy()
    state = {name: t.contiguous().clone() for name, t in quantizer.state_dict().items()}
    # Flags are no numbers.
    save_file(
        {n: t for n, t in state.items() if t.is_floating_point()}, WORK / f"{name}.safetensors"
    )
    np.save(WORK / f"{name}-x.npy", x[0].numpy())
    run("import", WORK / f"{name}.safetensors", "--out", WORK / f"{name}.npy")
    codes = WORK / f"{name}-codes.npy"
    own = ["--quantizer", kind, "--codebook", WORK / f"{name}.npy", "-o", codes]
    run("quantize", WORK / f"{name}-x.npy", *own)
    got = np.load(codes).reshape(300, -1).astype(np.int64)
    same, used = int((got == wanted).sum()), len(set(got.reshape(-1).tolist()))
    print(f"{name}: {same} of {wanted.size} codes the same, {used} in use")
    if same != wanted.size or used < 8:
        sys.exit(f"{name}: not the same")


def saved(model, name, config):
    """Writes a tokenizer as a part of the model that has it."""
    folder = WORK / name
    folder.mkdir()
    state = model.state_dict().items()
    single = {n: t.float() if t.is_floating_point() else t for n, t in state}
    named = {f"model.vqmodel.{n}": t.contiguous() for n, t in single.items()}
    save_file(named, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config, default=str))
    return folder


def main():
    torch.manual_seed(11)
    usual = dict(dim=8, codebook_size=37)
    for name, kind, quantizer in [
        ("ema", "kmeans", VectorQuantize(**usual)),
        ("kmeans-init", "kmeans", VectorQuantize(**usual, kmeans_init=True)),
        ("cosine", "kmeans", VectorQuantize(**usual, use_cosine_sim=True)),
        (
            "learnable",
            "kmeans",
            VectorQuantize(**usual, learnable_codebook=True, ema_update=False),
        ),
        (
            "heads",
            "product",
            VectorQuantize(**usual, codebook_dim=4, heads=2, separate_codebook_per_head=True),
        ),
        ("residual", "residual", ResidualVQ(**usual, num_quantizers=4)),
        ("shared", "residual", ResidualVQ(**usual, num_quantizers=3, shared_codebook=True)),
        ("cosine-residual", "residual", ResidualVQ(**usual, num_quantizers=3, use_cosine_sim=True)),
        ("simvq", "kmeans", SimVQ(**usual)),
    ]:
        check_codebook(name, kind, quantizer)
    for name, files, more in [
        ("attention", 1, {}),
        ("movq", 1, dict(norm_type="spatial", latent_channels=4)),
        ("amused", 1, dict(mid_block_add_attention=False, lookup_from_codebook=True)),
        ("shards", 3, {}),
    ]:
        model = livelier(diffusers_model(**more))
        folder = WORK / name
        size = sum(4 * t.numel() for t in model.state_dict().values())
        model.float().save_pretrained(folder, max_shard_size=2 * size // (files + 1))
        assert (len(list(folder.glob("*.safetensors"))) > 1) == (files > 1)
        check(name, folder, model.double(), of_diffusers)
    config = JanusVQVAEConfig(
        embed_dim=4,
        num_embeddings=61,
        latent_channels=6,
        base_channels=32,
        channel_multiplier=[1, 2],
        num_res_blocks=2,
        num_patches=SIDE // 2,
    )
    model = livelier(JanusVQVAE(config))
    check("janus", saved(model, "janus", {"model_type": "janus"}), model, of_janus)
    config = Emu3VQVAEConfig(
        codebook_size=61,
        base_channels=32,
        channel_multiplier=[1, 2],
        num_res_blocks=2,
        attn_resolutions=[1],
        hidden_size=64,
    )
    model = among_latents(livelier(Emu3VQVAE(config)))
    about = {"model_type": "emu3", "vq_config": config.to_dict()}
    check("emu3", saved(model, "emu3", about), model, of_emu3)


main()
