"""Worker processes, and what becomes of them where they cannot be."""

import datasets.worker_pool
from datasets.conversion import Task, convert_all
from datasets.preparation import Preparation
from datasets.sources.folder import Folder
from datasets.worker_pool import convert_in_order


def test_where_no_processes_can_be_started_one_does_the_work(pictures, monkeypatch, capsys):
    """As without /dev/shm, where semaphores lie."""

    def refuse(*_arguments, **_options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(datasets.worker_pool, "ProcessPoolExecutor", refuse)
    choices = Preparation(resolution=256)  # several portions
    tasks = [Task(item.content, None) for item in Folder(pictures).items()]
    found = list(convert_in_order(tasks, choices, workers=2))
    assert found == convert_all(tasks, choices)
    assert "working in one process" in capsys.readouterr().err
