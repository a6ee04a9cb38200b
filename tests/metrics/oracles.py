"""Networks made of Keras' layers, and resizing by its definition, to compare ours with."""

import keras
import numpy as np

from metrics.networks.inception_graph import kernel_shapes


def resize_by_definition(images, size):
    """TF1's bilinear resize: pixel i of the result is at i * H / size of the source."""
    images = np.asarray(images, np.float64)
    for axis in (1, 2):
        length = images.shape[axis]
        position = np.arange(size) * length / size
        low = np.floor(position).astype(int)
        high = np.minimum(low + 1, length - 1)
        weight = (position - low).reshape([-1 if i == axis else 1 for i in range(4)])
        images = images.take(low, axis) * (1 - weight) + images.take(high, axis) * weight
    return images


def keras_inception(weights):
    """keras.applications' InceptionV3 with the pool of its last block made a maximum."""
    base = keras.applications.InceptionV3(
        weights=None, include_top=False, input_shape=(299, 299, 3)
    )
    pools = [
        layer.name for layer in base.layers if isinstance(layer, keras.layers.AveragePooling2D)
    ]

    def change(layer):
        if layer.name == pools[-1]:
            return keras.layers.MaxPooling2D(3, strides=1, padding="same", name=layer.name)
        return layer.__class__.from_config(layer.get_config())

    model = keras.models.clone_model(base, clone_function=change)
    layers = [layer for layer in model.layers if layer.weights]
    number = lambda layer: int(layer.name.rpartition("_")[2]) if layer.name[-1].isdigit() else 0  # noqa: E731
    kinds = (keras.layers.Conv2D, keras.layers.BatchNormalization)
    convolutions, norms = (
        sorted((layer for layer in layers if isinstance(layer, kind)), key=number) for kind in kinds
    )
    for name, convolution, norm in zip(kernel_shapes(), convolutions, norms, strict=True):
        convolution.set_weights([weights[f"{name}/conv2d_params"]])
        parts = ("beta", "moving_mean", "moving_variance")
        norm.set_weights([weights[f"{name}/batchnorm/{part}"] for part in parts])
    return model


def keras_efficientnet(weights, size=224, blocks=()):
    """EfficientNet-Lite0 as published: (kernel, stride, expansion, channels, repeats).

    Gives the pooled features, or what these blocks give.
    """
    table = [
        (3, 1, 1, 16, 1),
        (3, 2, 6, 24, 2),
        (5, 2, 6, 40, 2),
        (3, 2, 6, 80, 3),
        (5, 1, 6, 112, 3),
        (5, 2, 6, 192, 4),
        (3, 1, 6, 320, 1),
    ]
    pending, outputs = [], []

    def normalise(x, convolution, source, norm):
        order = (2, 3, 0, 1) if "depthwise" in source else (2, 3, 1, 0)
        batch_norm = keras.layers.BatchNormalization(epsilon=1e-3)
        parts = ("weight", "bias", "running_mean", "running_var")
        x = batch_norm(convolution(x))
        pending.append((convolution, [weights[f"{source}.weight"].transpose(order)]))
        pending.append((batch_norm, [weights[f"{norm}.{part}"] for part in parts]))
        return x

    def convolve(channels, kernel=1, stride=1):
        return keras.layers.Conv2D(channels, kernel, stride, padding="same", use_bias=False)

    inputs = keras.Input([size, size, 3])
    x = keras.layers.ReLU(6)(normalise(inputs, convolve(32, 3, 2), "_conv_stem", "_bn0"))
    number = 0
    for kernel, stride, expansion, channels, repeats in table:
        for repeat in range(repeats):
            prefix, y, step = f"_blocks.{number}.", x, stride if repeat == 0 else 1
            if expansion > 1:
                wide = convolve(x.shape[-1] * expansion)
                y = normalise(y, wide, f"{prefix}_expand_conv", f"{prefix}_bn0")
                y = keras.layers.ReLU(6)(y)
            depthwise = keras.layers.DepthwiseConv2D(kernel, step, padding="same", use_bias=False)
            y = normalise(y, depthwise, f"{prefix}_depthwise_conv", f"{prefix}_bn1")
            project = convolve(channels)
            y = keras.layers.ReLU(6)(y)
            y = normalise(y, project, f"{prefix}_project_conv", f"{prefix}_bn2")
            x = x + y if repeat else y
            outputs.append(x)
            number += 1
    x = keras.layers.ReLU(6)(normalise(x, convolve(1280), "_conv_head", "_bn1"))
    pooled = keras.layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, [outputs[block] for block in blocks] or pooled)
    for layer, values in pending:
        layer.set_weights(values)
    return model
