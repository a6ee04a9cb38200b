"""Developer test: our Inception network against one written with PyTorch's layers, from its files.

Not run by pytest, because it needs PyTorch: `write` runs in an environment that has it.

    python -m tests.metrics.compare_with_torch names DIR
    TORCH_PYTHON tests/metrics/compare_with_torch.py write DIR
    python -m tests.metrics.compare_with_torch check DIR

The network has torchvision's and pytorch-fid's structure and names, with FID's changes (average
pools without padding, a maximum pool in Mixed_7c), and random weights. It is saved as a state
dictionary (.pth, both formats) and, under the graph's names, as TorchScript (.pt).
"""

import json
import sys
from pathlib import Path

import numpy as np

SIZES = [(32, 32), (64, 64), (256, 256), (299, 299), (75, 130)]


def names(directory: Path) -> None:
    """Write the names of the graph's convolutions, in which the TorchScript file is written."""
    from metrics.networks.inception_graph import kernel_shapes
    from metrics.networks.inception_names import torchvision_name

    table = {name: torchvision_name(name) for name in kernel_shapes()}
    (directory / "names.json").write_text(json.dumps(table))


def write(directory: Path) -> None:
    """Write weights, pictures and expected outputs."""
    import torch

    torch.manual_seed(0)
    network = _build(torch).eval()
    state = network.state_dict()
    torch.save(state, directory / "new.pth")
    torch.save(state, directory / "old.pth", _use_new_zipfile_serialization=False)
    _write_script(torch, network, directory)
    random = np.random.default_rng(0)
    arrays = {}
    for rows, columns in SIZES:
        images = random.integers(0, 256, [2, rows, columns, 3], dtype=np.uint8)
        x = torch.tensor(_resize(images).transpose(0, 3, 1, 2), dtype=torch.float32)
        with torch.no_grad():
            features = network((x - 128) / 128)
            logits = features @ network.fc.weight.T
        name = f"{rows}x{columns}"
        arrays |= {f"{name}/images": images, f"{name}/pool_3": features.numpy()}
        arrays[f"{name}/logits"] = logits.numpy()
    np.savez(directory / "expected.npz", **arrays)


def check(directory: Path) -> None:
    """Compare; an AssertionError if anything differs by more than 1e-4 of the largest value."""
    from metrics.networks import load_network
    from tests.golden_files import relative_error

    expected = np.load(directory / "expected.npz")
    for file in ("new.pth", "old.pth", "graph.pt"):
        network = load_network("inception", from_file=directory / file)
        for rows, columns in SIZES:
            found = network.features(expected[f"{rows}x{columns}/images"])
            for part in ("pool_3", "logits"):
                error = relative_error(found[part], expected[f"{rows}x{columns}/{part}"])
                print(f"{file} {rows}x{columns} {part}: relative error {error:.1e}")
                assert error < 1e-4


def _resize(images: np.ndarray) -> np.ndarray:
    """TF1's bilinear resize to 299 x 299 by its definition, in float64."""
    for axis in (1, 2):
        size = images.shape[axis]
        position = np.arange(299) * size / 299
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, size - 1)
        shape = [-1 if i == axis else 1 for i in range(4)]
        weight = (position - low).reshape(shape)
        images = images.take(low, axis) * (1 - weight) + images.take(high, axis) * weight
    return images


def _build(torch):
    nn, cat, pool = torch.nn, torch.cat, torch.nn.functional

    class BasicConv(nn.Module):
        def __init__(self, inputs, outputs, kernel, stride=1, padding=0):
            super().__init__()
            self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False)
            self.bn = nn.BatchNorm2d(outputs, eps=0.001)
            nn.init.kaiming_normal_(self.conv.weight)
            for part, low, high in (("weight", 0.7, 1.3), ("bias", -0.2, 0.2)):
                nn.init.uniform_(getattr(self.bn, part), low, high)
            nn.init.uniform_(self.bn.running_mean, -0.2, 0.2)
            nn.init.uniform_(self.bn.running_var, 0.5, 1.5)

        def forward(self, x):
            return torch.relu(self.bn(self.conv(x)))

    def average(x):
        return pool.avg_pool2d(x, 3, 1, 1, count_include_pad=False)

    class Block(nn.Module):
        def chain(self, prefix, x):
            for name, module in self.named_children():
                if name == prefix or name.startswith(prefix + "_") and name[-1] in "123456":
                    x = module(x)
            return x

    class A(Block):
        def __init__(self, n, pooled):
            super().__init__()
            self.branch1x1 = BasicConv(n, 64, 1)
            self.branch5x5_1, self.branch5x5_2 = BasicConv(n, 48, 1), BasicConv(48, 64, 5, 1, 2)
            self.branch3x3dbl_1 = BasicConv(n, 64, 1)
            self.branch3x3dbl_2 = BasicConv(64, 96, 3, 1, 1)
            self.branch3x3dbl_3 = BasicConv(96, 96, 3, 1, 1)
            self.branch_pool = BasicConv(n, pooled, 1)

        def forward(self, x):
            chains = [self.chain(c, x) for c in ("branch1x1", "branch5x5", "branch3x3dbl")]
            return cat([*chains, self.branch_pool(average(x))], 1)

    class B(Block):
        def __init__(self, n):
            super().__init__()
            self.branch3x3 = BasicConv(n, 384, 3, 2)
            self.branch3x3dbl_1 = BasicConv(n, 64, 1)
            self.branch3x3dbl_2 = BasicConv(64, 96, 3, 1, 1)
            self.branch3x3dbl_3 = BasicConv(96, 96, 3, 2)

        def forward(self, x):
            double = self.chain("branch3x3dbl", x)
            return cat([self.branch3x3(x), double, pool.max_pool2d(x, 3, 2)], 1)

    class C(Block):
        def __init__(self, c):
            super().__init__()
            wide, high = ((1, 7), 1, (0, 3)), ((7, 1), 1, (3, 0))
            self.branch1x1 = BasicConv(768, 192, 1)
            self.branch7x7_1 = BasicConv(768, c, 1)
            self.branch7x7_2 = BasicConv(c, c, *wide)
            self.branch7x7_3 = BasicConv(c, 192, *high)
            self.branch7x7dbl_1 = BasicConv(768, c, 1)
            self.branch7x7dbl_2 = BasicConv(c, c, *high)
            self.branch7x7dbl_3 = BasicConv(c, c, *wide)
            self.branch7x7dbl_4 = BasicConv(c, c, *high)
            self.branch7x7dbl_5 = BasicConv(c, 192, *wide)
            self.branch_pool = BasicConv(768, 192, 1)

        def forward(self, x):
            chains = [self.chain(c, x) for c in ("branch1x1", "branch7x7", "branch7x7dbl")]
            return cat([*chains, self.branch_pool(average(x))], 1)

    class D(Block):
        def __init__(self):
            super().__init__()
            self.branch3x3_1, self.branch3x3_2 = BasicConv(768, 192, 1), BasicConv(192, 320, 3, 2)
            self.branch7x7x3_1 = BasicConv(768, 192, 1)
            self.branch7x7x3_2 = BasicConv(192, 192, (1, 7), 1, (0, 3))
            self.branch7x7x3_3 = BasicConv(192, 192, (7, 1), 1, (3, 0))
            self.branch7x7x3_4 = BasicConv(192, 192, 3, 2)

        def forward(self, x):
            chains = [self.chain(c, x) for c in ("branch3x3", "branch7x7x3")]
            return cat([*chains, pool.max_pool2d(x, 3, 2)], 1)

    class E(Block):
        def __init__(self, n, last):
            super().__init__()
            self.last = last
            self.branch1x1 = BasicConv(n, 320, 1)
            self.branch3x3_1 = BasicConv(n, 384, 1)
            self.branch3x3_2a = BasicConv(384, 384, (1, 3), 1, (0, 1))
            self.branch3x3_2b = BasicConv(384, 384, (3, 1), 1, (1, 0))
            self.branch3x3dbl_1 = BasicConv(n, 448, 1)
            self.branch3x3dbl_2 = BasicConv(448, 384, 3, 1, 1)
            self.branch3x3dbl_3a = BasicConv(384, 384, (1, 3), 1, (0, 1))
            self.branch3x3dbl_3b = BasicConv(384, 384, (3, 1), 1, (1, 0))
            self.branch_pool = BasicConv(n, 192, 1)

        def forward(self, x):
            single = self.branch3x3_1(x)
            double = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
            pooled = pool.max_pool2d(x, 3, 1, 1) if self.last else average(x)
            parts = [self.branch1x1(x), self.branch3x3_2a(single), self.branch3x3_2b(single)]
            parts += [self.branch3x3dbl_3a(double), self.branch3x3dbl_3b(double)]
            return cat([*parts, self.branch_pool(pooled)], 1)

    class Inception(nn.Module):
        def __init__(self):
            super().__init__()
            self.Conv2d_1a_3x3, self.Conv2d_2a_3x3 = BasicConv(3, 32, 3, 2), BasicConv(32, 32, 3)
            self.Conv2d_2b_3x3 = BasicConv(32, 64, 3, 1, 1)
            self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = BasicConv(64, 80, 1), BasicConv(80, 192, 3)
            self.Mixed_5b, self.Mixed_5c, self.Mixed_5d = A(192, 32), A(256, 64), A(288, 64)
            self.Mixed_6a, self.Mixed_6b, self.Mixed_6c = B(288), C(128), C(160)
            self.Mixed_6d, self.Mixed_6e, self.Mixed_7a = C(160), C(192), D()
            self.Mixed_7b, self.Mixed_7c = E(1280, False), E(2048, True)
            self.fc = nn.Linear(2048, 1008)

        def forward(self, x):
            x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
            x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(pool.max_pool2d(x, 3, 2)))
            x = pool.max_pool2d(x, 3, 2)
            for name in ("5b", "5c", "5d", "6a", "6b", "6c", "6d", "6e", "7a", "7b", "7c"):
                x = getattr(self, f"Mixed_{name}")(x)
            return x.mean([2, 3])

    return Inception()


def _write_script(torch, network, directory: Path) -> None:
    """Save the weights under the graph's names; NVIDIA's file has no gamma, so it goes into var."""
    table = json.loads((directory / "names.json").read_text())
    state = network.state_dict()
    root = torch.nn.Module()
    root.layers, root.output = torch.nn.Module(), torch.nn.Module()
    root.output.weight = torch.nn.Parameter(state["fc.weight"])
    root.output.bias = torch.nn.Parameter(state["fc.bias"])
    for ours, theirs in table.items():
        module = root.layers
        for part in ours.split("/"):
            if not hasattr(module, part):
                module.add_module(part, torch.nn.Module())
            module = getattr(module, part)
        gamma = state[f"{theirs}.bn.weight"]
        parts = {"weight": state[f"{theirs}.conv.weight"], "beta": state[f"{theirs}.bn.bias"]}
        parts["mean"] = state[f"{theirs}.bn.running_mean"]
        parts["var"] = state[f"{theirs}.bn.running_var"]
        parts["weight"] = parts["weight"] * gamma[:, None, None, None]
        parts["mean"] = parts["mean"] * gamma  # gamma (conv - mean) = gamma conv - gamma mean
        for name, value in parts.items():
            setattr(module, name, torch.nn.Parameter(value.clone()))
    torch.jit.script(root).save(directory / "graph.pt")


if __name__ == "__main__":
    {"names": names, "write": write, "check": check}[sys.argv[1]](Path(sys.argv[2]))
