#include "engine/report/html.h"

namespace mith::report {

const char* const style_sheet = R"css(
:root { color-scheme: light; --ink: #1b2026; --soft: #5a6572; --faint: #8a949f; --line: #dde1e6; --wash: #f6f7f9;
  --clean: #23527c; --attack: #b5452c; --good: #2b7a5b; --warn: #8a5a00; --warn-wash: #fdf6e3; }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: #fff; color: var(--ink); font: 15px/1.55 -apple-system, "Segoe UI", Inter, Roboto,
  "Helvetica Neue", "Noto Sans", "Liberation Sans", Arial, system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 56px 32px 72px; }
h1, h2, .big { font-family: Charter, "Bitstream Charter", "Iowan Old Style", "Source Serif 4", Cambria, Georgia,
  "Noto Serif", "Liberation Serif", serif; font-weight: 600; letter-spacing: -.01em; }
h1 { font-size: 36px; line-height: 1.15; margin: 0 0 10px; }
h2 { font-size: 23px; line-height: 1.25; margin: 60px 0 6px; }
h3 { font-size: 15px; font-weight: 600; margin: 26px 0 8px; }
p { margin: 0 0 12px; max-width: 46em; }
.lead, .note { color: var(--soft); }
.lead { font-size: 16px; }
.note { font-size: 13.5px; max-width: 62em; }
code { font: 12.5px/1.5 ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace; }
dl.facts { display: flex; flex-wrap: wrap; gap: 10px 40px; margin: 22px 0 0; padding: 14px 0; border-top: 1px solid
  var(--line); border-bottom: 1px solid var(--line); }
dl.facts dt { color: var(--faint); font-size: 12px; }
dl.facts dd { margin: 0; font-size: 14px; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(300px, 1fr)); gap: 20px; margin: 30px 0 0; }
.card { border: 1px solid var(--line); border-radius: 8px; padding: 18px 22px 20px; }
.card h3 { margin: 0 0 12px; overflow-wrap: anywhere; }
.card .pair { display: grid; grid-template-columns: 1fr 1fr; gap: 18px; }
.big { font-size: 36px; line-height: 1.1; font-variant-numeric: lining-nums tabular-nums; }
.big small { font-size: 19px; color: var(--faint); }
.card .what { color: var(--soft); font-size: 13px; line-height: 1.4; margin-top: 4px; }
.clean { color: var(--clean); } .attack { color: var(--attack); } .good { color: var(--good); }
table { border-collapse: collapse; font-size: 13.5px; font-variant-numeric: lining-nums tabular-nums; }
table.wide { width: 100%; margin: 14px 0 8px; }
th { font-weight: 500; color: var(--soft); text-align: left; vertical-align: bottom; font-size: 12.5px; }
.wide th, .wide td { padding: 8px 14px 8px 0; }
.wide th:last-child, .wide td:last-child { padding-right: 0; }
.wide td { border-top: 1px solid var(--line); vertical-align: top; }
.wide thead th { border-bottom: 1.5px solid var(--ink); }
.wide tbody tr.subject td { border-top: 0; padding-top: 22px; font-weight: 600; overflow-wrap: anywhere; }
.wide tbody tr.subject:first-child td { padding-top: 10px; }
.num { text-align: right; white-space: nowrap; }
td .sub { color: var(--soft); font-size: 12px; line-height: 1.4; }
td .args { max-width: 22em; overflow-wrap: break-word; }
td b { font-weight: 600; }
.bar { display: block; margin-top: 3px; overflow: visible; }
td .each { white-space: nowrap; }
ul.plain { list-style: none; margin: 10px 0; padding: 0; }
ul.plain li { padding: 9px 0; border-top: 1px solid var(--line); max-width: 62em; }
ul.plain li:last-child { border-bottom: 1px solid var(--line); }
.warnings { background: var(--warn-wash); border-left: 3px solid var(--warn); border-radius: 0 6px 6px 0; margin: 26px 0 0;
  padding: 14px 20px; }
.warnings h3 { margin: 0 0 4px; color: var(--warn); }
.warnings ul { margin: 0; padding-left: 18px; }
.small-multiples { display: flex; flex-wrap: wrap; gap: 26px 40px; margin: 14px 0 0; align-items: flex-start; }
figure { margin: 0; break-inside: avoid; }
figcaption { font-size: 13px; margin-bottom: 8px; line-height: 1.4; }
figcaption b { font-weight: 600; }
svg text { font-size: 11px; fill: var(--soft); font-family: inherit; font-variant-numeric: tabular-nums; }
.legend { display: flex; flex-direction: column; gap: 2px; font-size: 12.5px; margin: 6px 0 0 46px; }
.legend svg { vertical-align: 3px; margin-right: 7px; }
.legend .value { color: var(--soft); }
table.confusion td, table.confusion th { padding: 5px 8px; text-align: right; }
table.confusion th { font-weight: 400; white-space: nowrap; max-width: 11em; overflow: hidden; text-overflow: ellipsis; }
table.confusion td { min-width: 3.1em; border: 1px solid #fff; }
table.confusion .recall { color: var(--soft); padding-left: 12px; }
table.confusion thead th { vertical-align: bottom; max-width: 7em; }
.panels { display: grid; grid-template-columns: repeat(auto-fill, minmax(480px, 1fr)); gap: 24px 36px; margin-top: 12px; }
.triple { display: grid; grid-template-columns: repeat(3, 1fr); gap: 10px; }
.triple img { width: 100%; display: block; image-rendering: pixelated; border-radius: 3px; background: var(--wash); }
.triple .cap { font-size: 12.5px; line-height: 1.4; margin-top: 5px; overflow-wrap: anywhere; }
.triple .cap span { display: block; color: var(--soft); }
.triple .cap span.attack { color: var(--attack); } .triple .cap span.good { color: var(--good); }
details { margin: 12px 0; }
summary { cursor: pointer; color: var(--clean); font-size: 14px; }
pre { background: var(--wash); border-radius: 6px; padding: 14px 16px; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; }
footer { margin-top: 64px; padding-top: 16px; border-top: 1px solid var(--line); color: var(--soft); font-size: 13px; }
.scroll { overflow-x: auto; }
@media (max-width: 640px) { main { padding: 32px 16px; } .panels { grid-template-columns: 1fr; } }
@media print { @page { margin: 16mm 14mm; } body { font-size: 10.5pt; } main { max-width: none; padding: 0; }
  h2, h3, figcaption, tr.subject { break-after: avoid; } tr, .card, .triple, li { break-inside: avoid; }
  * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
)css";

}  // namespace mith::report
