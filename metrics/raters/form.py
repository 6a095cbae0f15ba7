"""One HTML file for human raters: trials with two alternatives, answers as a CSV file. It fetches and sends nothing."""

import base64
import hashlib
import html
from collections.abc import Sequence

from polyphony.metrics.raters.trials import SIDES, Trial, form_id
from polyphony.printable import inert

MARK = "<!-- A rating form of Polyphony -->"
MOST_CHARACTERS = 1_000
_STYLE = """
:root{color-scheme:light dark;--line:#8886;--mark:#0072B2}
@media (prefers-color-scheme:dark){:root{--mark:#56B4E9}}
*{box-sizing:border-box}[hidden]{display:none!important}
body{font:17px/1.5 system-ui,sans-serif;max-width:46rem;margin:0 auto;padding:1rem}
h1{font-size:1.4rem}h2{font-size:1.05rem;margin:1.2rem 0 .3rem}
blockquote,.option{margin:.5rem 0;padding:.7rem .9rem;border:1px solid var(--line);border-radius:.5rem;
white-space:pre-wrap;overflow-wrap:anywhere}
fieldset{border:0;padding:0;margin:1rem 0}legend{font-weight:600;padding:0}
.option{display:flex;gap:.7rem;cursor:pointer;min-height:3rem}.option input{flex:none;width:1.3rem;height:1.3rem}
.option:has(:checked){border-color:var(--mark);box-shadow:inset 0 0 0 2px var(--mark)}
h1:focus,h2:focus{outline:0}:is(button,input):focus-visible{outline:3px solid var(--mark);outline-offset:2px}
button,input[type=text]{font:inherit;padding:.6rem 1rem;min-height:2.75rem}nav{display:flex;gap:.6rem;flex-wrap:wrap}
progress{width:100%;height:1rem}.soft{opacity:.8;font-size:.9rem}
"""
# Answers stay on the rater's device until the file is downloaded. Nothing of a text is read by the script.
_SCRIPT = r"""
"use strict";
const form = document.body.dataset.form, trials = [...document.querySelectorAll("section.trial")];
const part = id => document.getElementById(id), answers = {}, times = {};
let place = -1, shownAt = 0;
const store = "polyphony-raters-" + form;
try {
  const kept = JSON.parse(localStorage.getItem(store) || "{}");
  for (const trial of trials) {
    if (["A", "B"].includes(kept.answers?.[trial.id])) {
      answers[trial.id] = kept.answers[trial.id];
      times[trial.id] = Number(kept.times?.[trial.id]) || 0;
      trial.querySelector(`input[value=${answers[trial.id]}]`).checked = true;
    }
  }
  part("rater").value = typeof kept.rater === "string" ? kept.rater : "";
} catch { }
function keep() {
  try { localStorage.setItem(store, JSON.stringify({answers, times, rater: part("rater").value})); } catch { }
}
function show(next) {
  if (place >= 0 && place < trials.length) times[trials[place].id] += (performance.now() - shownAt) / 1000;
  place = Math.max(-1, Math.min(next, trials.length));
  trials.forEach((trial, number) => { trial.hidden = number !== place; });
  part("start").hidden = place !== -1;
  part("end").hidden = place !== trials.length;
  part("steps").hidden = place === -1;
  part("next").hidden = place === trials.length;
  const done = Object.keys(answers).length, open = trials.length - done;
  part("bar").value = done;
  part("where").textContent = place < trials.length ? `Trial ${place + 1} of ${trials.length}` : `${done} answered`;
  part("missing").textContent = open ? `${open} trials have no answer yet. You can go back to them.` : "";
  if (place >= 0 && place < trials.length) {
    times[trials[place].id] ??= 0;
    shownAt = performance.now();
    part("next").disabled = !(trials[place].id in answers);
  }
  const head = (trials[place] || part(place < 0 ? "start" : "end")).querySelector("h1, h2");
  head.focus({preventScroll: true});
  window.scrollTo(0, 0);
  keep();
}
function choose(trial, side) {
  trial.querySelector(`input[value=${side}]`).checked = true;
  answers[trial.id] = side;
  part("next").disabled = false;
  part("bar").value = Object.keys(answers).length;
  keep();
}
const formula = /^('*[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20])/;
const cell = text => '"' + text.replace(formula, "'$1").replaceAll('"', '""') + '"';
function download() {
  const rater = part("rater").value.trim() || "anonymous", rows = [["form", "rater", "trial", "answer", "seconds"]];
  for (const trial of trials) {
    if (trial.id in answers) rows.push([form, rater, trial.id, answers[trial.id], (times[trial.id] || 0).toFixed(1)]);
  }
  const text = rows.map(row => row.map(cell).join(",")).join("\r\n") + "\r\n";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], {type: "text/csv"}));
  link.download = `answers-${form}-${rater.replace(/[^\w.-]+/g, "-").slice(0, 40)}.csv`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
}
trials.forEach(trial => trial.addEventListener("change", event => choose(trial, event.target.value)));
part("begin").addEventListener("click", () => show(0));
part("next").addEventListener("click", () => show(place + 1));
part("back").addEventListener("click", () => show(place - 1));
part("save").addEventListener("click", download);
part("rater").addEventListener("input", keep);
document.addEventListener("keydown", event => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input[type=text]")) return;
  const side = {a: "A", "1": "A", b: "B", "2": "B"}[event.key.toLowerCase()];
  const inTrial = place >= 0 && place < trials.length;
  if (side && inTrial) choose(trials[place], side);
  else if (event.key === "Enter" && !event.target.matches("button")) {
    if (place === -1) show(0);
    else if (inTrial && trials[place].id in answers) show(place + 1);
  } else if (event.key === "Backspace" && place > 0) show(place - 1);
  else return;
  event.preventDefault();
});
show(-1);
"""
_START = """<section id="start"><h1 tabindex="-1">Which post is by the same person?</h1>
<p>In each trial you see {shown} posts of one person, and below them two other posts. Choose the one that you think the
same person wrote. Where you cannot tell, choose the one that seems likelier.</p>
<p>The posts may hold opinions, rude words and mistakes. Some were written by people, others by a computer. Please do
not copy or pass on what you read, and do not look for the people.</p>
<p>There are {count} trials. Your answers stay on this device until you download them at the end; you can close this
page and go on later. Keys: A or B to choose, Enter to go on, Backspace to go back.</p>
<p><label>Your name or number, as you agreed with the researcher:<br><input type="text" id="rater" maxlength="60"
autocomplete="off"></label></p>
<p><button type="button" id="begin">Begin</button></p></section>"""
_END = """<section id="end" hidden><h2 tabindex="-1">Thank you</h2><p id="missing"></p>
<p>Download your answers and send the file to the researcher. It holds no posts.</p>
<p><button type="button" id="save">Download answers</button></p></section>"""
_STEPS = """<div id="steps" hidden><p class="soft" id="where" role="status"></p>
<progress id="bar" max="{count}" value="0" aria-label="Trials with an answer"></progress>
<nav aria-label="Trials"><button type="button" id="back">Back</button>
<button type="button" id="next" disabled>Next</button></nav></div>"""


def form_page(trials: Sequence[Trial]) -> str:
    """The whole file; which answers are right, of what kind a trial is and whose the posts are is not in it."""
    asked = "".join(_trial(number, trial) for number, trial in enumerate(trials, 1))
    policy = f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{_digest(_SCRIPT)}'"
    start = _START.format(shown=len(trials[0].shown), count=len(trials))
    return (
        f'<!doctype html>\n{MARK}\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
        f"<title>Rating form</title><style>{_STYLE}</style></head>\n"
        f'<body data-form="{form_id(trials)}"><main><noscript><p>This form needs JavaScript.</p></noscript>\n'
        f"{start}\n{asked}{_END}\n{_STEPS.format(count=len(trials))}</main>\n<script>{_SCRIPT}</script></body></html>\n"
    )


def trial_id(number: int) -> str:
    """What a trial is called in the form, in the answers and in the key."""
    return f"t{number:03d}"


def _trial(number: int, trial: Trial) -> str:
    name = trial_id(number)
    shown = "".join(f'<blockquote dir="auto">{_text(text)}</blockquote>' for text in trial.shown)
    options = "".join(
        f'<label class="option"><input type="radio" name="{name}" value="{side}"><span><b>{side}</b><br>'
        f'<span class="words" dir="auto">{_text(text)}</span></span></label>'
        for side, text in zip(SIDES, trial.candidates, strict=True)
    )
    return (
        f'<section class="trial" id="{name}" hidden><h2 tabindex="-1">Posts of one person</h2>{shown}'
        f"<fieldset><legend>Which of these two did the same person write?</legend>{options}</fieldset></section>\n"
    )


def _text(text: str) -> str:
    """Text as HTML that shows exactly that text, cut to a length."""
    cut = text if len(text) <= MOST_CHARACTERS else f"{text[: MOST_CHARACTERS - 1]}…"
    return html.escape(inert(cut), quote=True)


def _digest(script: str) -> str:
    return base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
