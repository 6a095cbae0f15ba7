"""Colours and the page's style sheet."""

from collections.abc import Sequence

# Told apart in grey and with any colour vision: a light slate for the reference, then Okabe & Ito (2008).
_ARM_COLOURS = ("#8793A6", "#0F62AC", "#D55E00", "#009E73", "#CC79A7", "#B8860B")

COMMUNITY_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#6A4C93", "#8C6D31")
OTHER_COLOUR = "#C3CAD5"
INK = "#1D2736"
MUTED = "#5B6677"
LINE = "#E3E8EF"

SHEET = f"""<style>
.stMainBlockContainer {{ max-width: 1240px; padding-top: 4.2rem; padding-bottom: 4rem; }}
.pp {{ color: {INK}; font-size: 1rem; line-height: 1.45; }}
.pp bdi, .pp .words {{ unicode-bidi: isolate; overflow-wrap: anywhere; }}
.pp .brand {{ color: {MUTED}; font-size: .82rem; letter-spacing: .14em; text-transform: uppercase; font-weight: 600; }}
.pp h1 {{ font-size: 2.3rem; font-weight: 700; letter-spacing: -.02em; margin: .1rem 0 .5rem; padding: 0; }}
.pp h2 {{ font-size: 1.3rem; font-weight: 650; margin: 1.6rem 0 .1rem; padding: 0; }}
.pp .lead {{ font-size: 1.08rem; max-width: 62rem; margin: 0; }}
.pp .note {{ color: {MUTED}; font-size: .9rem; margin: .1rem 0 .4rem; max-width: 62rem; }}
.pp .arms {{ list-style: none; margin: .5rem 0 0; padding: 0; }}
.pp .arms li {{ margin: 0 0 .15rem; padding: 0; font-size: 1rem; }}
.pp .dot {{ display: inline-block; width: .7em; height: .7em; border-radius: 50%; margin-right: .45em; }}
.pp .arm {{ font-weight: 650; white-space: nowrap; }}
.pp .cards {{ display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 14px; margin: 1.3rem 0 .4rem; }}
.pp .card {{ border: 1px solid {LINE}; border-radius: 12px; padding: 16px 18px 14px; background: #fff; }}
.pp .card .title {{ font-weight: 650; }}
.pp .card .what {{ color: {MUTED}; font-size: .82rem; min-height: 1.2em; margin-bottom: 10px; }}
.pp .row {{ display: grid; grid-template-columns: minmax(5.5rem, auto) auto 1fr;
  align-items: baseline; gap: 4px 14px; }}
.pp .row b {{ font-size: 1.5rem; font-weight: 680; font-variant-numeric: tabular-nums; }}
.pp .row small {{ white-space: pre-line; line-height: 1.25; color: {MUTED}; font-size: .8rem; text-align: right; }}
.pp .change {{ border-top: 1px solid {LINE}; margin-top: 10px; padding-top: 9px; font-size: .9rem; }}
.pp .change b {{ font-variant-numeric: tabular-nums; }}
.pp .change span {{ color: {MUTED}; }}
.pp .notice {{ border: 1px solid #E6D9A8;
  background: #FFFBEB; border-radius: 10px; padding: 12px 16px; margin: 1rem 0; }}
.pp .persona {{ background: #F6F8FB;
  border-radius: 10px; padding: 12px 16px; white-space: pre-wrap; font-size: .95rem; }}
.pp .act {{ border-bottom: 1px solid {LINE}; padding: 9px 2px; font-size: .95rem; }}
.pp .act .head {{ color: {MUTED}; font-size: .8rem; }}
.pp .act .head b {{ color: {INK}; }}
.pp .act .words {{ white-space: pre-wrap; margin-top: 2px; }}
.pp .act .about {{ color: {MUTED}; border-left: 3px solid {LINE}; padding-left: 9px; margin-top: 4px; font-size: .87rem;
  display: -webkit-box; -webkit-line-clamp: 3; -webkit-box-orient: vertical; overflow: hidden; }}
@media (max-width: 900px) {{ .pp .cards {{ grid-template-columns: minmax(0, 1fr); }} }}
</style>"""


def arm_colours(arms: Sequence[str]) -> dict[str, str]:
    """A colour for each arm, the reference first; colours repeat past six arms."""
    return {arm: _ARM_COLOURS[index % len(_ARM_COLOURS)] for index, arm in enumerate(arms)}
