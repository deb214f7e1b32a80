"""The report's look: one style sheet, and the policy that lets a page do nothing else.

For a screen of 360 px as for one of 1440 px, and for A4. Colour is never the only sign.
"""

import base64
import hashlib

STYLE = """
:root { color-scheme: light; --ink: #1b1b1b; --soft: #4a4a4a; --line: #c4c4c4;
  --good: #1a6b2f; --warn: #8a4b00; --bad: #a11212; --link: #0b4f9e; }
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff;
  max-width: 70rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
a { color: var(--link); }
a:focus-visible, summary:focus-visible, .wide:focus-visible {
  outline: 3px solid var(--link); outline-offset: 2px; }
.skip { position: absolute; left: -100rem; }
.skip:focus { position: static; }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere; }
h1 { margin: .5rem 0; font-size: 1.6rem; }
h2 { margin: 3rem 0 .8rem; border-top: 2px solid var(--ink); padding-top: 1rem; }
h2 small { display: block; font-size: .85rem; font-weight: normal;
  color: var(--soft); }
h3 { margin: 2.2rem 0 .5rem; font-size: 1.15rem; }
p, li { overflow-wrap: anywhere; max-width: 46rem; }
summary { cursor: pointer; font-weight: 600; padding: .3rem 0; }
nav ul { columns: 17rem; padding-left: 1.2rem; margin: .3rem 0; }
nav p { margin: 1rem 0 0; font-weight: 600; }
.verdict { border: 1px solid var(--line); border-left: .6rem solid;
  padding: .8rem 1rem; background: #f7f7f7; }
.verdict p { margin: .4rem 0; max-width: none; }
.verdict .word { font-size: 1.4rem; font-weight: 700; }
.good { border-left-color: var(--good); } .word.good { color: var(--good); }
.warn { border-left-color: var(--warn); } .word.warn { color: var(--warn); }
.bad { border-left-color: var(--bad); } .word.bad { color: var(--bad); }
.wide { overflow-x: auto; margin: .6rem 0 1rem; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
caption { text-align: left; color: var(--soft); padding: .3rem 0; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .6rem .35rem 0;
  text-align: left; vertical-align: top; }
thead th { border-bottom: 2px solid var(--ink); }
tbody th { font-weight: 500; min-width: 8rem; }
td, tbody th { overflow-wrap: break-word; }
.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums;
  padding-right: 1.2rem; }
.d { white-space: nowrap; }
.t { min-width: 13rem; }
.h { min-width: 9rem; overflow-wrap: anywhere; }
figure { margin: .5rem 0; }
figcaption { color: var(--soft); font-size: .9rem; max-width: 46rem; }
svg { width: 100%; height: auto; display: block; }
.narrow { display: none; }
@media screen and (max-width: 44rem) {
  .narrow { display: block; } .broad { display: none; }
  table, thead, tbody, tr, td, tbody th, caption { display: block; width: auto; }
  thead { position: absolute; left: -200rem; }
  tr { border-bottom: 2px solid var(--line); padding: .5rem 0; }
  td, tbody th, .n { border: 0; padding: .15rem 0; min-width: 0; text-align: left;
    white-space: normal; overflow-wrap: anywhere; }
  tbody th { font-weight: 700; }
  td::before { content: attr(data-head) ": "; color: var(--soft); }
}
@page { size: A4; margin: 16mm; }
@media print {
  body { font-size: 9.5pt; max-width: none; padding: 0; }
  nav, .skip { display: none; }
  h2, h3, caption { break-after: avoid; }
  tr, figure, .verdict { break-inside: avoid; }
  .part { break-before: page; } .part:first-of-type { break-before: auto; }
  .wide { overflow: visible; }
  table { font-size: 7.5pt; }
  th, td { padding-right: .4rem; }
  td, tbody th, .t { min-width: 0; }
  .n { padding-right: .6rem; } .h { min-width: 6rem; }
  figcaption { font-size: 8pt; }
}
"""

_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = (
    f"default-src 'none'; style-src 'sha256-{_DIGEST}'; base-uri 'none';"
    " form-action 'none'"
)
"""Content-Security-Policy: this very style sheet, and nothing else at all."""
