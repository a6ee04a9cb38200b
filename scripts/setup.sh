# Sourced by demo.sh and test.sh: makes .venv in the project, once, and sets `python` to its Python.
# Needs $project, and the name of a requirements file in $requirements.
set -euo pipefail
venv="$project/.venv"
python="$venv/bin/python"
stamp="$venv/installed-$requirements"
if [ ! -e "$stamp" ] || [ "$project/$requirements" -nt "$stamp" ]; then
  base="${PYTHON:-python3}"
  if ! "$base" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
    echo "error: Python 3.10 or newer is needed; set PYTHON=/path/to/python3" >&2
    exit 2
  fi
  echo "setting up $venv (once; this downloads TensorFlow)"
  [ -x "$python" ] || "$base" -m venv "$venv"
  "$python" -m pip install --quiet --upgrade pip
  "$python" -m pip install --quiet --requirement "$project/$requirements"
  if [ -e /proc/driver/nvidia/version ] || [ -e /usr/lib/wsl/lib/libcuda.so.1 ]; then
    echo "there is an NVIDIA driver: installing CUDA's libraries too"
    "$python" -m pip install --quiet "$(sed -n 's/^tensorflow>/tensorflow[and-cuda]>/p' \
      "$project/requirements.txt")"
  fi
  touch "$stamp"
fi
