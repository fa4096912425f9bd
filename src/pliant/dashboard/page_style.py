"""The style sheet of the report's page: light and dark, readable on paper and on a telephone."""

STYLE = """
:root {
  color-scheme: light dark;
  --font: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  --mono: ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", monospace;
  --page: #f6f7f9; --card: #ffffff; --ink: #1c2430; --muted: #5d6878; --grid: #e3e7ed;
  --accent: #2459c7; --pale: #f3c98b; --join: #1a7f4b; --lost: #cf2f2f; --leave: #7a4fc4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0e1217; --card: #171d25; --ink: #e7ecf3; --muted: #9aa6b6; --grid: #2b3440;
    --accent: #78a9ff; --pale: #80602e; --join: #4cc38a; --lost: #ff7b72; --leave: #b79cf5;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 var(--font); }
main { max-width: 60rem; margin: 0 auto; padding: 2.2rem 1.2rem 4rem; }
header { margin-bottom: 1.4rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0; display: flex; align-items: center; gap: .7rem; flex-wrap: wrap; }
h2 { font-size: 1.02rem; margin: 0 0 .5rem; }
.brand { color: var(--muted); margin: 0 0 .2rem; font-size: .86rem; }
.script { color: var(--muted); margin: .3rem 0 0; font: .84rem var(--mono); overflow-wrap: anywhere; }
.state { font-size: .8rem; font-weight: 600; padding: .18rem .6rem; color: var(--muted); }
.state { border-radius: 99px; border: 1px solid currentColor; }
.state.finished { color: var(--join); } .state.failed { color: var(--lost); }
section, .tile { background: var(--card); border: 1px solid var(--grid); border-radius: 12px; }
section { padding: 1.1rem 1.3rem; margin: 0 0 1rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(8.6rem, 1fr)); gap: .7rem; margin: 0 0 1rem; }
.tile { padding: .7rem .95rem; }
.tile dt { color: var(--muted); font-size: .82rem; }
.tile dd { margin: 0; font-size: 1.18rem; font-weight: 600; white-space: nowrap; }
.caption { color: var(--muted); margin: -.25rem 0 .5rem; font-size: .88rem; }
.picture svg { display: block; width: 100%; height: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; color: var(--muted); font-weight: 500; }
td, th { padding: .34rem .9rem .34rem 0; vertical-align: top; }
.events tr + tr td { border-top: 1px solid var(--grid); }
.number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.kind { white-space: nowrap; }
.kind i { display: inline-block; width: .6rem; height: .6rem; border-radius: 2px; margin-right: .45rem; }
.hashes th { white-space: nowrap; width: 1%; }
.hashes code { font: .84rem var(--mono); overflow-wrap: anywhere; }
.verdict { margin: .5rem 0 0; font-weight: 600; }
.same { color: var(--join); } .differ { color: var(--lost); } .open { color: var(--muted); }
.scroll { overflow-x: auto; }
.sample { margin: 0; font: .84rem/1.5 var(--mono); white-space: pre-wrap; overflow-wrap: anywhere; }
@media print { body { background: #fff; } section, .tile { break-inside: avoid; } }
"""
"""CSS; the colour variables are also those of the pictures (:mod:`pliant.dashboard.pictures`)."""
