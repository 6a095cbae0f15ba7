"""Colours and the page's style sheet; both work on light and on dark."""

from collections.abc import Sequence
from itertools import cycle

# Told apart in grey and with any colour vision: a slate for the reference, then Okabe & Ito (2008). An arm has the same
# colour on every page.
_ARM_COLOURS = {
    "base": "#8793A6", "lora": "#0F7FCC", "pooled": "#D55E00", "shuffled": "#009E73", "act-matched": "#CC79A7",
    "fewshot": "#B8860B", "lora-noprompt": "#56B4E9", "base-noprompt": "#7A5CC4",
}  # fmt: skip

COMMUNITY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#8E6FD0", "#8C6D31")
OTHER_COLOUR = "#98A2B3"
LINE = "rgba(128,138,152,0.28)"

SHEET = """<style>
.stMainBlockContainer { max-width: 1240px; padding-top: 4.4rem; padding-bottom: 4rem; }
.pp { font-size: 1rem; line-height: 1.45;
  --muted: color-mix(in srgb, currentColor 68%, transparent);
  --line: color-mix(in srgb, currentColor 16%, transparent);
  --shade: color-mix(in srgb, currentColor 4%, transparent); }
.pp bdi, .pp .words { unicode-bidi: isolate; overflow-wrap: anywhere; }
.pp h1 { font-size: 2rem; font-weight: 700; letter-spacing: -.02em; margin: 0 0 .4rem; padding: 0; }
.pp h2 { font-size: 1.25rem; font-weight: 650; margin: 1.4rem 0 .1rem; padding: 0; }
.pp .lead { font-size: 1.06rem; max-width: 62rem; margin: 0 0 .3rem; }
.pp .note { color: var(--muted); font-size: .9rem; margin: .1rem 0 .4rem; max-width: 62rem; }
.pp ul.plain { list-style: none; margin: .4rem 0 0; padding: 0; }
.pp ul.plain li { margin: 0 0 .2rem; padding: 0; font-size: 1rem; }
.pp .dot { display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em; }
.pp .arm { font-weight: 650; white-space: nowrap; }
.pp .finding { border-left: 4px solid var(--line); padding: .15rem 0 .15rem .9rem; margin: .5rem 0; max-width: 66rem; }
.pp .notice { border: 1px solid #C79A1B; background: color-mix(in srgb, #C79A1B 10%, transparent);
  border-radius: 10px; padding: 12px 16px; margin: .8rem 0; }
.pp .box { background: var(--shade); border: 1px solid var(--line); border-radius: 10px; padding: 12px 16px;
  white-space: pre-wrap; font-size: .95rem; }
.pp .item { border-bottom: 1px solid var(--line); padding: 8px 2px; font-size: .95rem; }
.pp .item .head { color: var(--muted); font-size: .8rem; }
.pp .item .words { white-space: pre-wrap; margin-top: 2px; }
.pp .item .about { color: var(--muted); border-left: 3px solid var(--line); padding-left: 9px; margin-top: 4px;
  font-size: .87rem; display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
.pp .moment { background: var(--shade); border: 1px solid var(--line); border-radius: 10px; padding: 10px 16px 12px;
  margin: 0 0 .1rem; font-size: .95rem; }
.pp .moment .head, .pp .moment .about { color: var(--muted); font-size: .85rem; }
.pp .moment .cells { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 15rem), 1fr));
  gap: .7rem 1.6rem; margin-top: .35rem; }
.pp .moment .words { white-space: pre-wrap; margin-top: 2px; }
.pp .thread { border-left: 2px solid var(--line); padding: 4px 0 4px 12px; margin: 4px 0; }
.pp .facts { display: flex; flex-wrap: wrap; gap: .3rem 2rem; margin: .4rem 0; }
.pp .facts span { display: block; font-size: .85rem; color: var(--muted); }
.pp .facts b { display: block; font-size: 1.15rem; font-variant-numeric: tabular-nums; }
.pp details.about { font-size: .9rem; margin: .1rem 0 .4rem; max-width: 62rem; }
.pp details.about summary { color: var(--muted); cursor: pointer; }
.pp h3 { font-size: 1.1rem; font-weight: 650; margin: 0; padding: 0; }
.pp .card-head { display: flex; flex-wrap: wrap; gap: 0 .8rem; align-items: baseline; }
.pp .card-head .note { margin: 0; overflow-wrap: anywhere; }
.pp .said { font-size: 1.02rem; margin: .35rem 0 .2rem; max-width: 66rem; overflow-wrap: anywhere; }
.pp .card .facts { gap: .2rem 1.2rem; margin: .5rem 0; }
.pp .card .facts span { font-size: .78rem; }
.pp .card .item:last-child { border-bottom: 0; }
.pp .spark { display: flex; align-items: flex-end; gap: 2px; height: 38px; width: 150px; max-width: 100%;
  border-bottom: 1px solid var(--line); margin: .3rem 0; }
.pp .spark span { flex: 1 1 0; max-width: 14px; min-height: 1px; border-radius: 2px 2px 0 0; opacity: .85; }
.pp .item .short { display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }
.pp .avatar { flex: none; width: 2.3rem; height: 2.3rem; border-radius: 50%; display: grid; place-items: center;
  color: #fff; font-weight: 650; }
.pp .feed-item { display: flex; gap: .75rem; font-size: .97rem; }
.pp .feed-body { flex: 1; min-width: 0; }
.pp .feed-head { line-height: 1.3; margin-bottom: .3rem; padding-right: 5rem; overflow-wrap: anywhere; }
.pp .feed-head span { color: var(--muted); font-size: .84rem; }
.pp .feed-body .words { white-space: pre-wrap; }
.pp .feed-body .head { color: var(--muted); font-size: .82rem; }
.pp .original { margin-top: .4rem; font-size: .93rem; }
.pp .counts { color: var(--muted); font-size: .84rem; margin-top: .4rem; }
.pp .replies { border-top: 1px solid var(--line); margin-top: .5rem; padding-top: .2rem; font-size: .93rem; }
.pp .reply { border-left: 2px solid var(--line); padding: .05rem 0 .05rem .7rem; margin: .45rem 0; }
.pp .replies summary { color: var(--muted); cursor: pointer; font-size: .88rem; padding: .2rem 0; }
[class*="st-key-feed-post"] { position: relative; }
[class*="st-key-feed-post"] > [data-testid="stElementContainer"]:last-child:not(:first-child) { position: absolute;
  top: .55rem; right: .9rem; width: auto; }
.pp code { font-size: .9em; }
</style>"""


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """A colour for each arm: its own where it has one, else one that is free; colours repeat past eight arms."""
    colours = {_ARM_COLOURS[arm] for arm in arms if arm in _ARM_COLOURS}
    free = cycle([colour for colour in _ARM_COLOURS.values() if colour not in colours] or list(_ARM_COLOURS.values()))
    return {arm: _ARM_COLOURS.get(arm) or next(free) for arm in arms}
