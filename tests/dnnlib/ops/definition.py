"""The operations in float64 NumPy and SciPy, word for word from their definition."""

import numpy as np
from scipy.signal import convolve2d


def upfirdn2d(x, kernel, *, up=(1, 1), down=(1, 1), padding=(0, 0, 0, 0)):
    """Insert zeros, pad or crop, convolve, decimate.  x: [B, H, W, C]."""
    batch, height, width, channels = x.shape
    wide = np.zeros((batch, height * up[0], width * up[1], channels))
    wide[:, :: up[0], :: up[1]] = x
    top, bottom, left, right = padding
    positive = [(0, 0), (max(top, 0), max(bottom, 0)), (max(left, 0), max(right, 0)), (0, 0)]
    wide = np.pad(wide, positive)
    rows = slice(max(-top, 0), wide.shape[1] - max(-bottom, 0))
    wide = wide[:, rows, max(-left, 0) : wide.shape[2] - max(-right, 0)]
    planes = [
        [convolve2d(image[..., c], kernel, mode="valid") for c in range(channels)] for image in wide
    ]
    return np.moveaxis(np.array(planes), 1, -1)[:, :: down[0], :: down[1]]


def activate(u, activation, alpha):
    """f(u)."""
    scale, selu_alpha = 1.0507009873554805, 1.6732632423543772
    negative = np.minimum(u, 0)
    return {
        "linear": lambda: u,
        "relu": lambda: np.maximum(u, 0),
        "lrelu": lambda: np.where(u > 0, u, alpha * u),
        "tanh": lambda: np.tanh(u),
        "sigmoid": lambda: 1 / (1 + np.exp(-u)),
        "elu": lambda: np.where(u > 0, u, np.expm1(negative)),
        "selu": lambda: scale * np.where(u > 0, u, selu_alpha * np.expm1(negative)),
        "softplus": lambda: np.logaddexp(0, u),
        "swish": lambda: u / (1 + np.exp(-u)),
    }[activation]()


def bias_act(x, bias, *, activation, alpha=0.2, gain=1.0, clamp=np.inf):
    """clip(gain * f(x + bias), -clamp, clamp)."""
    return np.clip(gain * activate(x + bias, activation, alpha), -clamp, clamp)


def attention_probabilities(x, weights, row_scores, column_scores, heads):
    scores = np.float64(x) @ np.swapaxes(np.float64(weights), 1, 2)
    offsets = row_scores[:, :, None] + np.float64(column_scores[:, None])
    scores = (scores + offsets.reshape(scores.shape)).reshape(*scores.shape[:2], heads, -1)
    e = np.exp(scores - scores.max(-1, keepdims=True))
    return (e / e.sum(-1, keepdims=True)).reshape(*scores.shape[:2], -1)


def attention_gain(x, weights, row_scores, column_scores, scale, values, heads, normalize):
    """The features and the probabilities, side by side: one array [B, F, C + A K]."""
    attended = attention_probabilities(x, weights, row_scores, column_scores, heads)
    u = np.float64(x) * scale[:, None]
    if normalize:
        u = u / np.sqrt((u**2).mean(-1, keepdims=True) + 1e-8)
    left = np.concatenate([attended, np.ones((*attended.shape[:2], 1))], axis=2)
    return np.concatenate([u * (left @ np.float64(values)), attended], axis=2)
