"""Who the processes of a job are, as TF_CONFIG says it."""

import pytest

from dnnlib.errors import UserError
from dnnlib.launching import make_tf_config
from dnnlib.workers import Workers, find_workers


@pytest.mark.parametrize(
    ("text", "workers"),
    [
        ("", Workers()),
        ('{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 0}}', Workers()),
        (make_tf_config(["a:1", "b:2"], 1), Workers(("a:1", "b:2"), 1)),
        (
            '{"cluster": {"worker": ["b:2"], "chief": ["a:1"]},'
            ' "task": {"type": "worker", "index": "0"}}',
            Workers(("a:1", "b:2"), 1),
        ),
    ],
)
def test_tf_config(text, workers, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    assert find_workers() == workers


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{cluster", "must be JSON, like"),
        ("[]", "must be JSON, like"),
        ('{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 2}}', "no"),
        ('{"cluster": {"worker": ["a:1", "b:2"], "ps": ["c:1"]}}', "jobs ps"),
    ],
)
def test_bad_tf_config(text, words, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(UserError, match=words):
        find_workers()
