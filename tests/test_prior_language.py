"""A prior of English posts under people who write in another language is said to be one."""

import json
from types import SimpleNamespace

import pytest

from polyphony.personas.population import load_population
from polyphony.simulation.runs.prior_language import note_on_language

SENTENCES = {
    "German": "Heute war das Wetter in unserer kleinen Stadt wieder einmal ziemlich schlecht, also blieb ich zu Hause",
    "English": "Today the weather in our little town was rather bad once again, so I simply stayed at home all day",
}


@pytest.mark.parametrize(
    ("language", "corpus", "is_noted"),
    [("German", "town:3", True), ("English", "town", False), ("German", "mine", False), ("German", "town:mine", False)],
)
def test_a_note_where_a_towns_prior_meets_another_language(tmp_path, language, corpus, is_noted):
    posts = [
        {"id": f"{author}{day}", "author": author, "text": f"{SENTENCES[language]} ({author} {day}).",
         "created_at": f"2026-01-{day + 1:02}T09:00:00Z"}
        for author in ("ada", "bo", "cy") for day in range(12)
    ]  # fmt: skip
    path = tmp_path / "posts.jsonl"
    path.write_text("".join(json.dumps(post) + "\n" for post in posts))
    prior = SimpleNamespace(provenance={"corpus": {"name": corpus}})
    note = note_on_language(prior, load_population(str(path)))
    assert bool(note) == is_noted
    assert not note or ("'town:3'" in note and "are in German" in note and "without --prior bank" in note)
