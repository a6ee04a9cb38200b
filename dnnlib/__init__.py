import sys

if sys.platform == "win32":  # no fcntl, no resource; TensorFlow has no GPUs there either
    raise SystemExit("error: this runs on Linux and macOS; on Windows, use it inside WSL 2")
