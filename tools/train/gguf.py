"""Writes GGUF version 3 files: metadata as (key, kind, value), tensors as (name, array, "f32" | "f16")."""
import struct

import numpy as np

ALIGN = 32


def string(s):
    b = s.encode()
    return struct.pack("<Q", len(b)) + b


def value(kind, v):
    scalar = {"u32": (4, "<I"), "i32": (5, "<i"), "f32": (6, "<f"), "bool": (7, "<B")}
    if kind in scalar:
        code, fmt = scalar[kind]
        return struct.pack("<I", code) + struct.pack(fmt, v)
    if kind == "str":
        return struct.pack("<I", 8) + string(v)
    if kind == "strs":
        return struct.pack("<IIQ", 9, 8, len(v)) + b"".join(map(string, v))
    code, dtype = {"f32s": (6, "<f4"), "i32s": (5, "<i4")}[kind]
    return struct.pack("<IIQ", 9, code, len(v)) + np.asarray(v, dtype).tobytes()


def write(path, meta, tensors):
    infos, data = b"", []
    offset = 0
    for name, array, kind in tensors:
        raw = np.ascontiguousarray(array, {"f32": "<f4", "f16": "<f2"}[kind]).tobytes()
        infos += string(name) + struct.pack("<I", array.ndim) + b"".join(struct.pack("<Q", d) for d in reversed(array.shape))
        infos += struct.pack("<IQ", {"f32": 0, "f16": 1}[kind], offset)
        raw += b"\0" * (-len(raw) % ALIGN)
        data.append(raw)
        offset += len(raw)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(meta)) + b"".join(string(k) + value(kind, v) for k, kind, v in meta) + infos
    with open(path, "wb") as f:
        f.write(head + b"\0" * (-len(head) % ALIGN))
        for raw in data:
            f.write(raw)
