"""Snapshots and grids at given numbers of images."""

import pytest

from scripts.train import main as train


@pytest.mark.slow
def test_milestones_are_written_and_kept(small_arguments, tmp_path):
    """Batches of 4: the first one at or after each milestone, besides the newest snapshot."""
    train(
        [
            *small_arguments,
            "--kimg",
            "0.2",
            "--set",
            "output.milestones_kimg=[0.03,0.064]",
            "output.keep_snapshots=1",
            "output.snapshot_kimg=0.02",
            "output.grid_kimg=9",
            "output.checkpoint_minutes=9",
        ]
    )
    (run,) = (path.parent for path in tmp_path.glob("*/config.yaml"))
    names = ["000000.032", "000000.064", "000000.200"]
    assert sorted(path.name for path in (run / "snapshots").iterdir()) == names
    grids = sorted(path.name for path in (run / "samples").glob("fakes-0*"))
    assert grids == [f"fakes-{name}.png" for name in names]
