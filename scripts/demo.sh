#!/usr/bin/env bash
# Trains a small GANformer on real images and generates some: about ten minutes on two cores.
# DEMO_MINUTES=3 ./scripts/demo.sh trains for a shorter time.
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
requirements=requirements-demo.txt  # with the pretrained network that the discriminator looks through
source "$project/scripts/setup.sh"
data="$project/data/demo64"
run="$project/runs/demo64"
seconds=$((${DEMO_MINUTES:-8} * 60))

# bfloat16 is several times as fast where the processor has instructions for it, and slower elsewhere.
precision=float32
if grep -qs amx_bf16 /proc/cpuinfo; then precision=bfloat16; fi

echo "== preparing 1,000 Cartoon Set images"
"$python" "$project/scripts/prepare_data.py" demo --out "$data" --resolution 64
echo "== training a duplex GANformer in $precision, at most $seconds seconds"
timeout --signal=TERM --kill-after=120 "$seconds" \
  "$python" "$project/scripts/train.py" --config "$project/configs/demo.yaml" \
  --data "$data" --run "$run" --precision "$precision" || [ $? -eq 124 ]
echo "== generating images with the network trained just now, and with the one that comes with the project"
"$python" "$project/scripts/generate.py" --model "$run" --out "$run/demo" --grid --num 32 --psi 0.8 \
  --attention
"$python" "$project/scripts/generate.py" --model cartoonset64-duplex-cpu --out "$run/shipped" \
  --grid --num 32 --psi 0.7 --attention
echo "trained just now, at most $seconds seconds:        $run/demo/grid.png"
echo "trained for hours (docs/cartoonset.md): $run/shipped/grid.png"
