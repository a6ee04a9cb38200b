#!/usr/bin/env bash
# Sets up a virtual environment and runs the tests. Arguments go to pytest: ./scripts/test.sh -m slow
project="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
requirements=requirements-test.txt
source "$project/scripts/setup.sh"
cd "$project"
"$python" -m ruff check .
"$python" -m ruff format --check --quiet .
if [ $# -eq 0 ]; then set -- -m "not slow"; fi
exec "$python" -m pytest "$@"
