"""Event files: every point once."""

import numpy as np

from tests.training.event_files import read_events
from training.run.tensorboard import TensorBoard


def write(run, steps) -> None:
    board = TensorBoard(run / "tensorboard")
    for step in steps:
        board.write_scalars({"loss/G": step / 2}, step)
        if step % 3 == 0:
            board.write_image("fakes", np.full([4, 4, 3], step, np.uint8), step)


def cut_last_record(run) -> None:
    newest = sorted((run / "tensorboard").iterdir())[-1]
    with open(newest, "r+b") as file:
        file.truncate(newest.stat().st_size - 3)


def test_no_gaps_and_no_doubles(tmp_path):
    write(tmp_path / "whole", range(10))
    interrupted = tmp_path / "interrupted"
    write(interrupted, range(5))
    write(interrupted, range(2, 5))  # killed again before anything new
    write(interrupted, range(3, 8))
    cut_last_record(interrupted)  # killed in the middle of writing step 7
    write(interrupted, range(6, 10))
    events = read_events(interrupted)
    assert events == read_events(tmp_path / "whole")
    assert [step for tag, step, _ in events if tag == "loss/G"] == list(range(10))
    assert [step for tag, step, _ in events if tag == "fakes"] == [0, 3, 6, 9]
