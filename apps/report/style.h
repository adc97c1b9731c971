// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace heed::app {

/// The page's style sheet: the reader's own light or dark.
inline constexpr char style[] = R"css(
:root { color-scheme: light dark; --ink: #1c2024; --soft: #60646c; --line: #e2e4e9; --page: #fcfcfd; --card: #ffffff;
        --accent: #2f6f8f; --exact: #b0b4ba; --bar: #7fb2c8; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #edeef0; --soft: #a0a6ae; --line: #2f3338; --page: #131517; --card: #1a1d20;
          --accent: #6cc0e2; --exact: #696e77; --bar: #2f6f8f; }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.55 system-ui, "Segoe UI", "Noto Sans", "DejaVu Sans", sans-serif; }
main { max-width: 1280px; margin: 0 auto; padding: 40px 28px 80px; }
h1 { font-size: 27px; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 6px; }
h2 { font-size: 18px; letter-spacing: -0.01em; margin: 52px 0 4px; }
p { margin: 0 0 16px; color: var(--soft); max-width: 106ch; }
code, .given { font: 12px/1.5 ui-monospace, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.given { color: var(--soft); }
.facts { display: flex; flex-wrap: wrap; gap: 6px 28px; margin: 18px 0 0; padding: 0; list-style: none; font-size: 13px; }
.facts b { display: block; font-weight: 500; color: var(--soft); }
.scroll { overflow-x: auto; background: var(--card); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums; }
th { font-weight: 500; color: var(--soft); text-align: right; white-space: nowrap; }
th, td { padding: 7px 9px; border-bottom: 1px solid var(--line); vertical-align: top; }
tr:last-child td { border-bottom: 0; }
td { text-align: right; white-space: nowrap; }
td.error { color: var(--soft); padding-left: 0; }
th.error { padding-left: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 16px; }
td:first-child { white-space: normal; min-width: 168px; }
td:first-child .given { display: block; }
td.text { text-align: left; white-space: normal; }
dl { columns: 2 420px; column-gap: 36px; margin: 12px 0 0; font-size: 13px; }
dt { font-weight: 600; display: inline; }
dd { display: inline; margin: 0; color: var(--soft); }
dl div { break-inside: avoid; padding: 2px 0; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(380px, 1fr)); gap: 18px; }
.card { background: var(--card); border: 1px solid var(--line); border-radius: 10px; padding: 14px 16px 12px; min-width: 0; }
.card h3 { font-size: 13px; font-weight: 600; margin: 0 0 8px; }
.card h3 span { font-weight: 400; color: var(--soft); }
.bars { display: grid; grid-template-columns: max-content minmax(40px, 1fr) auto; gap: 4px 10px; align-items: center; font-size: 12px; font-variant-numeric: tabular-nums; }
.bars i { display: block; height: 12px; border-radius: 0 3px 3px 0; background: var(--bar); min-width: 1px; }
.bars i.exact { background: var(--exact); }
.bars b { font-weight: 400; text-align: right; }
.bars span { white-space: nowrap; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--soft); font-size: 10px; font-variant-numeric: tabular-nums; }
svg .axis { stroke: var(--line); stroke-width: 1; fill: none; }
svg .way { stroke: var(--accent); stroke-width: 1.6; fill: none; stroke-linejoin: round; }
svg .exact { stroke: var(--exact); stroke-width: 1.6; fill: none; stroke-linejoin: round; }
svg circle { fill: var(--accent); }
svg .name { fill: var(--ink); font-size: 11px; }
.panels .card { display: flex; flex-direction: column; justify-content: space-between; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(290px, 1fr)); gap: 16px; }
.maps { display: grid; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr)); gap: 16px; }
figure { margin: 0; }
figure img { width: 100%; aspect-ratio: 1; image-rendering: pixelated; border: 1px solid var(--line); border-radius: 4px; display: block; }
figcaption { font-size: 12px; color: var(--soft); margin-top: 6px; }
figcaption b { color: var(--ink); font-weight: 600; }
.ramp { height: 10px; width: 260px; border-radius: 3px; margin: 2px 0; }
.rampends { display: flex; justify-content: space-between; width: 260px; font-size: 11px; color: var(--soft); margin-bottom: 14px; }
@media (max-width: 640px) { main { padding: 24px 14px 48px; } }
@media print { .card, .scroll, figure { break-inside: avoid; } }
)css";

}  // namespace heed::app
