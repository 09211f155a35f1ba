#!/usr/bin/env python3
"""Writes src/text/unicode_tables.h from Python's own Unicode database.

usage: unicode_tables.py > src/text/unicode_tables.h
"""
import sys
import unicodedata as U

CLASS = {"Lu": 1, "Ll": 2, "Lt": 3, "Lm": 4, "Lo": 5, "Mn": 6, "Mc": 7, "Me": 7, "Nd": 8, "Nl": 8, "No": 8}
CLASS.update({c: 9 for c in ("Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po")})
CLASS.update({c: 10 for c in ("Sm", "Sc", "Sk", "So")})
CLASS.update({"Zs": 11, "Zl": 11, "Zp": 11, "Cc": 12, "Cf": 13})
SPACE = set([9, 10, 11, 12, 13, 0x85])


def of(c):
    ch = chr(c)
    return 11 if c in SPACE else CLASS.get(U.category(ch), 0)


def runs():
    last = None
    for c in range(0x110000):
        k = of(c)
        if k != last:
            yield c << 8 | k
            last = k


def mapping(f):
    """Runs (first, last, step, delta) of code points that move by the same delta."""
    pairs = [(c, f(c)) for c in range(0x110000)]
    pairs = [(c, t) for c, t in pairs if t is not None and t != c]
    out = []
    for c, t in pairs:
        d = t - c
        if out and out[-1][3] == d and (out[-1][0] == out[-1][1] and c - out[-1][1] in (1, 2) or out[-1][0] != out[-1][1] and c - out[-1][1] == out[-1][2]):
            if out[-1][0] == out[-1][1]:
                out[-1][2] = c - out[-1][1]
            out[-1][1] = c
        else:
            out.append([c, c, 1, d])
    return out


def lower(c):
    s = chr(c).lower()
    return ord(s) if len(s) == 1 else ord(s[0])


def base(c):
    if 0xAC00 <= c <= 0xD7A3 or 0xD800 <= c < 0xE000:
        return None
    s = [x for x in U.normalize("NFD", chr(c)) if U.category(x) != "Mn"]
    return ord(s[0]) if len(s) == 1 else None


STRIDE = 32  # runs between two places where a search may begin


def varint(n):
    out = []
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    return out + [n]


def zigzag(n):
    return varint(n << 1 if n >= 0 else -n * 2 - 1)


def table(name, kind, rows, per):
    print("static const %s %s[] = {" % (kind, name))
    for i in range(0, len(rows), per):
        print("    " + " ".join(rows[i:i + per]))
    print("};\n")


def write(name, rows, encode):
    """Rows as bytes, each from the one before, and places to begin: (rune, value, offset)."""
    before, out, places = (0, 0), [], []
    for i, row in enumerate(rows):
        if i % STRIDE == 0:
            places.append("{0x%X,%d,%d}," % (before[0], before[1], len(out)))
        data, before = encode(row, before)
        out += data
    table(name + "_bytes", "uint8_t", ["%d," % b for b in out], 30)
    table(name + "_places", "place", places, 8)


def class_run(run, before):
    rune = run >> 8
    return varint(rune - before[0]) + [run & 255], (rune, run & 255)


def map_run(run, before):
    first, last, step, delta = run
    data = varint(first - before[0]) + varint(last - first) + [step] + zigzag(delta - before[1])
    return data, (last, delta)


print("// Unicode %s. Written by tools/unicode_tables.py; not edited by hand." % U.unidata_version)
print("// clang-format off")
print("enum { STRIDE = %d };\n" % STRIDE)
write("class", list(runs()), class_run)
for name, f in (("lower", lower), ("base", base)):
    write(name, list(mapping(f)), map_run)
print("// clang-format on")
