"""The operations by the compiled kernels, differentiable to any order.

upfirdn2d is linear and its adjoint is another upfirdn2d. bias_act has three kernels: value, first
and second derivative; the second derivative's own derivatives (never needed in training) are plain
TensorFlow. Functions and their gradients are decorated separately: TensorFlow ignores the inner
decorator of nested ones.
"""

import dataclasses
from functools import lru_cache

import numpy as np
import tensorflow as tf

from dnnlib.ops import native_cpu, reference
from dnnlib.ops.activations import find_activation
from dnnlib.ops.epilogue import Epilogue
from dnnlib.ops.resample_geometry import Resampling

MAXIMUM_TAPS = 576  # kMaximumTaps in src/upfirdn2d.h


class NativeOps:
    """The operations on top of a loaded kernel library."""

    def __init__(self, library, *, has_cuda: bool = False):
        self._library = library
        self._has_cuda = has_cuda

    def upfirdn2d(self, x: tf.Tensor, resampling: Resampling) -> tf.Tensor:
        """Apply `resampling` to every channel.  x: [B, H, W, C] -> [B, Ho, Wo, C]."""
        taps, separable = _flipped_taps(resampling.kernel.tobytes(), resampling.kernel.shape)
        if len(taps) > MAXIMUM_TAPS or x.shape[1] is None or x.shape[2] is None:
            return reference.upfirdn2d(x, resampling)
        out_height, out_width = resampling.output_size(x.shape[1], x.shape[2])

        @tf.custom_gradient
        def apply(x):
            y = self._library.gansformer_upfirdn2d(
                x=x,
                taps=taps,
                kernel_height=resampling.kernel.shape[0],
                kernel_width=resampling.kernel.shape[1],
                separable=separable,
                up=resampling.up,
                down=resampling.down,
                padding=resampling.padding,
                out_height=out_height,
                out_width=out_width,
            )
            adjoint = _adjoint(resampling, x.shape[1:3], (out_height, out_width))
            return y, lambda dy: self.upfirdn2d(dy, adjoint)

        return apply(x)

    def bias_act(
        self,
        x: tf.Tensor,
        bias: tf.Tensor | None,
        *,
        activation: str,
        alpha: float,
        gain: float,
        clamp: float | None,
    ) -> tf.Tensor:
        """Return clip(gain * activation(x + bias), -clamp, clamp).  x: [..., C], bias: [C]."""
        settings = _Settings(activation, alpha, gain, clamp)
        if settings.is_piecewise_linear and (gain <= 0 or alpha < 0):  # y would not tell the slope
            return reference.bias_act(x, bias, **dataclasses.asdict(settings))
        bias = _none() if bias is None else tf.cast(bias, tf.float32)
        return _BiasAct(self._library, settings).value(x, bias)

    def scale_channels(self, x: tf.Tensor, scale: tf.Tensor) -> tf.Tensor:
        """Return x * scale.  x: [B, ..., C], scale: [B, C]."""
        if self._has_cuda:  # this kernel is for the CPU only
            return reference.scale_channels(x, scale)
        return native_cpu.scale_channels(self._library, x, tf.cast(scale, tf.float32))

    def finish_layer(self, x: tf.Tensor, epilogue: Epilogue, scale: tf.Tensor | None) -> tf.Tensor:
        """Return gain * activation(x * scale + noise + bias)."""
        if scale is not None:
            if epilogue.has_slopes and not self._has_cuda:
                scale = tf.cast(scale, tf.float32)
                return native_cpu.scale_channels(self._library, x, scale, epilogue)
            x = self.scale_channels(x, scale)
        return epilogue.apply(x, self.bias_act)

    def conv3x3(self, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Cross-correlate.  x: [B, H, W, I], weights: [3, 3, I, O] -> [B, H, W, O]."""
        if not self._can_convolve(x, weights):
            return reference.conv3x3(x, weights)
        return native_cpu.conv3x3(self._library, x, tf.cast(weights, tf.float32))

    def sample_conv2d(self, x: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
        """Cross-correlate with the sample's own weights.  [B, H, W, I] -> float32 [B, H, W, O]."""
        if self._has_cuda or not native_cpu.can_convolve_samples(weights):
            return reference.sample_conv2d(x, weights)
        return native_cpu.sample_conv2d(self._library, x, weights)

    def strided_conv2d(self, x: tf.Tensor, weights: tf.Tensor, factor: int) -> tf.Tensor:
        """Cross-correlate, keeping every factor-th sample; no padding."""
        odd = all(size is not None and size % 2 and size > 1 for size in x.shape[1:3])
        if factor != 2 or not odd or not self._can_convolve(x, weights):
            return reference.strided_conv2d(x, weights, factor)
        weights = tf.cast(weights, tf.float32)
        return native_cpu.strided_conv3x3(self._library, x, weights, flipped=False)

    def transposed_conv2d(self, x: tf.Tensor, weights: tf.Tensor, factor: int) -> tf.Tensor:
        """Insert factor - 1 zeros between samples and correlate fully with `weights`."""
        if factor != 2 or not self._can_convolve(x, weights):
            return reference.transposed_conv2d(x, weights, factor)
        weights = tf.cast(weights, tf.float32)
        return native_cpu.transposed_conv3x3(self._library, x, weights, flipped=True)

    def attention_probabilities(self, x, weights, row_scores, column_scores, *, heads: int):
        """Return the softmax of x weights^T + row_scores + column_scores over the targets."""
        arguments = (x, weights, row_scores, column_scores)
        if self._has_cuda or weights.shape[1] // heads > native_cpu.MAXIMUM_TARGETS:
            return reference.attention_probabilities(*arguments, heads=heads)
        return native_cpu.attention_probabilities(self._library, *arguments, heads)

    def attention_gain(
        self,
        *arguments: tf.Tensor,
        heads: int,
        normalize: bool,
        epilogue: Epilogue | None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Return x scale * ([probabilities | 1] values), normalised if asked; the probabilities."""
        options = {"heads": heads, "normalize": normalize}
        if epilogue is not None and not epilogue.has_slopes:
            y, shares = self.attention_gain(*arguments, **options, epilogue=None)
            return epilogue.apply(y, self.bias_act), shares
        options["epilogue"] = epilogue
        targets = arguments[1].shape[1] // heads
        if self._has_cuda or targets > native_cpu.MAXIMUM_TARGETS:
            return reference.attention_gain(*arguments, **options)
        return native_cpu.attention_gain(self._library, *arguments, **options)

    def _can_convolve(self, x: tf.Tensor, weights: tf.Tensor) -> bool:
        """Whether a native 3x3 convolution (CPU) takes these and is faster than TensorFlow's."""
        fits = weights.shape[:2] == [3, 3] and native_cpu.can_convolve(weights)
        pays = x.dtype != tf.bfloat16 or not native_cpu.has_matrix_tiles()
        return fits and pays and not self._has_cuda


@dataclasses.dataclass(frozen=True)
class _Settings:
    activation: str
    alpha: float
    gain: float
    clamp: float | None

    @property
    def is_piecewise_linear(self) -> bool:
        """Whether y alone tells the slope, by its sign."""
        return self.activation in ("linear", "relu", "lrelu")

    @property
    def attributes(self) -> dict:
        return {
            "activation": find_activation(self.activation).code,
            "alpha": self.alpha,
            "gain": self.gain,
            "clamp": -1.0 if self.clamp is None else self.clamp,
        }


class _BiasAct:
    """bias_act and its derivatives for fixed settings, all vectors [C] float32 or empty.

    With u = x + bias: value y(u), slope y'(u) * v and curvature y''(u) * v * dy; the latter two
    come with their sums over all axes but the last, which is what belongs to the bias.
    """

    def __init__(self, library, settings: _Settings):
        self._library = library
        self._settings = settings

    def value(self, x: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
        """Return y(x + bias)."""

        @tf.custom_gradient
        def apply(x, bias):
            y = self._library.gansformer_bias_act(x=x, bias=bias, **self._settings.attributes)

            def gradient(dy):
                if not self._settings.is_piecewise_linear:
                    return self._smooth_slope(dy, _none(), x, bias, want=_is_given(bias))
                is_constant = self._settings.activation == "linear" and self._settings.clamp is None
                # A constant slope needs no y; dy takes its place as it is in the cache already.
                known = tf.stop_gradient(dy if is_constant else y)
                return self._linear_slope(dy, _none(), known, want=_is_given(bias))

            return y, gradient

        return apply(x, bias)

    def _linear_slope(self, v, v_shift, y, *, want: bool):
        """Slope times v + v_shift where y itself tells the slope, and its sums if wanted."""

        @tf.custom_gradient
        def apply(v, v_shift):
            result = self._gradient_kernel(v, v_shift, y, _none(), want)
            return result, lambda w, w_shift: self._linear_slope(
                w, w_shift, y, want=_is_given(v_shift)
            )

        return apply(v, v_shift)

    def _smooth_slope(self, v, v_shift, x, bias, *, want: bool):
        """Slope at x + bias times v + v_shift, and its sums if wanted."""

        @tf.custom_gradient
        def apply(v, v_shift, x, bias):
            def gradient(w, w_shift):
                dy = v + tf.cast(v_shift, v.dtype) if _is_given(v_shift) else v
                dv, dv_shift = self._smooth_slope(w, w_shift, x, bias, want=_is_given(v_shift))
                dx, dbias = self._curvature(w, w_shift, dy, x, bias)
                return dv, dv_shift, dx, dbias

            return self._gradient_kernel(v, v_shift, x, bias, want), gradient

        return apply(v, v_shift, x, bias)

    def _curvature(self, v, v_shift, dy, x, bias):
        """Curvature at x + bias times (v + v_shift) * dy, and its sums if there is a bias."""

        @tf.custom_gradient
        def apply(*inputs):
            v, v_shift, dy, x, bias = inputs
            du, db = self._library.gansformer_bias_act_curvature(
                v=v,
                v_shift=v_shift,
                dy=dy,
                x=x,
                bias=bias,
                want_bias_gradient=_is_given(bias),
                **self._settings.attributes,
            )

            def gradient(*upstream):
                with tf.GradientTape() as tape:
                    tape.watch(inputs)
                    result = self._reference_curvature(*inputs)
                return tape.gradient(result, inputs, upstream, unconnected_gradients="zero")

            return (du, db), gradient

        return apply(v, v_shift, dy, x, bias)

    def _gradient_kernel(self, v, v_shift, known, bias, want: bool):
        dx, db = self._library.gansformer_bias_act_gradient(
            dy=v,
            dy_shift=v_shift,
            known=known,
            bias=bias,
            want_bias_gradient=want,
            **self._settings.attributes,
        )
        return dx, db

    def _reference_curvature(self, v, v_shift, dy, x, bias):
        u, settings = tf.cast(x, tf.float32), self._settings
        u = u + bias if _is_given(bias) else u
        with tf.GradientTape() as outer:
            outer.watch(u)
            with tf.GradientTape() as inner:
                inner.watch(u)
                y = reference.bias_act(u, None, **dataclasses.asdict(settings))
            slope = inner.gradient(y, u)
        factor = outer.gradient(slope, u, unconnected_gradients="zero") * tf.cast(dy, tf.float32)
        v = tf.cast(v, tf.float32)
        du = factor * (v + v_shift if _is_given(v_shift) else v)
        axes = list(range(x.shape.rank - 1))
        return tf.cast(du, x.dtype), tf.reduce_sum(du, axes) if _is_given(bias) else _none()


def _none() -> tf.Tensor:
    """The empty vector by which the kernels know that there is nothing to add."""
    return tf.zeros([0], tf.float32)


def _is_given(vector: tf.Tensor) -> bool:
    return vector.shape[0] != 0


@lru_cache(maxsize=256)
def _flipped_taps(content: bytes, shape: tuple[int, int]) -> tuple[list[float], bool]:
    """The flipped filter as the kernels want it, and whether it is column + row of a product."""
    kernel = np.frombuffer(content, np.float32).reshape(shape)[::-1, ::-1].astype(np.float64)
    columns, sizes, rows = np.linalg.svd(kernel)
    if len(sizes) > 1 and sizes[1] > 1e-6 * sizes[0]:
        return [float(tap) for tap in kernel.ravel()], False
    scale = np.sqrt(sizes[0]) * np.sign(columns[:, 0].sum() or 1.0)  # both factors positive
    factors = np.concatenate([columns[:, 0] * scale, rows[0] * scale])
    return [float(tap) for tap in factors], True


def _adjoint(resampling: Resampling, in_size, out_size) -> Resampling:
    """The upfirdn2d that sends a gradient of the output (`out_size`) back to the input."""
    padding = []
    for axis in range(2):
        taps, before = resampling.kernel.shape[axis], resampling.padding[2 * axis]
        span = (in_size[axis] - 1) * resampling.up[axis] + 1  # without trailing zeros
        padding += [taps - 1 - before, span - out_size[axis] * resampling.down[axis] + before]
    return Resampling(
        kernel=np.ascontiguousarray(resampling.kernel[::-1, ::-1]),
        up=resampling.down,
        down=resampling.up,
        padding=tuple(padding),
    )
