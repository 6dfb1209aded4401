"""Records weights/: small files as PyTorch writes them, in forms that no other recorded model has, and their numbers.

torch.save is asked for every type, for tensors that are not row-major, for storages that are shared, and for what people put
beside tensors. The numbers in weights.json come from torch.load of the very file. The hostile files are made by the tests.
"""

import argparse
import json
import zipfile
from collections import OrderedDict
from pathlib import Path

import torch

FOLDER = Path(__file__).parent / "weights"


def values():
    """The dictionaries to save, by file name."""
    torch.manual_seed(5)
    matrix = torch.randn(4, 6)
    types = {str(dtype).removeprefix("torch."): (torch.randn(2, 3) * 40).to(dtype)
             for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8)}
    types |= {"uint8": torch.arange(250, 256, dtype=torch.uint8), "bool": torch.tensor([True, False, True])}
    layouts = {
        "row_major": matrix,
        "transposed": matrix.t(),
        "column": matrix[:, 2],
        "rows": matrix[1:3],
        "every_other": matrix[::2, 1::2],
        "cube": torch.arange(24, dtype=torch.float32).reshape(2, 3, 4).permute(2, 0, 1),
        "expanded": torch.arange(5, dtype=torch.float32).expand(70, 5),
        "expanded_scalar": torch.tensor(2.5).expand(3, 2),
        "windows": torch.arange(6, dtype=torch.float32).unfold(0, 3, 1),
        "scalar": torch.tensor(-1.25),
        "empty": torch.empty(0, 7),
        "one": torch.tensor([[[3.0]]]),
    }
    beside = OrderedDict(epoch=3, rate=0.5, note="größer", flags=(True, None, [1, 2]), size=torch.Size([2, 2]), dtype=torch.float16,
                         big=1 << 80, negative=-70000,
                         state_dict=OrderedDict([("weight", matrix), ("parameter", torch.nn.Parameter(matrix[0].clone()))]))
    layer = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2))
    return {"types": types, "layouts": layouts, "beside": beside, "module": layer.state_dict()}


def numbers(tensor):
    """Row-major, exact: float32 in nine digits, float64 in Python's shortest form."""
    flat = tensor.detach().reshape(-1)
    if tensor.dtype in (torch.float32, torch.float16, torch.bfloat16):
        return [float(f"{x:.9g}") for x in flat.float().tolist()]
    return [int(x) for x in flat.tolist()] if not tensor.is_floating_point() else flat.tolist()


def described(path):
    loaded = torch.load(path, weights_only=False)  # they are from above; the safe mode does not know protocol 4
    loaded = loaded.get("state_dict", loaded)
    return {name: {"dtype": str(tensor.dtype).removeprefix("torch."), "shape": list(tensor.shape), "numbers": numbers(tensor)}
            for name, tensor in loaded.items()}


def zip64(source, target):
    """The same archive with the 64-bit fields that PyTorch writes above 4 GB."""
    with zipfile.ZipFile(source) as archive, zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, allowZip64=True) as copy:
        limit, zipfile.ZIP64_LIMIT = zipfile.ZIP64_LIMIT, 1
        count, zipfile.ZIP_FILECOUNT_LIMIT = zipfile.ZIP_FILECOUNT_LIMIT, 1
        try:
            for name in archive.namelist():
                copy.writestr(zipfile.ZipInfo(name), archive.read(name))
            copy.close()
        finally:
            zipfile.ZIP64_LIMIT, zipfile.ZIP_FILECOUNT_LIMIT = limit, count


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; fail where torch.load differs from the record")
    arguments = parser.parse_args()
    record = FOLDER / "weights.json"
    if arguments.check:
        for name, expected in json.loads(record.read_text()).items():
            assert described(FOLDER / name) == expected, name
        return
    FOLDER.mkdir(exist_ok=True)
    for name, value in values().items():
        torch.save(value, FOLDER / f"{name}.bin")
        torch.save(value, FOLDER / f"{name}-legacy.bin", _use_new_zipfile_serialization=False)
        if name == "types":
            torch.save(value, FOLDER / f"{name}-protocol-4.bin", pickle_protocol=4)
    zip64(FOLDER / "types.bin", FOLDER / "types-zip64.bin")
    expected = {path.name: described(path) for path in sorted(FOLDER.glob("*.bin"))}
    record.write_text(json.dumps(expected, separators=(",", ":")).replace('},"', '},\n"') + "\n")


if __name__ == "__main__":
    main()
