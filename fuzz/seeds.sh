#!/bin/sh
# Fills fuzz/corpus (ignored by git) with files of golden/ and a few that no recorder writes.
set -eu
cd "$(dirname "$0")/.."
mkdir -p fuzz/corpus/safetensors_header fuzz/corpus/unpickler fuzz/corpus/modules_json
cp golden/models/modules/*.safetensors golden/models/variants/f16.safetensors fuzz/corpus/safetensors_header/
cp golden/models/modules/*.bin golden/models/variants/*.bin fuzz/corpus/unpickler/
printf '\200\002cos\nsystem\n(X\002\000\000\000lstR.' >fuzz/corpus/unpickler/os-system
printf '\200\002}q\000(X\001\000\000\000aK\001u.' >fuzz/corpus/unpickler/dictionary
python3 - <<'PYTHON'
"""One seed per distinct modules.json of the recorded cases."""
import json
import pathlib

cases = json.loads(pathlib.Path("golden/models/cases.json").read_text())
lists = {json.dumps(case["files"]["modules.json"]) for case in cases if "modules.json" in case["files"]}
for number, text in enumerate(sorted(lists)):
    pathlib.Path(f"fuzz/corpus/modules_json/{number}").write_text(text)
PYTHON
