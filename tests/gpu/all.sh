#!/usr/bin/env bash
# What this project does on the GPUs of this machine, as a page for docs/gpu.md; at most 12 minutes.
# Arguments: the page (gpu.md here). PYTHON: the Python with TensorFlow.
set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
page=${1:-gpu.md}
python=${PYTHON:-python3}
end=$((SECONDS + 720))

section() { # section TITLE SECONDS COMMAND...: its output goes to the page, until its time is over
  local title=$1 seconds=$2 left=$((end - SECONDS))
  shift 2
  [ "$seconds" -gt "$left" ] && seconds=$left
  [ "$seconds" -lt 5 ] && { printf '## %s\n\nNo time was left.\n\n' "$title" >>"$page"; return; }
  echo "== $title"
  {
    printf '## %s\n\n`%s`\n\n```\n' "$title" "$*"
    timeout --signal=TERM --kill-after=20 "$seconds" "$@" 2>&1 | tail -n 40
    printf '```\n\nstatus %s\n\n' "${PIPESTATUS[0]}"
  } >>"$page"
}

printf '# %s\n\n' "$(nvidia-smi -L 2>/dev/null | head -n 1)" >"$page"
section "Diagnosis" 60 "$python" scripts/doctor.py
section "Networks and ops against golden numbers, TF32 off" 240 \
  env GANSFORMER_TEST_GPUS=1 "$python" -m pytest -m gpu -v --maxfail=20
section "The same bytes after kills, TF_DETERMINISTIC_OPS=1" 90 env GANSFORMER_TEST_GPUS=1 \
  TF_DETERMINISTIC_OPS=1 "$python" -m pytest -q -m slow tests/training/run/test_kill.py -k twenty
if command -v compute-sanitizer >/dev/null; then # of our kernels; doctor.py compares ops in a new cache
  cache=$(mktemp -d)
  for tool in memcheck racecheck; do
    rm -f "$cache"/ops/*/checked.json
    section "compute-sanitizer, $tool" 100 env GANSFORMER_CACHE="$cache" compute-sanitizer --tool $tool \
      --kernel-name kernel_substring=gansformer --error-exitcode 9 "$python" scripts/doctor.py
  done
  rm -r "$cache"
fi
three="cartoonset64-stylegan2 cartoonset64-simplex cartoonset64-duplex"
bench() { # bench TITLE OPTIONS...
  local title=$1
  shift
  # shellcheck disable=SC2086
  section "Speed: $title" 90 "$python" scripts/bench.py --config $three --batch 32 --rounds 2 \
    --devices gpu --what train "$@"
}
bench "float32 without TF32" --tf32 off
bench "float32 with TF32" --tf32 on
bench "bfloat16" --precision bfloat16
bench "mixed_float16" --precision mixed_float16
bench "bfloat16 with XLA" --precision bfloat16 --xla
section "Kernels" 40 "$python" scripts/bench.py --config cartoonset64-duplex --what ops --devices gpu
echo "wrote $page"
