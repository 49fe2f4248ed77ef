#!/usr/bin/env python3
"""Golden vectors of the vision models: tiny random checkpoints with what torch and transformers compute from them.

    golden_vision.py [--out assets/golden-vision] [--check]

Writes OUT/vit_<case> and OUT/cnn_<case>, each {config.json, model.safetensors, golden.safetensors}, and
OUT/README.md. With --check nothing
is written: the stored checkpoints are loaded again and must give the stored numbers.

golden.safetensors holds
    images      f32 [batch, channels, height, width]
    labels      i64 [batch]
    logits      f32 [batch, classes], running statistics in the norms of channels
    loss        f32 [], mean cross-entropy in nats; the norms of channels take the batch's statistics
    grad_norm.<tensor>   f32 [], Euclidean norm of the loss's gradient for that tensor
    grad.<tensor>        f32, the whole gradient (embeddings, norms, the first block's query or kernel)
    followed.<tensor>    f32, running statistics after the pass that gave the loss

vit_* are checkpoints of transformers' ViTForImageClassification. cnn_* are in this project's own format; what they mean
is written down here a second time, in torch. Weights are drawn wide and norms differ from one, so that a swapped axis or
a forgotten norm moves the logits by far more than the tolerance (1e-4 relative).
Needs torch, transformers and safetensors.
"""
import argparse
import json
import os
import pathlib
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import safetensors.torch  # noqa: E402
import torch  # noqa: E402
import transformers  # noqa: E402

VIT = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48, num_channels=3,
           initializer_range=0.2)
VIT_CASES = {
    "plain": dict(image_size=12, patch_size=4, num_labels=5, layer_norm_eps=1e-5),
    "wide": dict(image_size=(8, 16), patch_size=4, num_labels=3, num_channels=1, qkv_bias=False, hidden_act="gelu_new",
                 num_attention_heads=2),
}
CNN_CASES = {
    "plain": dict(image_size=12, num_channels=1, stem_width=6, stem_pool=True, widths=[8, 10], strides=[1, 2], classes=4),
    "colour": dict(image_size=9, num_channels=3, stem_width=4, stem_pool=False, widths=[6], strides=[2], classes=3),
}
NORM_EPS, NORM_MOMENTUM = 1e-5, 0.1


class Cnn(torch.nn.Module):
    """The convolutional network, tensors named as in its file."""

    def __init__(self, config):
        super().__init__()
        widths, strides = [config["stem_width"], *config["widths"]], [1, *config["strides"]]
        channels = [config["num_channels"], *widths]

        def part(i):
            return torch.nn.ModuleDict({
                "conv": torch.nn.Conv2d(channels[i], widths[i], 3, strides[i], 1, bias=False),
                "norm": torch.nn.BatchNorm2d(widths[i], eps=NORM_EPS, momentum=NORM_MOMENTUM)})

        self.stem = part(0)
        self.blocks = torch.nn.ModuleList([part(i) for i in range(1, len(widths))])
        self.classifier = torch.nn.Linear(widths[-1], len(config["id2label"]))
        self.pool = config["stem_pool"]

    def forward(self, x):
        x = torch.relu(self.stem["norm"](self.stem["conv"](x)))
        if self.pool:
            x = torch.nn.functional.max_pool2d(x, 2)
        for block in self.blocks:
            x = torch.relu(block["norm"](block["conv"](x)))
        return self.classifier(x.mean((2, 3)))


def labels_of(count):
    names = {str(i): f"LABEL_{i}" for i in range(count)}
    return {"id2label": names, "label2id": {name: int(i) for i, name in names.items()}}


def scramble(model, std):
    """Every tensor matters: norms away from one, biases and statistics away from zero."""
    for name, tensor in model.state_dict().items():
        noise = torch.randn(tensor.shape) if tensor.is_floating_point() else None
        if name.endswith("num_batches_tracked"):
            continue
        if "running_var" in name:
            tensor.copy_(noise.abs() + 0.5)
        elif "norm" in name and name.endswith("weight"):
            tensor.copy_(1.0 + 0.3 * noise)
        elif name.endswith("bias") or "running_mean" in name:
            tensor.copy_(0.2 * noise)
        else:
            tensor.copy_(std * noise)


def make_vit(folder, overrides):
    model = transformers.ViTForImageClassification(transformers.ViTConfig(**{**VIT, **overrides}))
    with torch.no_grad():
        scramble(model, 0.2)
    model.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config.pop("transformers_version", None)
    return config


def make_cnn(folder, case):
    case = dict(case)
    config = {"architectures": ["TemperCnn"], "model_type": "temper-cnn", "dtype": "float32", "norm_eps": NORM_EPS,
              "norm_momentum": NORM_MOMENTUM, **labels_of(case.pop("classes")), **case}
    model = Cnn(config)
    with torch.no_grad():
        scramble(model, 0.4)
    state = {k: v.contiguous() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked")}
    safetensors.torch.save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    return config


def load(folder):
    config = json.loads((folder / "config.json").read_text())
    if config["model_type"] == "vit":
        model = transformers.ViTForImageClassification.from_pretrained(folder, attn_implementation="eager")
        return model.eval(), lambda x: model(pixel_values=x).logits
    model = Cnn(config)
    state = safetensors.torch.load_file(folder / "model.safetensors")
    missing = model.load_state_dict(state, strict=False)
    assert not missing.unexpected_keys and all(k.endswith("num_batches_tracked") for k in missing.missing_keys), missing
    return model.eval(), model


def file_names(folder, model):
    """Name in the file of each parameter: transformers renames some while it loads, but no two random tensors are equal."""
    stored = {tensor.numpy().tobytes(): name
              for name, tensor in safetensors.torch.load_file(folder / "model.safetensors").items()}
    return {name: stored[parameter.detach().numpy().tobytes()] for name, parameter in model.named_parameters()}


def evaluate(folder, images, labels):
    model, run = load(folder)
    names = file_names(folder, model)
    with torch.no_grad():
        logits = run(images)
    model.train()
    loss = torch.nn.functional.cross_entropy(run(images), labels)
    loss.backward()
    tensors = {"images": images, "labels": labels, "logits": logits.contiguous(), "loss": loss.detach()}
    for name, parameter in model.named_parameters():
        name = names[name]
        tensors[f"grad_norm.{name}"] = parameter.grad.double().norm().float()
        if any(part in name for part in ("embeddings", "norm", "layer.0.attention.attention.query", "stem.conv")):
            tensors[f"grad.{name}"] = parameter.grad.contiguous()
    for name, buffer in model.named_buffers():
        if "running" in name:
            tensors[f"followed.{name}"] = buffer.clone()
    return tensors


def cases():
    for name, overrides in VIT_CASES.items():
        yield f"vit_{name}", make_vit, overrides
    for name, case in CNN_CASES.items():
        yield f"cnn_{name}", make_cnn, case


def readme(rows):
    lines = ["# Golden vectors of the vision models", "",
             "Made by `tests/tools/golden_vision.py`, which says what is in them, with transformers",
             f"{transformers.__version__} and torch {torch.__version__.split('+')[0]} in f32 on a CPU. The weights are random numbers and",
             "free of any claim (CC0).", "", "| folder | bytes |", "| --- | --- |"]
    return "\n".join([*lines, *(f"| `{name}` | {size} |" for name, size in rows)]) + "\n"


def write(out):
    rows = []
    for seed, (name, make, case) in enumerate(cases()):
        folder = out / name
        folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(100 + seed)
        config = make(folder, case)
        (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
        sides = config["image_size"]
        sides = [sides, sides] if isinstance(sides, int) else sides
        images = torch.randn(3, config["num_channels"], *sides)
        labels = torch.randint(0, len(config["id2label"]), (3,))
        golden = evaluate(folder, images, labels)
        safetensors.torch.save_file(golden, folder / "golden.safetensors", metadata={"format": "pt"})
        size = sum(file.stat().st_size for file in folder.iterdir())
        assert size < 340_000, f"{folder} has {size} bytes"
        rows.append((name, size))
        print(f"{name}: {size} bytes", file=sys.stderr)
    (out / "README.md").write_text(readme(rows))


def check(out):
    worst = 0.0
    for name, _, _ in cases():
        stored = safetensors.torch.load_file(out / name / "golden.safetensors")
        again = evaluate(out / name, stored["images"], stored["labels"])
        assert stored.keys() == again.keys(), name
        largest = max(value.abs().max().item() for key, value in stored.items() if key.startswith("grad_norm."))
        for key, value in stored.items():
            if key.startswith("grad_norm.") and key.endswith(".key.bias"):
                # it moves every score of a query alike: its gradient is zero but for rounding, which no two processors share
                assert max(value.item(), again[key].item()) < 1e-6 * largest, f"{name} {key}: {again[key].item():e}"
                continue
            scale = max(value.abs().max().item(), 1e-6)
            difference = (value - again[key]).abs().max().item() / scale
            assert difference < 1e-4, f"{name} {key}: {difference:e}"
            worst = max(worst, difference)
        print(f"[PASS] {name}")
    print(f"largest difference {worst:.1e}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--out", type=pathlib.Path, default=root / "assets" / "golden-vision")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    check(args.out) if args.check else write(args.out)


if __name__ == "__main__":
    sys.exit(main())
