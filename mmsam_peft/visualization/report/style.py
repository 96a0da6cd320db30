"""How the page looks: light or dark as the reader's system is, on a phone too."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfbfa; --card: #ffffff; --ink: #1d2329;
  --quiet: #667079; --rule: #e3e5e8; --accent: #0b6e99; --second: #c2571a; --third: #6b4fa0;
  --fourth: #3c7a3f; --bad: #b3261e; --soft: #e6f1f6; }
@media (prefers-color-scheme: dark) { :root { --paper: #14181c; --card: #1c2127; --ink: #e8eaed;
  --quiet: #9aa4ae; --rule: #323940; --accent: #5bb8e0; --second: #ef9a5d; --third: #b39ae6;
  --fourth: #84c287; --bad: #ff8a80; --soft: #1d3440; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.5;
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 22px; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 17px; margin: 40px 0 10px; }
h2.task { font-size: 21px; margin-top: 56px; padding-top: 18px; border-top: 2px solid var(--rule); }
h3 { font-size: 14px; margin: 0 0 8px; color: var(--quiet); font-weight: 600; }
p { margin: 6px 0; max-width: 75ch; }
.quiet, figcaption small, .card > small { color: var(--quiet); }
small { font-size: 12.5px; }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px;
  padding: 16px; min-width: 0; }
.grid { display: grid; gap: 14px; }
.two { grid-template-columns: repeat(auto-fill, minmax(min(100%, 400px), 1fr)); }
.three { grid-template-columns: repeat(auto-fit, minmax(min(100%, 300px), 1fr)); }
.hero { display: grid; gap: 8px 40px; align-items: center; margin-top: 16px;
  grid-template-columns: minmax(200px, max-content) minmax(0, 1fr); }
@media (max-width: 640px) { .hero { grid-template-columns: minmax(0, 1fr); } }
.big { font-size: 58px; line-height: 1.05; font-weight: 650; letter-spacing: -0.02em; }
.verdict { font-size: 16px; margin: 12px 0 0; max-width: 80ch; }
.warn { border-left: 4px solid var(--bad); padding: 6px 12px; background: var(--card); }
.rank { display: grid; grid-template-columns: max-content minmax(60px, 1fr) max-content;
  gap: 7px 12px; align-items: center; }
.track { position: relative; height: 18px; background: var(--rule); border-radius: 4px; }
.track i, .track b { position: absolute; top: 0; bottom: 0; left: 0; border-radius: 4px; }
.track i { background: var(--quiet); opacity: .55; }
.track i.own { background: var(--accent); opacity: 1; }
.track b { top: 7px; bottom: 7px; background: var(--ink); border-radius: 0; }
.num { font-variant-numeric: tabular-nums; text-align: right; white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-size: 14px; }
th { text-align: left; font-weight: 600; color: var(--quiet); }
th, td { padding: 5px 10px 5px 0; border-bottom: 1px solid var(--rule); vertical-align: top;
  overflow-wrap: anywhere; }
th.num { text-align: right; overflow-wrap: normal; }
tr:last-child td { border-bottom: 0; }
td .track { height: 10px; min-width: 60px; margin-top: 6px; }
td .track b { top: 4px; bottom: 4px; }
.scroll { overflow-x: auto; }
.facts th { width: 34%; }
figure { margin: 0 0 16px; }
figure:last-child { margin-bottom: 0; }
.tiles { display: grid; grid-template-columns: 1fr 1fr; gap: 4px; }
.tiles.many { grid-template-columns: repeat(3, 1fr); }
.tiles div { position: relative; }
.tiles img { display: block; width: 100%; border-radius: 4px; background: #888; }
.tiles span { position: absolute; left: 4px; bottom: 4px; font-size: 11px; line-height: 1;
  padding: 3px 5px; border-radius: 3px; background: #000a; color: #fff; }
figcaption { display: flex; justify-content: space-between; gap: 12px; font-size: 13px;
  margin-bottom: 4px; }
figcaption span { overflow-wrap: anywhere; }
.keys { display: flex; flex-wrap: wrap; gap: 4px 16px; font-size: 13px; margin: 4px 0 12px; }
.swatch { display: inline-block; width: 11px; height: 11px; border-radius: 2px; margin-right: 6px;
  border: 1px solid var(--quiet); vertical-align: -1px; }
.share { display: flex; height: 12px; border-radius: 4px; overflow: hidden; margin: 4px 0; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--quiet); font-size: 11px; font-family: inherit; }
svg .axis { font-size: 11px; }
svg .rule { stroke: var(--rule); }
svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round; }
svg .line.a { stroke: var(--accent); } svg .dot.a { fill: var(--accent); }
svg .line.b { stroke: var(--second); } svg .dot.b { fill: var(--second); }
svg .line.c { stroke: var(--third); } svg .dot.c { fill: var(--third); }
svg .line.d { stroke: var(--fourth); } svg .dot.d { fill: var(--fourth); }
svg .mark { stroke: var(--quiet); stroke-dasharray: 4 3; }
svg .mark.a { stroke: var(--accent); } svg .mark.b { stroke: var(--second); }
svg .mark.ink { stroke: var(--ink); stroke-width: 1.5; }
svg .bar { fill: var(--accent); opacity: .8; }
details { margin-top: 10px; }
summary { cursor: pointer; color: var(--quiet); font-size: 14px; }
pre { overflow-x: auto; font-size: 12px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 8px; padding: 12px; max-height: 480px; }
code { font-size: 13px; overflow-wrap: anywhere; }
footer { margin-top: 40px; color: var(--quiet); font-size: 13px; }
"""
