"""Runs the CUDA kernels, compiled for the host, in a process of their own (a bug may crash it).

Called with the library's path and a file of cases (pickled by the test); writes the results. Every
array lies against the end of its memory, followed by a page that may not be touched.
"""

import ctypes
import mmap
import pickle
import sys

import numpy as np

PAGE = mmap.PAGESIZE
ELEMENT_TYPES = {"float32": 0, "bfloat16": 1, "float16": 2}


class Upfirdn2dPlan(ctypes.Structure):
    """As in src/upfirdn2d/upfirdn2d.h."""

    _fields_ = [
        *[(name, ctypes.c_int) for name in ("batch", "in_height", "in_width", "channels")],
        *[(name, ctypes.c_int) for name in ("out_height", "out_width", "up_y", "up_x")],
        *[(name, ctypes.c_int) for name in ("down_y", "down_x", "pad_top", "pad_left")],
        *[(name, ctypes.c_int) for name in ("kernel_height", "kernel_width", "separable")],
        ("taps", ctypes.c_float * 576),
    ]


class BiasActPlan(ctypes.Structure):
    """As in src/bias_act/bias_act.h."""

    _fields_ = [
        ("rows", ctypes.c_int64),
        ("channels", ctypes.c_int),
        ("alpha", ctypes.c_float),
        ("gain", ctypes.c_float),
        ("clamp", ctypes.c_float),
        ("bias_gain", ctypes.c_float),
    ]


class StatelessRandomPlan(ctypes.Structure):
    """As in src/stateless_random/stateless_random.h."""

    _fields_ = [
        ("rows", ctypes.c_int64),
        ("numbers", ctypes.c_int64),
        ("normal", ctypes.c_bool),
    ]


class AttentionPlan(ctypes.Structure):
    """As in src/attention/attention.h."""

    _fields_ = [
        *[(name, ctypes.c_int64) for name in ("batch", "grid_rows", "grid_columns")],
        *[(name, ctypes.c_int) for name in ("channels", "heads", "keys")],
    ]


class Pointers3(ctypes.Structure):
    """AttentionScores and AttentionScoreGradients: weights, rows, columns."""

    _fields_ = [(name, ctypes.c_void_p) for name in ("weights", "rows", "columns")]


class AttentionGain(ctypes.Structure):
    """As in src/attention/attention.h."""

    _fields_ = [
        ("scale", ctypes.c_void_p),
        ("values", ctypes.c_void_p),
        ("normalize", ctypes.c_bool),
    ]


class AttentionGainGradients(ctypes.Structure):
    """As in src/attention/attention.h, with the gradients of the epilogue."""

    _fields_ = [
        ("scores", Pointers3),
        *[(name, ctypes.c_void_p) for name in ("scale", "values", "noise", "bias")],
    ]


class Epilogue(ctypes.Structure):
    """As in src/epilogue/epilogue.h."""

    _fields_ = [
        ("noise", ctypes.c_void_p),
        ("noise_samples", ctypes.c_int64),
        ("bias", ctypes.c_void_p),
        ("alpha", ctypes.c_float),
        ("gain", ctypes.c_float),
    ]


class Fenced:
    """An array that ends where memory that must not be touched begins."""

    def __init__(self, shape: tuple, dtype: np.dtype):
        size = int(np.prod(shape)) * np.dtype(dtype).itemsize
        pages = -(-size // PAGE)
        self.memory = mmap.mmap(-1, (pages + 1) * PAGE)
        start = ctypes.addressof(ctypes.c_char.from_buffer(self.memory))
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.mprotect(ctypes.c_void_p(start + pages * PAGE), PAGE, 0) == 0
        self.address = start + pages * PAGE - size
        buffer = (ctypes.c_char * size).from_address(self.address)
        self.array = np.frombuffer(buffer, dtype).reshape(shape)


def fenced_copy(values: np.ndarray | None) -> Fenced | None:
    """A fenced copy of `values`."""
    if values is None:
        return None
    fenced = Fenced(values.shape, values.dtype)
    fenced.array[...] = values
    return fenced


def address(fenced: Fenced | None) -> ctypes.c_void_p:
    """What the kernels get: a pointer, or null."""
    return ctypes.c_void_p(fenced.address if fenced else None)


def fill(plan: ctypes.Structure, fields: dict) -> ctypes.Structure:
    """Set the fields of a plan."""
    for name, value in fields.items():
        if name == "taps":
            plan.taps[: len(value)] = value
        else:
            setattr(plan, name, value)
    return plan


def run_upfirdn2d(library, case: dict) -> list[np.ndarray]:
    """y of one case."""
    plan = fill(Upfirdn2dPlan(), case["plan"])
    x = fenced_copy(case["x"])
    y = Fenced((plan.batch, plan.out_height, plan.out_width, plan.channels), case["x"].dtype)
    kind = ELEMENT_TYPES[case["type"]]
    status = library.gansformer_upfirdn2d_cuda(
        None, ctypes.byref(plan), kind, address(x), address(y)
    )
    assert status == 0
    return [y.array.copy()]


def run_bias_act(library, case: dict) -> list[np.ndarray]:
    """y, or (dx, db) of the gradient."""
    plan = fill(BiasActPlan(), case["plan"])
    kind = ELEMENT_TYPES[case["type"]]
    inputs = {name: fenced_copy(values) for name, values in case["inputs"].items()}
    pointer = {name: address(values) for name, values in inputs.items()}
    result = Fenced(case["inputs"]["x"].shape, case["inputs"]["x"].dtype)
    if case["kind"] == "forward":
        status = library.gansformer_bias_act_cuda(
            None, ctypes.byref(plan), kind, pointer["x"], pointer["bias"], address(result)
        )
        assert status == 0
        return [result.array.copy()]
    sums = Fenced((plan.channels,), np.float32)
    workspace = Fenced((library.gansformer_bias_act_workspace(ctypes.byref(plan)),), np.float32)
    status = library.gansformer_bias_act_gradient_cuda(
        None, ctypes.byref(plan), kind, pointer["x"], pointer["bias"], pointer["y"],
        address(result), address(sums), address(workspace),
    )  # fmt: skip
    assert status == 0
    return [result.array.copy(), sums.array.copy()]


def run_attention_gain(library, case: dict) -> list[np.ndarray]:
    """y and the probabilities, then the gradients of all inputs, in the order of the op."""
    plan, kind = fill(AttentionPlan(), case["plan"]), ELEMENT_TYPES[case["type"]]
    inputs = {name: fenced_copy(values) for name, values in case["inputs"].items()}
    pointer = {name: address(values) for name, values in inputs.items()}
    gain = AttentionGain(pointer["scale"], pointer["values"], case["normalize"])
    noise_samples = case["inputs"]["noise"].shape[0]
    epilogue = Epilogue(pointer["noise"], noise_samples, pointer["bias"], case["alpha"], 1.3)
    y = Fenced(inputs["x"].array.shape, inputs["x"].array.dtype)
    probabilities = Fenced(case["inputs"]["dprobabilities"].shape, np.float32)
    scores = Pointers3(pointer["weights"], pointer["row_scores"], pointer["column_scores"])
    status = library.gansformer_attention_gain_cuda(
        None, ctypes.byref(plan), kind, pointer["x"], ctypes.byref(scores), ctypes.byref(gain),
        ctypes.byref(epilogue), address(probabilities), address(y),
    )  # fmt: skip
    assert status == 0
    names = ("x", "weights", "row_scores", "column_scores", "scale", "values", "bias")
    results = {name: Fenced(inputs[name].array.shape, inputs[name].array.dtype) for name in names}
    results["noise"] = Fenced(inputs["x"].array.shape[:2], np.float32)
    at = {name: address(result) for name, result in results.items()}
    gradients = AttentionGainGradients(
        Pointers3(at["weights"], at["row_scores"], at["column_scores"]),
        *(at[name] for name in ("scale", "values", "noise", "bias")),
    )
    size = library.gansformer_attention_gain_workspace(ctypes.byref(plan))
    workspace = Fenced((size,), np.float32)
    status = library.gansformer_attention_gain_gradient_cuda(
        None, ctypes.byref(plan), kind, pointer["dy"], address(y), pointer["dprobabilities"],
        address(probabilities), pointer["x"], pointer["weights"], ctypes.byref(gain),
        ctypes.byref(epilogue), at["x"], ctypes.byref(gradients), address(workspace),
    )  # fmt: skip
    assert status == 0
    names = [*names[:-1], "noise", "bias"]
    return [result.array.copy() for result in (y, probabilities, *map(results.get, names))]


def run_stateless_random(library, case: dict) -> list[np.ndarray]:
    """The numbers of each seed."""
    plan, seeds = fill(StatelessRandomPlan(), case["plan"]), fenced_copy(case["seeds"])
    y = Fenced((plan.rows, plan.numbers), np.float32)
    status = library.gansformer_stateless_random_cuda(
        None, ctypes.byref(plan), address(seeds), address(y)
    )
    assert status == 0
    return [y.array.copy()]


def main() -> None:
    """Run all cases."""
    library = ctypes.CDLL(sys.argv[1])
    library.gansformer_bias_act_workspace.restype = ctypes.c_int64
    library.gansformer_attention_gain_workspace.restype = ctypes.c_int64
    with open(sys.argv[2], "rb") as file:
        cases = pickle.load(file)
    runners = {
        "upfirdn2d": run_upfirdn2d,
        "bias_act": run_bias_act,
        "attention_gain": run_attention_gain,
        "stateless_random": run_stateless_random,
    }
    results = [runners[case["op"]](library, case) for case in cases]
    with open(sys.argv[3], "wb") as file:
        pickle.dump(results, file)


if __name__ == "__main__":
    main()
