"""What a precision costs is told where it gains nothing, and no hint recommends it."""

import pytest
import tensorflow as tf

from dnnlib import computing
from dnnlib.computing import ComputingOptions, find_drawback
from dnnlib.errors import UserError
from scripts.doctor import main as doctor
from training.batch_size import memory_errors
from training.config import RunConfig, TrainingConfig

AVX2 = {"fma", "avx", "avx2", "f16c"}
PROCESSORS = [
    (AVX2, True, True),
    (AVX2 | {"avx512f", "avx512_bf16"}, False, True),
    (AVX2 | {"avx512f", "amx_bf16", "avx512_fp16"}, False, False),
    ({"asimd", "asimdhp", "bf16"}, False, False),
    (set(), False, False),  # macOS does not say
]


@pytest.mark.parametrize(("flags", "bfloat16", "float16"), PROCESSORS)
def test_notes(monkeypatch, capsys, flags, bfloat16, float16):
    monkeypatch.setattr(computing, "processor_flags", lambda: flags)
    for precision, slow in (("bfloat16", bfloat16), ("mixed_float16", float16), ("float32", False)):
        ComputingOptions("cpu", precision).apply()
        said = capsys.readouterr().err
        assert said.count("\n") == slow and (f"--precision {precision}" in said) == slow
    doctor([])
    shown = capsys.readouterr().out
    assert ("bfloat16: this processor has no instructions" in shown) == bfloat16


@pytest.mark.parametrize(("flags", "slow"), [(AVX2, True), (AVX2 | {"amx_bf16"}, False)])
def test_no_hint_where_it_is_slow(monkeypatch, flags, slow):
    monkeypatch.setattr(computing, "processor_flags", lambda: flags)
    config = RunConfig(training=TrainingConfig(batch_size=1, batch_per_device=1))
    with pytest.raises(UserError, match="fewer channels") as error, memory_errors(config, 1):
        raise tf.errors.ResourceExhaustedError(None, None, "full")
    assert ("bfloat16" in str(error.value)) != slow


def test_an_old_gpu(monkeypatch):
    for capability, slow in (((7, 5), True), ((8, 0), False)):
        details = {"device_name": "GPU", "compute_capability": capability}
        monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["gpu"])
        monkeypatch.setattr(
            tf.config.experimental, "get_device_details", lambda gpu, found=details: found
        )
        assert bool(find_drawback("bfloat16")) == slow and not find_drawback("mixed_float16")
