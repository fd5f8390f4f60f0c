#!/usr/bin/env bash
# Builds the wheel and the source distribution, and tries each in a fresh environment, away from the repository.
#   bash tests/dist.sh [PYTHON ...]      default: python3
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
pythons=("$@")
[ ${#pythons[@]} -gt 0 ] || pythons=(python3)

"${pythons[0]}" -m venv "$work/build"
"$work/build/bin/python" -m pip install --quiet --disable-pip-version-check build
"$work/build/bin/python" -m build --outdir "$work/dist" "$root" >/dev/null
version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' "$root/factorgraph/__init__.py")
cp "$root/tests/smoke.py" "$work"
cd "$work"
for python in "${pythons[@]}"; do
    for file in dist/*.whl dist/*.tar.gz; do
        rm -rf env
        "$python" -m venv env
        env/bin/python -m pip install --quiet --disable-pip-version-check "$file"
        printf '%s: ' "$(basename "$file")"
        env/bin/python smoke.py "$version"
    done
done
