#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A room may include only rooms below it. Exits 1 and names the line where one does not."""
import pathlib
import re
import sys

RANK = {"base": 0, "format": 1, "isa": 1, "kernel": 2, "engine": 3, "ops": 3, "position": 4, "schedule": 4, "cache": 4,
        "mechanism": 5, "model": 6, "dist": 6, "analysis": 6}
root = pathlib.Path(__file__).resolve().parent.parent
wrong = []
for file in sorted([*root.glob("src/**/*.h"), *root.glob("src/**/*.cpp"), *root.glob("apps/**/*.cpp"), *root.glob("src/**/*.inl"), *root.glob("python/src/*")]):
    here = file.relative_to(root).parts
    for number, line in enumerate(file.read_text().splitlines(), 1):
        found = re.match(r'\s*#include "([a-z]+)/', line)
        if not found or found[1] == "heed":
            continue
        allowed = here[0] == "src" and RANK.get(found[1], 99) <= RANK[here[1]]
        if not allowed:
            wrong.append(f"{'/'.join(here)}:{number}: {here[0]}/{here[1]} may not include {found[1]}")
print("\n".join(wrong) or "includes point downwards")
sys.exit(bool(wrong))
