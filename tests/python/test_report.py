# SPDX-License-Identifier: Apache-2.0
"""heed compare's page, as Debian's chromium shows it: its numbers are those of the JSON."""
import base64
import html.parser
import json
import os
import pathlib
import re
import shutil
import struct
import subprocess
import zlib

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PROGRAM = ROOT / "build/release/heed"
CHROMIUM = shutil.which("chromium")
REQUIRED = "HEED_REQUIRE_BROWSER" in os.environ  # in CI these tests fail where they cannot run
pytestmark = [
    pytest.mark.skipif(not PROGRAM.exists(), reason="the program is not built (make build)"),
    pytest.mark.skipif(CHROMIUM is None and not REQUIRED, reason="chromium is not installed (apt-get install chromium)"),
]
WAYS = ["sliding-window,window=[63,0]", "minference,pattern=block_sparse,top_k=2", "exact,softcap=30"]


class Page(html.parser.HTMLParser):
    """The elements of a page in order as (tag, attributes, text directly inside), and the cells of its tables."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.open, self.tables = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.elements.append([tag, dict(attributes), ""])
        if tag not in ("meta", "img", "path", "circle", "br"):
            self.open.append(self.elements[-1])
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        if self.open:
            self.open[-1][2] += data
        if any(element[0] in ("td", "th") for element in self.open):
            self.tables[-1][-1][-1] += data

    def all(self, tag, kind=None):
        return [e for e in self.elements if e[0] == tag and (kind is None or e[1].get("class") == kind)]


@pytest.fixture(scope="module")
def shown(tmp_path_factory):
    """The JSON's rows and the page after chromium has read it, scripts off or on: there are none that run."""
    assert CHROMIUM, "HEED_REQUIRE_BROWSER is set and chromium is not installed"
    folder = tmp_path_factory.mktemp("report")
    path = folder / "page & more.html"
    arguments = ["compare", "--model", ROOT / "models/stdlib-lm", "--text", ROOT / "models/stdlib-lm/train.py", "--context", "600", "--json", "--report", path]
    for way in WAYS:
        arguments += ["--with", way]
    done = subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False, env={**os.environ, "OMP_WAIT_POLICY": "passive"})
    assert done.returncode == 0, done.stderr
    assert [p.name for p in folder.iterdir()] == [path.name]  # nothing is left beside it
    dump = subprocess.run([CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()],
                          capture_output=True, text=True, check=True, timeout=300)
    return json.loads(done.stdout), Page(dump.stdout), path.read_text()


def test_table(shown):
    rows, page, _ = shown
    head, *body = page.tables[0]
    assert len(body) == len(rows) == 4
    columns = {"read s": "read_seconds", "read tok/s": "read_tokens_per_second", "write tok/s": "write_tokens_per_second", "bits/byte": "bits_per_byte",
               "× exact": "bits_per_byte_ratio", "KLD": "kld_mean", "max": "kld_max"}
    seen = 0
    for row, cells in zip(rows, body):
        assert cells[0] == row["way"] + row["given"]
        for name, cell in zip(head, cells):
            want = row["kv_bytes"] / 2**20 if name == "KV MiB" else 100 * row["same_top"] if name == "same top" else \
                100 * row["rms_delta_p"] if name == "RMS Δp" else row["kld_percentiles"]["99.9"] if name == "99.9%" else row.get(columns.get(name))
            if want is None or cell == "–":
                assert want is None or row["way"] == "exact" and row["kld_max"] == 0
                continue
            number = cell.rstrip("%")
            mantissa, _, power = number.partition("e")
            unit = 10.0 ** (int(power or 0) - len(mantissa.partition(".")[2]))
            assert abs(float(number) - want) <= 0.501 * unit, (row["way"], name)
            seen += 1
    assert seen >= 4 * 11 - 6


def test_bars(shown):
    rows, page, _ = shown
    widths = [float(re.search(r"width: ?([\d.]+)%", bar[1]["style"])[1]) for bar in page.all("i")]
    want = []
    for name in ("read_tokens_per_second", "write_tokens_per_second", "kv_bytes"):
        most = max(row[name] for row in rows)
        want += [100 * row[name] / most for row in rows]
    np.testing.assert_allclose(widths, want, atol=0.006)


def test_curves(shown):
    rows, page, _ = shown
    lines = page.all("path", "way")
    assert len(lines) == 3  # the capped exact is a way as well
    scale = None
    for row, line in zip(rows[1:], lines):
        points = np.array([[float(x) for x in point.split()] for point in re.split("[ML]", line[1]["d"])[1:]])
        assert len(points) == len(row["curve"]) and np.all(np.diff(points[:, 0]) > 0)
        loss = np.array(row["curve"])
        assert points[0, 1] > 8  # the scale is read off a point inside
        scale = scale or (118 - points[0, 1]) / loss[0]
        np.testing.assert_allclose(118 - points[:, 1], np.minimum(scale * loss, 110), rtol=0.02, atol=0.2)  # 110: the panel's upper edge


def test_maps(shown):
    _, page, _ = shown
    images = page.all("img")
    assert 4 <= len(images) <= 8 and len({image[1]["alt"] for image in images}) == len(images)
    for image in images:
        data = base64.b64decode(image[1]["src"].removeprefix("data:image/png;base64,"))
        assert data[:8] == b"\x89PNG\r\n\x1a\n"
        chunks, at = {}, 8
        while at < len(data):
            size, = struct.unpack(">I", data[at:at + 4])
            kind, body = data[at + 4:at + 8], data[at + 8:at + 8 + size]
            assert struct.unpack(">I", data[at + 8 + size:at + 12 + size])[0] == zlib.crc32(kind + body)
            chunks[kind], at = body, at + 12 + size
        width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
        pixels = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)[:, 1:]
        assert width == height == 192
        assert np.all(np.triu(pixels, 1) == 0), "nothing after a query is seen"
        assert np.all(pixels[np.tril_indices(192)] > 0)
        # A query's weights sum to 1: what each row's cells say, undone, does so within the 255 steps of the scale.
        shares = np.where(pixels > 1, 1e-4 ** (1 - (pixels.astype(float) - 1) / 254), 0)
        np.testing.assert_allclose(shares.sum(1), 1, atol=0.06)


def test_stands_alone(shown):
    rows, page, text = shown
    scripts = page.all("script")
    assert len(scripts) == 1 and scripts[0][1]["type"] == "application/json" and json.loads(scripts[0][2]) == rows
    for tag, attributes, _ in page.elements:
        assert "href" not in attributes and not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:").startswith("data:")
    assert "url(" not in text and "@import" not in text
    assert all(row["model_hash"] in text for row in rows)
    assert "prefers-color-scheme: dark" in text
