"""Our configurations against the settings that the official program derives from command lines."""

import dataclasses
import json

import pytest

from dnnlib.errors import UserError
from gansformer.config import DiscriminatorConfig, GeneratorConfig
from gansformer.official import discriminator_config, generator_config
from tests.golden_files import GOLDEN
from training.config import DataConfig, RunConfig, TrainingConfig, load_config

COMMAND_LINES = json.loads((GOLDEN / "cli.json").read_text())


def settings_of(arguments: str) -> dict:
    """Return what the official program makes of a command line."""
    (found,) = [line for line in COMMAND_LINES if line["argv"] == arguments.split()]
    assert found["status"] == "ok"
    return found


def official_run(settings: dict) -> RunConfig:
    """Return official settings in our words; every one of those that shape a run is looked at."""
    generator, discriminator = settings["generator"], settings["discriminator"]
    training = settings["training"]
    assert generator["optimizer_kwargs"] == discriminator["optimizer_kwargs"]
    optimizer, schedule = generator["optimizer_kwargs"], training["sched_args"]
    assert set(schedule) == {"G_lrate", "D_lrate", "batch_size", "batch_gpu"}
    assert set(optimizer) == {"beta1", "beta2", "epsilon"}
    data = training["dataset_args"]
    return RunConfig(
        _network(GeneratorConfig, generator_config, generator),
        _network(DiscriminatorConfig, discriminator_config, discriminator),
        DataConfig(resolution=data["resolution"], mirror=training.get("mirror_augment", False)),
        TrainingConfig(
            kimg=float(training["total_kimg"]),
            batch_size=schedule["batch_size"],
            batch_per_device=schedule["batch_gpu"],
            generator_loss=_generator_loss(generator["loss_kwargs"]["loss_type"]),
            discriminator_loss=discriminator["loss_kwargs"]["loss_type"],
            regularizer=discriminator["loss_kwargs"]["reg_type"],
            gamma=float(discriminator["loss_kwargs"]["gamma"]),
            regularizer_interval=discriminator["reg_interval"],
            path_length_interval=generator["reg_interval"],
            style_mixing=generator["network_kwargs"]["style_mixing"],
            component_mixing=generator["network_kwargs"]["component_mixing"],
            generator_lr=schedule["G_lrate"],
            discriminator_lr=schedule["D_lrate"],
            beta1=optimizer["beta1"],
            beta2=optimizer["beta2"],
            epsilon=optimizer["epsilon"],
            clip=training.get("clip"),
        ),
    )


def _network(cls, translate, settings):
    config = translate(settings["network_kwargs"])
    return dataclasses.replace(config, **settings["other"]) if settings.get("other") else config


def _generator_loss(name: str) -> str:
    return "hinge_official" if name == "hinge" else name


def comparable(config: RunConfig) -> RunConfig:
    """Leave out what the official command line cannot choose: when which file is written."""
    return dataclasses.replace(config, output=RunConfig().output)


STUDY = ["training.kimg=25000", "data.resolution=256"]  # what the study's rows have of their own
PRESETS = [
    ("clevr256", "--train --ganformer-default --dataset clevr", []),
    ("bedrooms256", "--train --ganformer-default --dataset bedrooms", []),
    ("cityscapes256", "--train --ganformer-default --dataset cityscapes", []),
    ("ffhq256", "--train --ganformer-default --dataset ffhq", []),
    ("ffhq1024", "--train --ganformer-default --dataset ffhq", ["data.resolution=256"]),
    (
        "cityscapes1024x2048",
        "--train --ganformer-default --dataset cityscapes",
        [
            "data.resolution=256",
            "generator.crop_ratio=null",
            "discriminator.crop_ratio=null",
        ],
    ),
    ("cartoonset64-duplex", "--train --ganformer-default --dataset mydata", STUDY),
    (
        "cartoonset64-simplex",
        "--train --ganformer-default --dataset mydata",
        [*STUDY, "generator.attention=duplex"],
    ),
    (
        "cartoonset64-duplex-dattention",
        "--train --ganformer-default --dataset mydata",
        [*STUDY, "discriminator.attention=false"],
    ),
    (
        "cartoonset64-simplex-dattention",
        "--train --ganformer-default --dataset mydata",
        [*STUDY, "discriminator.attention=false", "generator.attention=duplex"],
    ),
    ("cartoonset64-stylegan2", "--train --baseline StyleGAN2 --dataset ffhq", STUDY),
    ("cartoonset64-gan", "--train --baseline GAN --dataset clevr", STUDY),
    ("cartoonset64-sagan", "--train --baseline SAGAN --dataset clevr", STUDY),
]


@pytest.mark.parametrize("name, arguments, differences", PRESETS, ids=[p[0] for p in PRESETS])
def test_configuration_is_the_official_preset(name, arguments, differences):
    """`differences` undoes what the configuration's comment says that it has of its own."""
    ours = comparable(load_config(name, differences))
    assert ours == official_run(settings_of(arguments))


def test_defaults_are_those_of_the_official_command_line():
    for arguments in ("--dataset mydata --train", "--train --baseline StyleGAN2 --dataset ffhq"):
        assert official_run(settings_of(arguments)) == RunConfig()


def test_k_gan_differs_from_the_official_preset_in_the_architecture_only():
    settings = settings_of("--train --baseline kGAN --dataset clevr")
    with pytest.raises(UserError, match="cannot merge.*use resnet or orig"):
        official_run(settings)
    settings = json.loads(json.dumps(settings))
    settings["generator"]["network_kwargs"]["architecture"] = "resnet"
    assert comparable(load_config("cartoonset64-kgan", STUDY)) == official_run(settings)


OPTIONS = [
    (
        "--train --ganformer-default --dataset clevr --gamma 7 --g-arch skip",
        "clevr256",
        ["training.gamma=7", "generator.architecture=skip"],
    ),
    (  # the official program does not see --gamma=7 and keeps the preset's 40; we treat both alike
        "--train --ganformer-default --dataset clevr --gamma=7",
        "clevr256",
        ["training.gamma=40"],
    ),
    (
        "--dataset mydata --train --transformer --components-num 8 --latent-size 256 --num-heads 2"
        " --integration both --normalize instance --use-pos --g-start-res 3 --g-end-res 6",
        None,
        [
            "generator.attention=simplex",
            "generator.integration=both",
            "generator.norm=instance",
            "generator.start_res=3",
            "generator.end_res=6",
            *(
                f"{network}.{option}"
                for network in ("generator", "discriminator")
                for option in (
                    "components=8",
                    "latent_size=256",
                    "heads=2",
                    "component_embedding=true",
                )
            ),
        ],
    ),
    (  # --mapping-layersnum 4 never reaches the official network, which has 8
        "--dataset mydata --train --mapping-layersnum 4 --mapping-lrmul 0.1 --mapping-dim 64"
        " --mapping-resnet --mapping-shared-dim 128 --attention-dropout 0.2 --style-mixing 0.5"
        " --component-mixing 0.3 --component-dropout 0.1",
        None,
        [
            "generator.mapping.lr_multiplier=0.1",
            "generator.mapping.dim=64",
            "generator.mapping.resnet=true",
            "generator.mapping.shared_dim=128",
            "generator.attention_dropout=0.2",
            "generator.component_dropout=0.1",
            "training.style_mixing=0.5",
            "training.component_mixing=0.3",
        ],
    ),
    (
        "--dataset mydata --train --batch-size 16 --batch-gpu 8 --gpus 0,1 --total-kimg 100"
        " --clip 5 --g-lr 0.001 --d-lr 0.003 --g-loss hinge --d-loss hinge --d-reg gp"
        " --g-reg-weight 0.5",
        None,
        [
            "training.batch_size=16",
            "training.batch_per_device=8",
            "training.kimg=100",
            "training.clip=5",
            "training.generator_lr=0.001",
            "training.discriminator_lr=0.003",
            "training.generator_loss=hinge_official",
            "training.discriminator_loss=hinge",
            "training.regularizer=gp",
        ],
    ),
    (
        "--dataset mydata --train --style False --local-noise 0 --fused-modconv no --latent-stem"
        " --tanh --d-arch skip",
        None,
        [
            "generator.style=false",
            "generator.noise=false",
            "generator.latent_stem=true",
            "generator.tanh=true",
            "discriminator.architecture=skip",
        ],
    ),
    ("--dataset mydata --train --style", None, []),
    (
        "--dataset mydata --train --resolution 512 --ratio 0.5",
        None,
        ["data.resolution=512", "generator.crop_ratio=0.5", "discriminator.crop_ratio=0.5"],
    ),
    (
        "--train --dataset cityscapes --resolution 512",
        None,
        ["data.resolution=512", "generator.crop_ratio=0.5", "discriminator.crop_ratio=0.5"],
    ),
    ("--train --dataset cityscapes", None, []),
    (
        "--dataset mydata --train --pos-type trainable --pos-dim 16 --pos-init normal"
        " --pos-directions-num 4 --train-images-num 500 --mirror-augment --num-threads 2",
        None,
        [
            "data.mirror=true",
            *(
                f"{network}.position_{option}"
                for network in ("generator", "discriminator")
                for option in ("type=trainable", "dim=16", "init=normal", "directions=4")
            ),
        ],
    ),
    (
        "--dataset mydata --train --transformer --components-num 1",
        None,
        ["generator.attention=simplex"],
    ),
]


@pytest.mark.parametrize("arguments, base, assignments", OPTIONS, ids=[o[0] for o in OPTIONS])
def test_options_mean_what_they_mean_officially(arguments, base, assignments, tmp_path):
    if base is None:
        base = tmp_path / "defaults.yaml"
        base.write_text("{}")
    ours = comparable(load_config(str(base), assignments))
    assert ours == official_run(settings_of(arguments))


def test_what_the_official_networks_refuse_is_refused():
    """Eight components start no iterative centroids on a 4x4 grid; officially they fail later."""
    settings = settings_of(
        "--dataset mydata --train --transformer --components-num 8 --d-transformer --d-ltnt2ltnt"
        " --d-img2img 4 --g-img2ltnt --g-ltnt2ltnt --kmeans --kmeans-iters 2 --iterative"
        " --ltnt-gate --img-gate"
    )
    with pytest.raises(UserError, match="16 components are needed"):
        official_run(settings)
    del settings["generator"]["network_kwargs"]["iterative"]
    config = official_run(settings)
    assert config.discriminator.attention and config.discriminator.component_to_component
    assert config.discriminator.image_to_image == 4
    assert config.generator.component_gate and config.generator.image_gate
    assert config.generator.image_to_component and config.generator.component_to_component
    assert (config.generator.attention, config.generator.kmeans_iterations) == ("duplex", 2)


def test_every_command_line_that_works_officially_is_compared():
    compared = {arguments for _, arguments, _ in PRESETS} | {
        arguments for arguments, _, _ in OPTIONS
    }
    compared |= {"--dataset mydata --train", "--train --baseline kGAN --dataset clevr"}
    left = [
        " ".join(line["argv"])
        for line in COMMAND_LINES
        if line["status"] == "ok" and "--train" in line["argv"]
        if " ".join(line["argv"]) not in compared
    ]
    assert len(left) == 1 and "--iterative" in left[0]  # refused above
