"""Whole small training runs of the official program, repeated with its random draws."""

import numpy as np
import pytest
import tensorflow as tf

from gansformer.official import discriminator_config, generator_config
from gansformer.variables import variables_by_name
from tests.golden_files import assign, load, relative_error, to_nhwc
from training.config import DataConfig, RunConfig, TrainingConfig
from training.randomness import Draws, Randomness
from training.state import TrainState
from training.step import TrainingStep

RUNS = ["stylegan2_mixing", "stylegan2_pathreg", "duplex", "simplex_hinge_clip"]
LETTER = {"generator": "g", "discriminator": "d", "path length": "pl"}


class GivenDraws(Randomness):
    """Hands out the draws of a golden file instead of its own.

    They change from call to call, which a traced graph would not see: for eager execution.
    """

    def __init__(self, generator, arrays, probability):
        super().__init__(generator, seed=0, style_mixing=0.0, component_mixing=0.0)
        self.arrays, self.probability, self.prefix = arrays, probability or 0.0, ""

    def draw(self, phase, index, first):
        letter, layers = LETTER[phase], self.generator.layers
        z = tf.constant(self.arrays[f"{self.prefix}/z{letter}"])
        second, cutoff = z, layers
        if self.probability and letter != "pl":
            second = tf.constant(self.arrays[f"{self.prefix}/z{letter}2"])
            if self.arrays[f"{self.prefix}/u{letter}"] < self.probability:
                cutoff = int(self.arrays[f"{self.prefix}/c{letter}"])
        noise = self.generator.synthesis_network.stored_noise(len(z))
        components = self.generator.config.latents
        both = tf.concat([z, second], axis=0)
        return Draws(both, tf.constant(cutoff), tf.constant(components), noise, None, None)

    def stream(self, phase, index):
        return {"path length/image": self, "regularizer": None}[phase]

    def normal(self, shape):
        return tf.constant(to_nhwc(self.arrays[f"{self.prefix}/npl"]))


def make_config(settings) -> RunConfig:
    path_length = settings["path_length_regularisation"]
    return RunConfig(
        generator_config(settings["kwargs_G"]),
        discriminator_config(settings["kwargs_D"]),
        DataConfig(resolution=settings["kwargs_G"]["resolution"]),
        TrainingConfig(
            batch_size=settings["batch_size"],
            batch_per_device=settings["batch_gpu"],
            generator_loss=settings["g_loss"],
            discriminator_loss=settings["d_loss"],
            regularizer=settings["d_reg"],
            gamma=settings["gamma"],
            regularizer_interval=settings["d_reg_interval"],
            path_length_weight=2.0 if path_length else 0.0,
            path_length_interval=settings["g_reg_interval"],
            generator_lr=settings["base_lr_G"],
            discriminator_lr=settings["base_lr_D"],
            clip=settings["clip"],
            ema_kimg=settings["smoothing_kimg"],
        ),
    )


@pytest.mark.parametrize("run", RUNS)
def test_training_run(run, eager):
    settings, arrays = load(f"train_{run}")
    state = TrainState(make_config(settings), channels=3, label_dim=0)
    for name, network in state.networks().items():
        assign(network, arrays, f"init/{name}/")
    sampler = GivenDraws(state.generator, arrays, settings["style_mixing_probability"])
    step = TrainingStep(make_config(settings), state, sampler)

    def reals(iteration):
        for micro_batch in range(settings["rounds"]):
            sampler.prefix = f"step{iteration}/round{micro_batch}"
            images = to_nhwc(arrays[f"{sampler.prefix}/reals"])
            yield (images + 1) * 127.5, tf.zeros([len(images), 0])

    for iteration in range(settings["iterations"]):
        check_log(step.run_minibatch(reals(iteration)), settings["log"], iteration)
        if f"after_iter{iteration}/D/Output/bias" in arrays:
            bound = 2e-5 if iteration == 0 else 1e-4
            check_variables(state, arrays, f"after_iter{iteration}/", bound, settings)


def check_log(statistics, log, iteration):
    keys = {"G": "G_loss", "G_reg": "G_reg", "D": "D_loss", "D_reg": "D_reg"}
    phases = [
        (entry[key], entry[f"{phase}_grad_norm"])
        for entry in log
        if entry["iteration"] == iteration
        for phase, key in keys.items()
        if f"{phase}_grad_norm" in entry
    ]
    for ours, (loss, norm) in zip(statistics, phases, strict=True):
        values = {name.split("/")[0]: value for name, value in ours.items()}
        np.testing.assert_allclose(values["loss"], loss, rtol=1e-4)
        np.testing.assert_allclose(values["norm"], norm, rtol=1e-4)


def check_variables(state, arrays, prefix, bound, settings):
    updates = int(state.generator_optimizer.step.numpy())
    for network_name, network in state.networks().items():
        for name, variable in variables_by_name(network).items():
            value = arrays[f"{prefix}{network_name}/{name}"]
            allowed = bound
            if has_zero_gradient(name, settings["kwargs_G"].get("kmeans", False)):
                allowed = settings["base_lr_G"] * updates
            if value.size:
                assert np.abs(variable.numpy() - value).max() < allowed, (network_name, name)


def has_zero_gradient(name: str, kmeans: bool) -> bool:
    """Whether Adam only blows up rounding noise here (golden README, "How to compare")."""
    is_compared_by_keys = not (kmeans and "AttLayer_l2n" in name)
    return is_compared_by_keys and name.endswith(("bias_key", "bias_to_pos"))


@pytest.mark.parametrize("name", ["path_length_stylegan2", "path_length_duplex"])
def test_path_length(name):
    from gansformer.generator import Generator
    from gansformer.official import image_settings
    from training.randomness import synthesize
    from training.regularizers import path_lengths

    settings, arrays = load(name)
    generator = Generator(
        generator_config(settings["kwargs"]), **image_settings(settings["kwargs"])
    )
    assign(generator, arrays, "vars/")
    sampler = GivenDraws(generator, {"/zpl": arrays["in/pl_latents"]}, None)
    image_noise = tf.constant(to_nhwc(arrays["in/pl_noise_unscaled"]))
    variables = {k: v for k, v in variables_by_name(generator).items() if v.trainable}
    mean = tf.constant(0.0)
    for evaluation in (1, 2):
        with tf.GradientTape() as tape:
            w = generator.mapping(arrays["in/pl_latents"])
            draws = sampler.draw("path length", None, None)
            lengths = path_lengths(lambda w, d=draws: synthesize(generator, w, d), w, image_noise)
            mean += settings["pl_decay"] * (tf.reduce_mean(lengths) - mean)
            penalty = settings["pl_weight"] * tf.square(lengths - mean)
            loss = tf.reduce_mean(penalty)
        assert relative_error(lengths, arrays["out/pl_lengths"]) < 1e-4
        assert relative_error(penalty, arrays[f"out/reg_step{evaluation}"].reshape(-1)) < 1e-3
        assert relative_error(mean, arrays[f"out/pl_mean_after_step{evaluation}"]) < 1e-4
        if evaluation == 1:
            gradients = tape.gradient(loss, variables, unconnected_gradients="zero")
    largest = max(np.abs(v).max() for k, v in arrays.items() if k.startswith("grad/") and v.size)
    for key, expected in arrays.items():
        if key.startswith("grad/") and expected.size:
            error = np.abs(gradients[key.removeprefix("grad/")].numpy() - expected).max()
            assert error < 1e-3 * np.abs(expected).max() + 1e-5 * largest, key
