"""Made cartoonset-64.zip:  python -m datasets.demo.make cartoonset10k-256.zip

Takes every tenth image of the Cartoon Set 10k (sorted by name), resizes it to 64x64 (Lanczos)
and stores it as lossless WebP.
"""

import io
import sys
import zipfile
from pathlib import Path

from datasets.demo import DEMO_ARCHIVE
from datasets.shaping import shape_image
from datasets.sources.archive import ZipArchive
from dnnlib.files import atomic_file
from dnnlib.image_files import convert, decode

EVERY = 10
RESOLUTION = 64


def make(source: Path, archive: Path) -> int:
    """Write the small archive and return the number of its images."""
    items = list(ZipArchive(source).items())[::EVERY]
    with atomic_file(archive) as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as small:
        for item in items:
            image = convert(decode(item.content.load()), channels="rgb", alpha="drop")
            image = shape_image(
                image, resolution=RESOLUTION, crop="square", ratio=None, filter="lanczos"
            )
            content = io.BytesIO()
            image.save(content, "WEBP", lossless=True, quality=100, method=6)
            entry = zipfile.ZipInfo(Path(item.name).with_suffix(".webp").as_posix())
            small.writestr(entry, content.getvalue())
    return len(items)


if __name__ == "__main__":
    print(make(Path(sys.argv[1]), DEMO_ARCHIVE), "images in", DEMO_ARCHIVE)
