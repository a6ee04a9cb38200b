"""Values, first and second derivatives against the official program's numbers."""

import numpy as np
import pytest
import tensorflow as tf

from dnnlib import ops

from . import golden

RESAMPLERS = {
    "filter_2d": ops.filter2d,
    "upsample_2d": ops.upsample2d,
    "downsample_2d": ops.downsample2d,
}
CONVOLUTIONS = {
    "upsample_conv_2d": ops.upsample_conv2d,
    "conv_downsample_2d": ops.conv_downsample2d,
}


def name_of(case):
    return case["id"]


@pytest.mark.parametrize("case", golden.cases("upfirdn_2d"), ids=name_of)
def test_upfirdn2d(case, live):
    params = case["params"]
    x = golden.channels_last(case, "in/x")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = ops.upfirdn2d(
            x,
            golden.array(case, "in/k"),
            up=(params["upy"], params["upx"]),
            down=(params["downy"], params["downx"]),
            padding=tuple(params[name] for name in ("pady0", "pady1", "padx0", "padx1")),
        )
    golden.assert_close(y, golden.array(case, "out/y"), 1e-5)
    dx = tape.gradient(y, x, golden.channels_last(case, "in/dy"))
    golden.assert_close(dx, golden.array(case, "out/dx"), 1e-5)


@pytest.mark.parametrize("case", golden.cases(*RESAMPLERS), ids=name_of)
def test_resampling(case, live):
    params = case["params"]
    x = golden.channels_last(case, "in/x")
    options = {name: params[name] for name in ("factor", "gain") if name in params}
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = RESAMPLERS[case["op"]](x, params["k"], **options)
    golden.assert_close(y, golden.channels_last(case, "out/y"), 1e-5)
    dx = tape.gradient(y, x, golden.channels_last(case, "in/dy"))
    golden.assert_close(dx, golden.channels_last(case, "out/dx"), 1e-5)


# Grouped convolution is not used here: styles scale inputs and outputs instead.
UNGROUPED = [case for case in golden.cases(*CONVOLUTIONS) if case["params"]["groups"] == 1]


@pytest.mark.parametrize("case", UNGROUPED, ids=name_of)
def test_resampling_convolution(case, live):
    params = case["params"]
    x, weights = golden.channels_last(case, "in/x"), tf.constant(golden.array(case, "in/w"))
    with tf.GradientTape() as tape:
        tape.watch([x, weights])
        y = CONVOLUTIONS[case["op"]](
            x, weights, params["k"], factor=params["factor"], gain=params["gain"]
        )
    golden.assert_close(y, golden.channels_last(case, "out/y"), 1e-5)
    dx, dw = tape.gradient(y, [x, weights], golden.channels_last(case, "in/dy"))
    golden.assert_close(dx, golden.channels_last(case, "out/dx"), 1e-5)
    golden.assert_close(dw, golden.array(case, "out/dw"), 1e-5)


@pytest.mark.parametrize("case", golden.cases("fused_bias_act"), ids=name_of)
def test_bias_act(case, live):
    params = case["params"]

    def load(name):  # move the channel axis to the end
        return tf.constant(np.moveaxis(golden.array(case, name), params["axis"], -1))

    x, dy = load("in/x"), load("in/dy")
    bias = tf.constant(golden.array(case, "in/b")) if params["bias"] else None
    inputs = [x] if bias is None else [x, bias]
    with tf.GradientTape() as outer:
        outer.watch([*inputs, dy])
        with tf.GradientTape() as inner:
            inner.watch(inputs)
            y = ops.bias_act(
                x, bias, activation=params["act"], alpha=params["alpha"], gain=params["gain"]
            )
        gradients = inner.gradient(y, inputs, dy)
        s = tf.reduce_sum(gradients[0] * load("in/v1"))
        if bias is not None:
            s += tf.reduce_sum(gradients[1] * golden.array(case, "in/v2"))
    second = outer.gradient(s, [x, dy, *inputs[1:]], unconnected_gradients="zero")

    def expect(name):
        return np.moveaxis(golden.array(case, name), params["axis"], -1)

    golden.assert_close(y, expect("out/y"), 1e-5)
    golden.assert_close(gradients[0], expect("out/dx"), 1e-5)
    golden.assert_close(second[0], expect("out/ddx"), 1e-4)
    golden.assert_close(second[1], expect("out/dddy"), 1e-4)
    if bias is not None:
        golden.assert_close(gradients[1], golden.array(case, "out/db"), 1e-5)
        golden.assert_close(second[2], golden.array(case, "out/ddb"), 1e-4)
