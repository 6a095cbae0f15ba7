"""Texts to be told apart: of real people, of agents with their own adapters, and of agents with somebody else's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from polyphony.errors import MetricsError
from polyphony.metrics.figures.texts import history_texts, own_texts
from polyphony.metrics.runfile.loading import load_run
from polyphony.metrics.runfile.rundata import RunData
from polyphony.metrics.studies.plan import read_plan

REAL, OWN, SHUFFLED, OTHERS = "real", "own", "shuffled", "another person's"
_KIND_OF_ARM = {"lora": OWN, "shuffled": SHUFFLED}

Texts = dict[str, list[str]]
"""Texts of each person by handle."""


@dataclass(frozen=True)
class Material:
    """The texts of runs that share their people.

    Attributes:
        reference: What people wrote before the simulation, in the part that adapters learn from.
        texts: For `REAL`, what they wrote later, which no adapter has seen; for `OTHERS`, what the next person wrote
            later; for `OWN` and `SHUFFLED`, what the agents who stand for them wrote.
    """

    reference: Texts
    texts: Mapping[str, Texts]

    def people(self, *kinds: str) -> list[str]:
        """People with texts of each of some kinds and with earlier ones, sorted."""
        return sorted(set(self.reference).intersection(*(self.texts[kind] for kind in kinds)))


def read_material(sources: Sequence[str]) -> Material:
    """Read the texts of runs, or of the runs of study directories, as far as they are of ``lora`` or ``shuffled``.

    Raises:
        MetricsError: A run cannot be read, or holds no history; two hold other people; an adapter learned from private
            posts; no run is of an arm with personal adapters.
    """
    runs = [run for source in _files(sources) if (run := load_run(source, exposures=False)).arm in _KIND_OF_ARM]
    if not runs:
        raise MetricsError("none of the runs is of the arm lora or shuffled; give runs of these arms")
    for run in runs:
        _check(run, runs[0])
    texts: dict[str, Texts] = {kind: {} for kind in (REAL, OWN, SHUFFLED)}
    reference: Texts = {}
    for run in runs:
        handles = {agent.user_id: agent.handle for agent in run.agents}
        for split, texts_of in (("train", reference), ("held_out", texts[REAL])):
            own = history_texts(run, split)
            texts_of.update({handle: own[user] for user, handle in handles.items() if user in own})
        for text in own_texts(run):
            texts[_KIND_OF_ARM[run.arm]].setdefault(handles[text.user_id], []).append(text.text)
    writers = sorted(texts[REAL])
    texts[OTHERS] = {handle: texts[REAL][writers[place - 1]] for place, handle in enumerate(writers)}
    return Material(reference, texts if len(writers) > 1 else {**texts, OTHERS: {}})


def _check(run: RunData, first: RunData) -> None:
    """Refuse a run whose texts nobody may read, or that is not of the same people."""
    if run.config.get("include_private"):
        raise MetricsError(
            f"{run.name}: its adapters learned from private posts and may repeat them, so that no rater may read its "
            "texts; run it again without --include-private"
        )
    if run.population_digest != first.population_digest:
        raise MetricsError(f"{run.name}: holds other people than {first.name}; give runs of one population")
    if not run.history:
        raise MetricsError(f"{run.name}: holds no history; run it again without --no-history")


def _files(sources: Sequence[str]) -> list[str]:
    files = []
    for source in sources:
        directory = Path(source)
        if directory.is_dir():
            cells = [directory / cell["file"] for cell in read_plan(directory)["cells"]]
            files += [str(file) for file in cells if file.is_file()]
        else:
            files.append(source)
    return files
