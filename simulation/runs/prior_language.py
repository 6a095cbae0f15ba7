"""Whether a prior of the bank learned posts in the language of the people that are trained over it."""

from polyphony.adapters.bank.revision import Revision
from polyphony.errors import InputError
from polyphony.personas.people.language import ENGLISH, NAMES, languages_of
from polyphony.personas.population import Population
from polyphony.personas.town.numbered import town_number


def note_on_language(prior: Revision, population: Population) -> str:
    """A line where a prior learned a built-in town's posts, which are in English, and most people's are in another.

    Empty otherwise, also where the prior's corpus is no town: the bank does not record its language.
    """
    corpus = str((prior.provenance or {}).get("corpus", {}).get("name", ""))
    main = languages_of(act.text for persona in population.personas for act in persona.train).main
    if not _is_town(corpus) or main in ("", ENGLISH):
        return ""
    return (
        f"note: the bank's prior learned the English posts of {corpus!r}, and most of {population.name!r} are in "
        f"{NAMES.get(main, main)}; without --prior bank they get a prior of their own, which takes longer"
    )


def _is_town(corpus: str) -> bool:
    try:
        return town_number(corpus) is not None
    except InputError:  # a file may be called "town:abc"
        return False
