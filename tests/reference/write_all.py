# SPDX-License-Identifier: Apache-2.0
"""write_all.py OUTDIR: every case file."""
import os
import subprocess
import sys

here = os.path.dirname(os.path.abspath(__file__))
for name in sorted(os.listdir(here)):
    if name.endswith(".py") and name not in ("autograd.py", "casefile.py", "common.py", "maps.py", "write_all.py"):
        subprocess.run([sys.executable, os.path.join(here, name), sys.argv[1]], check=True)
