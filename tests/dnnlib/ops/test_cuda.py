"""The CUDA kernels: their launch arithmetic, run thread by thread on the host, and their build.

Nothing here needs or proves anything about a GPU: see cuda_shim.h and launch_runner.py.
"""

import pickle
import re
import shutil
import subprocess
import sys
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf

from dnnlib.errors import UserError
from dnnlib.ops.build import LIBRARY_NAME, SOURCE, build, find_sources, find_toolchain
from dnnlib.ops.nvrtc import Nvcc, Nvrtc

from . import definition

HERE = Path(__file__).parent
RANDOM = np.random.default_rng(8)
TYPES = {"float32": np.float32, "bfloat16": ml_dtypes.bfloat16, "float16": np.float16}
TOLERANCES = {"float32": 2e-6, "bfloat16": 2**-8, "float16": 2**-10}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A function that runs cases with the host build of the CUDA kernels."""
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    folder = tmp_path_factory.mktemp("shim")
    shim = f'-DGANSFORMER_CUDA_SHIM="{HERE / "cuda_shim.h"}"'
    options = ["-std=c++17", "-O1", "-fPIC", "-shared", "-Werror", "-Wall", "-x", "c++"]
    sources = [str(path) for path in find_sources("_cuda.cu")]
    library = folder / "shim.so"
    command = ["g++", *options, shim, f"-I{SOURCE}", *sources, "-o", str(library)]
    subprocess.run(command, check=True, timeout=300)

    def run_cases(cases):
        (folder / "cases").write_bytes(pickle.dumps(cases))
        command = [sys.executable, str(HERE / "launch_runner.py"), str(library)]
        subprocess.run([*command, str(folder / "cases"), str(folder / "results")], check=True)
        return pickle.loads((folder / "results").read_bytes())

    return run_cases


def assert_same(actual, expected, kind):
    scale = max(1.0, np.abs(expected).max(initial=0))
    np.testing.assert_allclose(
        actual.astype(np.float64), expected, rtol=TOLERANCES[kind], atol=scale * 2e-6
    )


def upfirdn2d_case(size, channels, kernel, up, down, padding, kind="float32", batch=1):
    """One case, with the exact result."""
    x = RANDOM.normal(size=(batch, *size, channels)).astype(TYPES[kind])
    flipped = np.asarray(kernel, np.float32)[..., ::-1]
    separable = flipped.ndim == 1
    full = np.outer(kernel, kernel) if separable else np.asarray(kernel)
    exact = definition.upfirdn2d(
        x.astype(np.float64), full, up=(up, up), down=(down, down), padding=padding
    )
    taps = np.tile(flipped, 2) if separable else flipped[::-1].ravel()
    plan = {
        "batch": batch, "in_height": size[0], "in_width": size[1], "channels": channels,
        "out_height": exact.shape[1], "out_width": exact.shape[2], "up_y": up, "up_x": up,
        "down_y": down, "down_x": down, "pad_top": padding[0], "pad_left": padding[2],
        "kernel_height": full.shape[0], "kernel_width": full.shape[1],
        "separable": int(separable), "taps": [float(tap) for tap in taps],
    }  # fmt: skip
    return {"op": "upfirdn2d", "plan": plan, "x": x, "type": kind}, exact


def check_upfirdn2d(run, cases):
    for (case, exact), (y,) in zip(cases, run([case for case, _ in cases]), strict=True):
        assert_same(y, exact, case["type"])


TAPS = RANDOM.normal(size=4).astype(np.float32)
FACTORS = [(1, 1), (2, 1), (1, 2)]


@pytest.mark.parametrize("up, down", FACTORS)
def test_tiles_at_sizes_around_their_edges(run, up, down):
    """Outputs of one less, exactly, and one more than one and two tiles; rows unlike columns."""
    edge = 8 * up
    cases = []
    for out in (1, edge - 1, edge, edge + 1, 2 * edge - 1, 2 * edge, 2 * edge + 1):
        size = -(-out * down // up) + 3  # large enough for the filter
        extra = out * down - size * up + 4 - down  # padding that makes exactly this output
        padding = (extra // 2, extra - extra // 2)
        cases.append(
            upfirdn2d_case((size, size + 5), 32, TAPS, up, down, (*padding, 0, 0), batch=2)
        )
        cases.append(upfirdn2d_case((9, size), 32, TAPS, up, down, (1, 1, *padding)))
        assert cases[-2][1].shape[1] == out and cases[-1][1].shape[2] == out
    check_upfirdn2d(run, cases)


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("up, down", FACTORS)
def test_tiles_with_every_number_of_channels_and_padding(run, up, down, kind):
    cases = [
        upfirdn2d_case((7, 6), channels, TAPS, up, down, (2, 1, 1, 2), kind)
        for channels in (16, 17, 20, 24, 31, 32, 33, 40, 64, 65, 72)
    ]
    for padding in [(0, 5, 3, 2), (3, 0, 6, 1), (-1, 4, -2, 5), (9, -2, -3, 8)]:
        cases.append(upfirdn2d_case((7, 6), 32, TAPS, up, down, padding, kind))
    for taps in (TAPS[:1], TAPS[:2], TAPS[:3]):
        cases.append(upfirdn2d_case((7, 6), 32, taps, up, down, (1, 0, 0, 1), kind))
    check_upfirdn2d(run, cases)


@pytest.mark.parametrize("kind", TYPES)
def test_general_kernel(run, kind):
    full = RANDOM.normal(size=(3, 5))
    cases = [
        upfirdn2d_case((6, 7), channels, kernel, up, down, (3, 2, 1, 4), kind, batch=2)
        for channels in (1, 3, 18)
        for kernel in (full, RANDOM.normal(size=6), TAPS)
        for up, down in [(1, 1), (2, 2), (3, 2)]
    ]
    check_upfirdn2d(run, cases)


def bias_act_cases(rows, channels, number, alpha):
    """The value and the gradient, which knows y as it is stored, and their exact results."""
    gain, clamp, bias_gain = 1.3, 0.9, 0.6
    x, dy = (RANDOM.normal(size=(rows, channels)).astype(TYPES[number]) for _ in range(2))
    bias, shift = (RANDOM.normal(size=channels).astype(np.float32) for _ in range(2))
    exact = definition.bias_act(
        np.float64(x), bias_gain * bias, activation="lrelu", alpha=alpha, gain=gain, clamp=clamp
    )
    y = exact.astype(x.dtype)
    slope = np.where(y > 0, 1, alpha) * gain
    slope[np.abs(y) >= np.asarray(clamp, x.dtype)] = 0
    dx = (np.float64(dy) + bias_gain * shift) * slope
    plan = {"rows": rows, "channels": channels, "alpha": alpha, "gain": gain, "clamp": clamp}
    plan["bias_gain"] = bias_gain
    case = {"op": "bias_act", "plan": plan, "type": number}
    value = case | {"kind": "forward", "inputs": {"x": x, "bias": bias}}
    gradient = case | {"kind": "gradient", "inputs": {"x": dy, "bias": shift, "y": y}}
    return [(value, [exact]), (gradient, [dx, bias_gain * dx.sum(0)])]


@pytest.mark.parametrize("number", TYPES)
@pytest.mark.parametrize("alpha", [1.0, 0.2])
def test_bias_act(run, alpha, number):
    """Rows and channels around the edges of blocks, and rows that several blocks add up."""
    pairs = []
    for rows, channels in [(1, 1), (7, 3), (8, 4), (9, 8), (17, 31), (16, 32), (15, 33),
                           (3, 128), (5, 136), (2100, 4), (2, 260), (513, 32),
                           (1200, 136), (1100, 33)]:  # fmt: skip
        pairs += bias_act_cases(rows, channels, number, alpha)
    for results, (_, exact) in zip(run([case for case, _ in pairs]), pairs, strict=True):
        for actual, wanted in zip(results, exact, strict=True):
            assert_same(actual, np.asarray(wanted), number)


ALPHA, GAIN = 0.3, 1.3


def attention_gain(
    x, weights, row_scores, column_scores, scale, values, noise, bias, case, at=None
):
    """y and the probabilities, side by side, in float64; with the slopes of the signs of `at`."""
    plan = case["plan"]
    result = definition.attention_gain(
        x, weights, row_scores, column_scores, scale, values, plan["heads"], case["normalize"]
    )
    y, probabilities = np.split(result, [plan["channels"]], axis=2)
    y = y + noise + bias
    slopes = GAIN * np.where((y if at is None else at) > 0, 1, ALPHA)
    return np.concatenate([slopes * y, probabilities], axis=2)


def attention_gain_case(sizes, normalize, number):
    names = ("batch", "grid_rows", "grid_columns", "channels", "heads", "keys")
    plan = dict(zip(names, sizes, strict=True))
    batch, rows, columns, channels, heads, keys = sizes
    keys, positions = heads * keys, rows * columns
    shapes = {
        "x": (batch, positions, channels),
        "weights": (batch, keys, channels),
        "row_scores": (batch, rows, keys),
        "column_scores": (batch, columns, keys),
        "scale": (batch, channels),
        "values": (batch, keys + 1, channels),
        "noise": (1 if normalize else batch, positions, 1),
        "bias": (channels,),
        "dy": (batch, positions, channels),
        "dprobabilities": (batch, positions, keys),
    }
    inputs = {name: RANDOM.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    inputs["weights"] *= np.float32(channels**-0.5)
    inputs |= {name: inputs[name].astype(TYPES[number]) for name in ("x", "dy")}
    case = {"op": "attention_gain", "plan": plan, "normalize": normalize, "type": number}
    return case | {"alpha": ALPHA, "inputs": inputs}


@pytest.mark.parametrize("number", TYPES)
@pytest.mark.parametrize("normalize", [False, True])
def test_attention_gain(run, normalize, number):
    """Positions around tiles of 32 and slabs of 64, channels around 32, keys around 8, to 64.

    The gradients are compared with differences of the definition, along random directions.
    """
    sizes = [(2, 4, 4, 32, 1, 16), (1, 33, 1, 33, 2, 5), (2, 1, 7, 3, 4, 16), (1, 5, 13, 70, 1, 7)]
    sizes += [(3, 31, 2, 8, 1, 1), (1, 17, 16, 40, 1, 9), (1, 2, 65, 31, 2, 8)]
    cases = [attention_gain_case(case, normalize, number) for case in sizes]
    for case, results in zip(cases, run(cases), strict=True):
        *inputs, dy, dprobabilities = (np.float64(x) for x in case["inputs"].values())
        upstream = np.concatenate([dy, dprobabilities], axis=2)
        exact = attention_gain(*inputs, case)
        y, probabilities = np.split(exact, [case["plan"]["channels"]], axis=2)
        assert_same(results[0], y, number)
        assert_same(results[1], probabilities, "float32")
        gradients = results[2:]
        if case["inputs"]["noise"].shape[0] == 1:  # the kernel's are of each sample
            gradients[6] = gradients[6].sum(axis=0, keepdims=True)
        for i, gradient in enumerate(gradients):
            gradient = np.float64(gradient).reshape(inputs[i].shape)
            direction = RANDOM.normal(size=gradient.shape)

            ends = [
                attention_gain(*inputs[:i], inputs[i] + t * direction, *inputs[i + 1 :], case, y)
                for t in (1e-6, -1e-6)
            ]
            slope = (upstream * (ends[0] - ends[1])).sum() / 2e-6
            error = (gradient * direction).sum() - slope
            # dx is rounded, each element for itself: six standard deviations of the sum of that.
            tolerance = 1e-5 + (6 * TOLERANCES[number] / 3**0.5 if i == 0 else 0)
            bound = tolerance * np.linalg.norm(gradient * direction) + 1e-6
            assert abs(error) <= bound, (case["plan"], i, error, bound)


SEEDS = [[0, 0], [1, 0], [0, 1], [-1, -1], [2**32, 5], [5, 2**32], [-(2**63), 2**63 - 1]]


@pytest.mark.parametrize("distribution", ["normal", "uniform"])
def test_stateless_random(run, distribution):
    """TensorFlow's numbers: parts of four, one block and several, of one seed and many."""
    draw = getattr(tf.random, f"stateless_{distribution}")
    seeds = np.concatenate([SEEDS, RANDOM.integers(-(2**63), 2**63 - 1, (60, 2))])
    cases = [
        {
            "op": "stateless_random",
            "plan": {"rows": rows, "numbers": numbers, "normal": distribution == "normal"},
            "seeds": seeds[:rows],
        }
        for rows, numbers in [(1, 1), (7, 1), (7, 3), (7, 4), (7, 6), (67, 5), (7, 1029), (1, 3001)]
    ]
    for case, (y,) in zip(cases, run(cases), strict=True):
        exact = [draw(y.shape[1:], seed, alg="philox").numpy() for seed in case["seeds"]]
        if distribution == "uniform":
            np.testing.assert_array_equal(y, exact)
        else:
            np.testing.assert_allclose(y, exact, rtol=2e-6, atol=1e-6)


COMPILERS = [(Nvrtc, "75"), (Nvcc, "75")]
COMPILERS += [
    pytest.param(Nvrtc, capability, marks=pytest.mark.slow) for capability in ("80", "89", "90")
]


@pytest.mark.parametrize("make_compiler, capability", COMPILERS)
def test_every_kernel_that_is_launched_is_made(tmp_path, make_compiler, capability):
    """Under the symbol by which g++ knows it; no GPU is needed."""
    try:
        compiler = make_compiler()
    except UserError as error:
        pytest.skip(str(error))
    for path in find_sources("_cuda.cu"):
        names = check_kernels(compiler, path, capability, tmp_path)
        assert len(names) > (0 if path.stem == "stateless_random_cuda" else 10)


def check_kernels(compiler, path, capability, folder):
    made = compiler.compile(path, SOURCE, capability)
    command = next(
        command
        for command in find_toolchain(want_cuda=True).compile_commands(folder)
        if str(path) in command
    )
    subprocess.run(command, check=True, timeout=300)
    symbols = subprocess.run(["nm", command[-1]], capture_output=True, text=True, check=True).stdout
    names = set(
        re.findall(r" [WT] (_ZN10gansformer\d+(?:\w+_kernel|add_partial_sums)\w*)", symbols)
    )
    compiled = {name.decode() for name in re.findall(rb"\.text\.(_ZN\w+)", made)}
    assert names == compiled
    return names


@pytest.mark.slow
def test_whole_library_with_cuda_loads_without_a_gpu(tmp_path):
    build(find_toolchain(want_cuda=True), tmp_path / "built")
    code = f"""
import tensorflow as tf
from tensorflow.python.framework import kernels
library = tf.load_op_library({str(tmp_path / "built" / LIBRARY_NAME)!r})
names = ("Upfirdn2d", "BiasAct", "BiasActGradient", "AttentionGain", "AttentionGainGradient")
for name in names:
    found = kernels.get_registered_kernels_for_op("Gansformer" + name).kernel
    assert sorted(k.device_type for k in found) == ["CPU"] * 3 + ["GPU"] * 3, name
(found,) = kernels.get_registered_kernels_for_op("GansformerStatelessRandom").kernel
assert found.device_type == "GPU"
with tf.device("CPU"):
    y = library.gansformer_bias_act(
        x=tf.ones([2, 3]), bias=[1.0, 2.0, 3.0], alpha=0.2, gain=1.0, clamp=-1.0)
assert y.numpy()[0].tolist() == [2.0, 3.0, 4.0]
"""
    subprocess.run([sys.executable, "-c", code], check=True, timeout=300)
