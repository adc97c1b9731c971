# SPDX-License-Identifier: Apache-2.0
"""mllms-know: the adaptive crop written with whole windows: sums by cumulative sums, neighbours by padding."""
import os
import sys

import numpy as np
from casefile import write_case

RATIOS = [1, 1.2, 1.4, 1.6, 1.8, 2]


def crop(attention, width, height, box, ratios):
    h, w = attention.shape
    total = np.zeros((h + 1, w + 1))
    total[1:, 1:] = attention.cumsum(0).cumsum(1)
    block = np.array([width / w, height / h])
    candidates = []
    for ratio in ratios:
        nx, ny = (min(int(box * ratio / block[0]), w), min(int(box * ratio / block[1]), h))
        if nx == w and ny == h:
            if ratio == 1:
                return [0, 0, width, height]
            continue
        if nx == 0 or ny == 0:  # 0/0 stands out from all that follow
            candidates.append((np.inf, ratio, np.zeros(2), np.array([nx, ny])))
            continue
        sums = total[ny:, nx:] - total[:-ny, nx:] - total[ny:, :-nx] + total[:-ny, :-nx]  # (y, x)
        x, y = np.unravel_index(np.argmax(sums.T), sums.T.shape)
        framed = np.pad(sums, 1, constant_values=np.nan)
        around = np.array([framed[y + 1, x], framed[y + 1, x + 2], framed[y, x + 1], framed[y + 2, x + 1]])
        difference = (sums[y, x] - np.nanmean(around)) / (nx * ny)
        candidates.append((difference, ratio, np.array([x, y]), np.array([nx, ny])))
    if not candidates:
        return [0, 0, width, height]
    _, ratio, at, cells = max(candidates, key=lambda item: item[0])
    half = int(box * ratio // 2)
    size = np.array([width, height])
    centre = np.minimum(np.maximum((at * block + block * cells / 2).astype(int), half), size - half)
    low, high = np.clip(centre - half, 0, size), np.clip(centre + half, 0, size)
    return [*low, *high]


def main():
    rng = np.random.default_rng(7)
    rows = [(640, 480, 24, 24, 224), (500, 333, 16, 20, 224), (300, 300, 24, 24, 336), (1024, 768, 12, 24, 336),
            (900, 900, 5, 5, 170), (800, 640, 4, 9, 150), (1200, 500, 9, 3, 160)]
    groups = {"": (RATIOS, rows[:4]), "two-ratios": ([1, 1.5], rows[:4]), "small-first": ([0.7, 1, 1.4], rows[:4]), "large-alone": ([1.3], rows[:4]),
              "no-cells": (RATIOS, rows[4:])}
    maps = np.zeros((len(rows), 24, 24), np.float32)
    for i, (_, _, h, w, _) in enumerate(rows):
        maps[i, :h, :w] = rng.random((h, w)) ** 3
        y, x = rng.integers(0, h), rng.integers(0, w)
        maps[i, max(0, y - 2):y + 3, max(0, x - 2):x + 3] += 1.5
    for name, (ratios, chosen) in groups.items():
        own = maps[:4] if chosen == rows[:4] else maps[4:]
        out = [crop(own[i, :h, :w].astype(np.float64), width, height, box, ratios) for i, (width, height, h, w, box) in enumerate(chosen)]
        tensors = {"in.att_maps": own, "in.sizes": np.array(chosen, np.int64), "out.out": np.array(out, np.int64)}
        path = os.path.join(sys.argv[1], "mllms-know" + (f"--{name}" if name else "") + ".safetensors")
        write_case(path, "mllms-know", {"ratios": ratios}, tensors, "tests/reference/mllms-know.py", "adaptive crop", rtol="0", atol="0")


if __name__ == "__main__":
    main()
