"""Small files in the formats of the real ones."""

import gzip
import io
import struct
import tarfile

import numpy as np
from PIL import Image

from distmatch.data.idx import FILES


def idx_bytes(array):
    array = np.asarray(array, np.uint8)
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_idx(folder, n=(24, 10), side=5, packed=True):
    """Four IDX files of random images, labels 0..9 in turn. Returns the paths."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    paths = []
    for i, stem in enumerate(FILES):
        count = n[i // 2]
        array = random.integers(0, 256, (count, side, side)) if i % 2 == 0 else np.arange(count) % 10
        body = idx_bytes(array)
        path = folder / (f"{stem}.gz" if packed else stem)
        path.write_bytes(gzip.compress(body) if packed else body)
        paths.append(path)
    return paths


def picture(size=(32, 32), colour=(255, 0, 0), kind="PNG", mode="RGB"):
    out = io.BytesIO()
    Image.new(mode, size, colour).save(out, kind)
    return out.getvalue()


def write_parquet(path, bodies, labels, column="image"):
    import pyarrow
    from pyarrow import parquet

    images = [{"bytes": body, "path": f"{i}.png"} for i, body in enumerate(bodies)]
    parquet.write_table(pyarrow.table({column: images, "label": labels}), path)


def records(n, seed=0):
    """`n` CIFAR-10 records with random pixels and labels 0..9 in turn."""
    array = np.random.default_rng(seed).integers(0, 256, (n, 3073)).astype(np.uint8)
    array[:, 0] = np.arange(n) % 10
    return array


def batches(n=4):
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] + ["test_batch.bin"]
    return {name: records(n, seed).tobytes() for seed, name in enumerate(names)}


def write_archive(path, files):
    with tarfile.open(path, "w:gz") as archive:
        for name, body in files.items():
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
