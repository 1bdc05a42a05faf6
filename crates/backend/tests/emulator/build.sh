#!/usr/bin/env bash
# Builds the emulator into a folder: build.sh FOLDER. The two libraries have the names that
# DwarfStar looks for; beside them lies what translates kernels.

set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
mkdir -p "$1"
cd "$1"
build() { g++ -std=c++17 -O2 -Wall -Wextra -ffp-contract=off -fPIC -shared "$@"; }
library_sources=()
for name in fibers meetings copies products launch driver; do
    library_sources+=("$here/$name.cpp")
done
build -Wl,-soname,libcuda.so.1 "${library_sources[@]}" -o libcuda.so.1 -ldl
build "$here/nvrtc.cpp" -o libnvrtc.so.12 -ldl
cp "$here/translate.py" "$here/prelude.h" "$here/machine.h" .
