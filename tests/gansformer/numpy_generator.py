"""StyleGAN2's generator (skip) in NumPy, written from docs/export.md; it reads weights.npz."""

import numpy as np


def generate(weights: dict[str, np.ndarray], z: np.ndarray, *, layers: int, psi: float):
    """Return images [B, H, W, C] with the stored noise, of z [B, z_dim]."""
    weights = {name: np.float64(value) for name, value in weights.items()}
    x = z / np.sqrt(np.mean(z**2, axis=1, keepdims=True) + 1e-8)
    for i in range(layers):
        weight, bias = (weights[f"G_mapping/Dense{i}/{part}"] for part in ("weight", "bias"))
        x = lrelu(x @ (weight * 0.01 / np.sqrt(len(weight))) + 0.01 * bias)
    (center,) = weights["truncation_center"]
    w = center + psi * (x - center)
    const = weights["G_synthesis/4x4/Const/const"].transpose(0, 2, 3, 1)
    x = layer(weights, "4x4/Conv", np.repeat(const, len(z), axis=0), w, 0)
    rgb, size = to_rgb(weights, 4, x, w), 8
    while f"G_synthesis/{size}x{size}/Conv1/weight" in weights:
        log2 = size.bit_length() - 1
        x = layer(weights, f"{size}x{size}/Conv0_up", x, w, 2 * log2 - 5, up=True)
        x = layer(weights, f"{size}x{size}/Conv1", x, w, 2 * log2 - 4)
        rgb = blur(insert_zeros(rgb), 2, 1) + to_rgb(weights, size, x, w)
        size *= 2
    return rgb


def layer(weights, name: str, x, w, number: int, *, up=False):
    part = {
        key: weights[f"G_synthesis/{name}/{key}"]
        for key in ("weight", "mod_weight", "mod_bias", "noise_strength", "bias")
    }
    style = w @ (part["mod_weight"] / np.sqrt(w.shape[1])) + part["mod_bias"] + 1
    kernel = part["weight"] / np.sqrt(9 * part["weight"].shape[2])
    kernel = kernel[None] * style[:, None, None, :, None]  # [B, 3, 3, in, out]
    kernel /= np.sqrt(np.sum(kernel**2, axis=(1, 2, 3), keepdims=True) + 1e-8)
    if up:
        y = blur(correlate(insert_zeros(x)[:, :-1, :-1], kernel, 2), 1, 1)
    else:
        y = correlate(x, kernel, 1)
    noise = weights[f"G_synthesis/noise{number}"].transpose(0, 2, 3, 1)
    return lrelu(y + part["noise_strength"] * noise + part["bias"])


def to_rgb(weights, size: int, x, w):
    part = {
        key: weights[f"G_synthesis/{size}x{size}/ToRGB/{key}"]
        for key in ("weight", "mod_weight", "mod_bias", "bias")
    }
    style = w @ (part["mod_weight"] / np.sqrt(w.shape[1])) + part["mod_bias"] + 1
    kernel = part["weight"][0, 0] / np.sqrt(part["weight"].shape[2])
    return np.einsum("bhwi,bi,io->bhwo", x, style, kernel) + part["bias"]


def lrelu(x):
    return np.where(x > 0, x, 0.2 * x) * np.sqrt(2)


def correlate(x, kernel, padding: int):
    """x: [B, H, W, in], kernel: [B, 3, 3, in, out], zeros around x."""
    margin = (padding, padding)
    x = np.pad(x, [(0, 0), margin, margin, (0, 0)])
    rows, columns = x.shape[1] - 2, x.shape[2] - 2
    return sum(
        np.einsum("bhwi,bio->bhwo", x[:, i : i + rows, j : j + columns], kernel[:, i, j])
        for i in range(3)
        for j in range(3)
    )


def insert_zeros(x):
    y = np.zeros((x.shape[0], 2 * x.shape[1], 2 * x.shape[2], x.shape[3]))
    y[:, ::2, ::2] = x
    return y


def blur(x, before: int, after: int):
    """The outer product of [1, 3, 3, 1] / 8, times 4."""
    x = np.pad(x, [(0, 0), (before, after), (before, after), (0, 0)])
    taps = np.array([1, 3, 3, 1]) / 4
    rows, columns = x.shape[1] - 3, x.shape[2] - 3
    return sum(
        taps[i] * taps[j] * x[:, i : i + rows, j : j + columns] for i in range(4) for j in range(4)
    )
