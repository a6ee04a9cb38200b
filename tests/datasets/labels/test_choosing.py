"""What --labels may say."""

import pytest

from datasets.labels.choosing import choose_labeller
from datasets.sources.folder import Folder
from dnnlib.errors import UserError


def test_labels_that_the_source_lacks(flat):
    for wanted, words in {"stored": "no labels of its own", "folders": "several folders"}.items():
        with pytest.raises(UserError, match=words):
            choose_labeller(wanted, Folder(flat))
