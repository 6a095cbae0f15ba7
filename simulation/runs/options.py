"""The table of a run's options: each is defined here once.

From it come the flags of ``simulate run``, ``study``, ``fork``, ``interview``, ``train`` and ``bank evaluate``, the
keys of a study's TOML file, the changes in an arm's label (``lora:rank=8+temperature=0.7``), the checks of
`simulation.runs.settings.RunSettings`, and docs/options.md. Nothing here loads torch: a command's help does without.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import TypeAdapter, ValidationError

from polyphony.errors import InputError
from polyphony.personas.readers.dates import UTC_NAME
from polyphony.printable import QUOTE_LIMIT, printable, quoted
from polyphony.simulation.policies.arms import ARMS

Value = int | float | str | bool

LARGEST = 2**63 - 1
"""The largest whole number that a run file holds."""

RUN = "Run"
TIME = "Simulated time"
PLATFORM = "Platform and feed"
TEXT = "Prompts and texts"
TRAINING = "Training of adapters"


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a run.

    Attributes:
        name: Its name in study files; the flag is ``--`` and the same with hyphens.
        default: Its value where nothing is given; its type is the option's type.
        help: What it decides, in sentences.
        group: Heading under which help and docs show it.
        setting: Where `simulation.runs.settings.RunSettings` holds it, as ``feed.recommender``.
        unit: What a number counts.
        low: Smallest value of a number; None for any.
        high: Largest value.
        open_low: Whether `low` itself is refused.
        open_high: Whether `high` itself is refused.
        choices: The names that it takes; empty for any text.
        by_plugin: Whether a plug-in can add names to `choices`; the registry checks them then.
        empty: What an empty text means; help shows it as the default.
        crossed: Whether a study crosses several values of it instead of fixing one.
        forkable: Whether a fork may change it.
        asks: Whether an interview may change it.
    """

    name: str
    default: Value
    help: str
    group: str
    setting: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    open_low: bool = False
    open_high: bool = False
    choices: tuple[str, ...] = ()
    by_plugin: bool = False
    empty: str = ""
    crossed: bool = False
    forkable: bool = True
    asks: bool = False

    @property
    def flag(self) -> str:
        """How the command line calls it."""
        return f"--{self.name.replace('_', '-')}"

    @property
    def shown_default(self) -> str:
        """The default as help and docs show it."""
        if isinstance(self.default, bool):
            return "yes" if self.default else "no"
        return str(self.default) if self.default != "" else self.empty

    @property
    def range(self) -> str:
        """The values of a number in words, as ``at least 1 and at most 9``; empty where anything goes."""
        parts = []
        if self.low is not None:
            parts.append(f"{'above' if self.open_low else 'at least'} {_number(self.low)}")
        if self.high is not None:
            parts.append(f"{'below' if self.open_high else 'at most'} {_number(self.high)}")
        return " and ".join(parts)

    @property
    def range_in_help(self) -> str:
        """The same as help and docs say it, as ``From 1 to 9``."""
        if self.low is not None and self.high is not None and not (self.open_low or self.open_high):
            return f"From {_number(self.low)} to {_number(self.high)}"
        return self.range[:1].upper() + self.range[1:]

    def parsed(self, value: object, where: str = "") -> Value:
        """The value in the option's type, checked.

        Args:
            value: A value of that type, or a text that says it.
            where: Names in errors what the value stands in, as a file; empty for the command line.

        Raises:
            InputError: It is of another type, out of range or none of the choices.
        """
        start = f"{where}: " if where else ""
        if isinstance(value, bool) and not isinstance(self.default, bool):
            raise InputError(f"{start}{self.name}: {quoted(value)}: Input should be a {type(self.default).__name__}")
        try:
            read: Value = TypeAdapter(type(self.default)).validate_python(value)
        except ValidationError as error:
            raise InputError(f"{start}{self.name}: {quoted(value)}: {error.errors()[0]['msg']}") from error
        self.check(read, start)
        return read

    def check(self, value: Value, start: str = "") -> None:
        """Refuse what the option cannot be.

        Raises:
            InputError: The value is out of range or none of the choices; the line begins with `start`.
        """
        if self.choices and not self.by_plugin and value not in self.choices and value != self.default:
            raise InputError(f"{start}{self.flag} {quoted(value)} is not one of {', '.join(self.choices)}")
        if isinstance(value, str):
            self._check_text(value, start)
        if (self.low is not None or self.high is not None) and not self.holds(value):
            unit = f" {self.unit}" if self.unit else ""
            raise InputError(f"{start}{self.flag} {_shown(value)} must be {self.range}{unit}")

    def holds(self, value: Value) -> bool:
        """Whether a number is in the range; what is no number is not."""
        number = value if isinstance(value, int | float) else float(value)  # 2^63 is no float
        above = self.low is None or (number > self.low if self.open_low else number >= self.low)
        below = self.high is None or (number < self.high if self.open_high else number <= self.high)
        return above and below

    def _check_text(self, value: str, start: str) -> None:
        """Refuse an empty text where that means nothing, and what no system takes as a name."""
        if not value.strip() and self.default != "":
            raise InputError(f"{start}{self.flag} {value!r} is empty; leave it out for {self.shown_default!r}")
        try:
            unfit = b"\0" in os.fsencode(value)
        except UnicodeEncodeError:
            unfit = True
        if unfit:
            raise InputError(f"{start}{self.flag} {quoted(value)} holds a character that no name can have")


def _shown(value: object) -> str:
    """A value in an error: as it is, or shortened."""
    text = printable(str(value))
    return text if len(text) <= QUOTE_LIMIT else f"{text[:QUOTE_LIMIT]}…"


def _number(value: float) -> str:
    if abs(value) > 2**62:
        return "2^63 - 1" if value > 0 else "-2^63"
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:g}"


NOT_COMPARED = ("seed", "agents", "steps", "population")
# What an option decides beside its own setting.
_ALSO_DECIDED: Mapping[str, tuple[str, ...]] = {"rank": ("training.shape.alpha",)}

OPTIONS: Mapping[str, Option] = {
    option.name: option
    for option in (
        Option(
            name="agents", default=32, group=RUN, setting="agents", unit="people", low=1, high=1_000_000,
            help="Number of people who act.", crossed=True, forkable=False,
        ),
        Option(
            name="steps", default=12, group=RUN, setting="timesteps", unit="timesteps", low=1, high=1_000_000,
            help="Number of timesteps to simulate.",
        ),
        Option(
            name="seed", default=0, group=RUN, setting="seed", low=-LARGEST - 1, high=LARGEST,
            help="Random seed.", crossed=True, asks=True,
        ),
        Option(
            name="arm", default="lora", group=RUN, setting="arm", choices=tuple(ARMS), crossed=True,
            help="Arm of the experiment: which adapter the agents use and what their prompt says.",
        ),
        Option(
            name="population", default="town", group=RUN, setting="population", asks=True,
            help="The people: 'town', which is built in, 'town:7' for another town, made on first use, "
            "or a file of posts.",
        ),
        Option(
            name="columns", default="", group=RUN, setting="columns", asks=True,
            empty="our names, or a known scraper's",
            help="What the file's table calls our columns, for example author=user,text=content.",
        ),
        Option(
            name="timezone", default=UTC_NAME, group=RUN, setting="timezone", asks=True,
            help="The time zone of a table's dates that have no offset: an IANA name, for example Europe/Berlin, or an "
            "offset, for example +02:00. Dates with an offset keep theirs.",
        ),
        Option(
            name="include_private", default=False, group=RUN, setting="include_private",
            help="Train also on posts that their authors showed to some people only. They never reach the platform, "
            "the run file or an export, but an adapter may repeat what it has learned.",
        ),
        Option(
            name="policy", default="engine", group=RUN, setting="policy", choices=("engine", "camel", "null"),
            by_plugin=True,
            help="What chooses an agent's act. engine: the base model with adapters. camel: camel-ai agents. "
            "null: a draw from the person's history, without a model.",
        ),
        Option(
            name="camel_model", default="", group=RUN, setting="camel_model", empty="our engine",
            help="With --policy camel: the model that the agents ask, as PLATFORM/NAME, for example ollama/llama3.2.",
        ),
        Option(
            name="camel_url", default="", group=RUN, setting="camel_url", empty="the platform's own address",
            help="The address at which that model is served, for example http://127.0.0.1:8000/v1.",
        ),
        Option(
            name="engine", default="local", group=RUN, setting="engine", choices=("local", "vllm", "http"),
            help="Where the model of --policy engine computes. local: here. vllm: in a vLLM server, which loads the "
            "agents' adapters. http: in any OpenAI-compatible server, with models of its own. See docs/engines.md.",
        ),
        Option(
            name="engine_url", default="", group=RUN, setting="engine_url", empty="no server",
            help="The address of that server, for example http://127.0.0.1:8000/v1. Put its key into the "
            "environment variable POLYPHONY_ENGINE_KEY.",
        ),
        Option(
            name="engine_models", default="", group=RUN, setting="engine_models",
            empty="the names of a Polyphony server: {person}, pooled or base",
            help="With --engine http: the server's name for an agent's model. {person} in it stands for the handle of "
            "the person whose adapter the agent acts with.",
        ),
        Option(
            name="engine_adapters", default="", group=RUN, setting="engine_adapters",
            empty="engine-adapters in the user's cache",
            help="With --engine vllm: the directory into which adapters are exported. The server must be able to read "
            "it under the same path. The run file does not record it.",
        ),
        Option(
            name="weights", default="trained", group=RUN, setting="weights", choices=("trained", "serving"),
            help="Which adapters the agents use. trained: those that the training options describe; missing ones are "
            "trained. serving: those that the bank has promoted.",
        ),
        Option(
            name="slots", default=0, group=RUN, setting="slots", unit="adapters", low=0, high=1_000_000,
            help="Number of adapters that the engine holds at the same time. Fewer take less memory. 0 means one for "
            "each agent.",
        ),
        Option(
            name="history", default=True, group=RUN, setting="history",
            help="Store the people's own posts in the run file.",
        ),
        Option(
            name="minutes_per_step", default=60, group=TIME, setting="minutes", unit="minutes", low=1, high=525_600,
            help="Length of a timestep in simulated minutes.", forkable=False,
        ),
        Option(
            name="activation", default=0.5, group=TIME, setting="activation", unit="acts", low=0, high=10,
            open_low=True, help="Expected number of acts of an agent in a timestep, averaged over agents and hours.",
        ),
        Option(
            name="start", default="", group=TIME, setting="start", empty="the morning after the last post",
            help="Simulated time at which the run starts, in ISO 8601, for example 2026-03-02T08:00Z.", forkable=False,
        ),
        Option(
            name="churn", default=0.0, group=TIME, setting="churn", unit="per day", low=0, high=100,
            help="Rate at which agents leave for good.",
        ),
        Option(
            name="late", default=0.0, group=TIME, setting="late", low=0, high=1,
            help="Share of agents who join during the run.",
        ),
        Option(
            name="seed_posts", default=2, group=PLATFORM, setting="seed_posts", unit="posts", low=0, high=1000,
            help="Number of each agent's own posts that are on the platform at the start.", forkable=False,
        ),
        Option(
            name="actions", default="population", group=PLATFORM, setting="actions",
            help="What agents may do. population: what occurs in the people's histories, and nothing. Or default, "
            "twitter, reddit, all, or a list such as post,reply,mute.",
        ),
        Option(
            name="recommender", default="attention", group=PLATFORM, setting="feed.recommender", by_plugin=True,
            choices=(
                "attention", "chronological", "collaborative", "followee-popular", "random", "reddit-hot",
                "similarity", "twhin",
            ),
            help="The recommender that ranks the posts of a feed.",
        ),
        Option(
            name="followee_share", default=0.5, group=PLATFORM, setting="feed.followee_share", low=0, high=1,
            help="Share of a feed that is reserved for posts of the accounts that the agent follows.",
        ),
        Option(
            name="notification_share", default=0.5, group=PLATFORM, setting="feed.notification_share", low=0, high=1,
            help="Largest share of a feed that is for replies to the agent, mentions of it and quotes of its posts.",
        ),
        Option(
            name="who_to_follow", default="none", group=PLATFORM, setting="feed.who_to_follow", by_plugin=True,
            choices=("none", "adamic-adar", "common-neighbours", "popularity", "random", "similar-content"),
            help="Method that suggests an account to follow in the last place of a feed.",
        ),
        Option(
            name="repeats", default=False, group=PLATFORM, setting="feed.repeats",
            help="Show an agent posts that it has already seen.",
        ),
        Option(
            name="scenario", default="", group=PLATFORM, setting="scenario", empty="no intervention",
            help="YAML or TOML file of interventions: seed posts, news, bots, suspensions, changes of recommender.",
        ),
        Option(
            name="temperature", default=0.9, group=TEXT, setting="decoding.temperature", low=0, high=10, open_low=True,
            help="Sampling temperature of the texts.", asks=True,
        ),
        Option(
            name="grammar", default="words", group=TEXT, setting="training.prompt.grammar",
            choices=("words", "letters", "shuffled-letters"), help="Labels that stand for the verbs in prompts.",
        ),
        Option(
            name="memory", default=0, group=TEXT, setting="training.prompt.memory_tokens", unit="tokens", low=0,
            high=1_000_000,
            help="Length limit for what a prompt recalls of the agent's own acts, replies, mentions and new followers. "
            "0 means that it recalls nothing.",
        ),
        Option(
            name="split", default="date", group=TRAINING, setting="training.split", choices=("date", "person"),
            forkable=False,
            help="Which acts are held out. date: everybody's acts from one date on, about a fifth of all, so that no "
            "feed of a training shows one. person: the last fifth of each person's.",
        ),
        Option(
            name="history_recommender", default="attention", group=TRAINING, setting="training.history.recommender",
            by_plugin=True,
            choices=(
                "attention", "chronological", "collaborative", "followee-popular", "random", "reddit-hot",
                "similarity", "twhin",
            ),
            help="The recommender that chooses what people are shown in training, when their history is replayed. "
            "Runs that compare recommenders keep one here, so that they share adapters.",
        ),
        Option(
            name="history_followee_share", default=0.5, group=TRAINING, setting="training.history.followee_share",
            low=0, high=1, help="Share of a feed in training that is reserved for posts of followees.",
        ),
        Option(
            name="nothing", default=0.125, group=TRAINING, setting="training.history.nothing", low=0, high=10,
            help="Moments in training at which a person is there and does nothing, for each of their acts. The null "
            "policy and the act-matched arm draw them as often.",
        ),
        Option(
            name="rank", default=4, group=TRAINING, setting="training.shape.rank", low=1, high=4096,
            help="Rank of the personal adapters. Alpha is twice the rank.",
        ),
        Option(
            name="examples", default=24, group=TRAINING, setting="training.max_examples", unit="acts", low=1,
            high=1_000_000, help="Largest number of acts to train on for each person. The latest acts are used.",
        ),
        Option(
            name="prior", default="own", group=TRAINING, setting="training.prior", choices=("own", "bank"),
            forkable=False,
            help="What personal adapters are trained over. own: a prior trained on the acts of this population. bank: "
            "the prior that most adapters in the bank stand on, whoever it was trained on. It saves minutes, and knows "
            "nothing of how these people write.",
        ),
        Option(
            name="prior_examples", default=3072, group=TRAINING, setting="training.prior_examples", unit="acts", low=1,
            high=1_000_000,
            help="Largest number of acts that the prior, which all people share, reads in all its passes. With fewer, "
            "it is trained in less time, and knows less of the language that the people share.",
        ),
        Option(
            name="adapter", default="lora", group=TRAINING, setting="training.adapter",
            choices=("lora", "shared-basis"), forkable=False,
            help="What a personal adapter is made of. lora: factors of its own. shared-basis: a few kilobytes of "
            "coefficients in a basis that is learned once and shared by all. See docs/shared_basis.md.",
        ),
        Option(
            name="basis", default="own", group=TRAINING, setting="training.basis", choices=("own", "bank"),
            forkable=False,
            help="With --adapter shared-basis: whose basis. own: one learned from people of this population. bank: the "
            "newest in the bank of the same base model, rank and layers, whoever it was learned from.",
        ),
        Option(
            name="init", default="standard", group=TRAINING, setting="training.init",
            choices=("standard", "pissa", "olora", "olora-tail", "tail-a", "mica"),
            help="How the factors of a personal adapter are initialised.",
        ),
        Option(
            name="top_blocks", default=10, group=TRAINING, setting="training.shape.top_blocks", unit="blocks", low=1,
            high=10_000, help="Number of decoder blocks that adapters change, counted from the last block back.",
        ),
        Option(
            name="skip_blocks", default=0, group=TRAINING, setting="training.shape.skip_blocks", unit="blocks", low=0,
            high=10_000,
            help="Number of blocks at the very end that adapters leave unchanged. It must be below --top-blocks.",
        ),
        Option(
            name="targets", default="", group=TRAINING, setting="training.shape.targets", empty="all",
            help="Linear layers that adapters change, for example q_proj,v_proj.",
        ),
        Option(
            name="epochs", default=2, group=TRAINING, setting="training.schedule.epochs", unit="passes", low=1,
            high=10_000,
            help="Largest number of passes over a person's acts. The pass with the lowest validation loss is kept.",
        ),
        Option(
            name="learning_rate", default=2e-3, group=TRAINING, setting="training.schedule.lr", low=0, high=1,
            open_low=True, open_high=True, help="Learning rate of the personal adapters.",
        ),
        Option(
            name="weight_decay", default=0.0, group=TRAINING, setting="training.schedule.weight_decay", low=0, high=1,
            open_high=True, help="Decoupled weight decay of the personal adapters.",
        ),
        Option(
            name="warmup_steps", default=4, group=TRAINING, setting="training.schedule.warmup_steps", unit="steps",
            low=0, high=1_000_000, help="Number of training steps in which the learning rate rises to its full value.",
        ),
        Option(
            name="storage", default="", group=TRAINING, setting="training.storage",
            choices=("fp32", "bf16", "int8", "int4"), empty="lossless",
            help="Number format of stored adapters. The default loses nothing in the base model's compute type.",
        ),
    )
}  # fmt: skip
"""Every option of a run by name, in the order in which help and docs show them."""

TRAINING_OPTIONS = tuple(option for option in OPTIONS.values() if option.setting.startswith("training."))
"""Those that decide how adapters are trained."""


def complete(given: Mapping[str, object], where: str = "") -> dict[str, Value]:
    """Every option a study's runs share, in the order of the table: what is given, and defaults.

    Raises:
        InputError: An option is unknown or cannot have its value; the line begins with `where`.
    """
    return {option.name: option.default for option in SHARED} | parsed(given, where)


def parsed(given: Mapping[str, object], where: str = "") -> dict[str, Value]:
    """Options that all runs of a study share, read from a file or a label.

    Raises:
        InputError: As `complete`.
    """
    options = {option.name: option for option in SHARED}
    for name in given:
        if name not in options:
            names = ", ".join(option.name.replace("_", "-") for option in SHARED)
            raise InputError(f"{where}: {_shown(name)}: no such option; options are {names}")
    return {name: options[name].parsed(value, where) for name, value in given.items()}


SHARED = tuple(option for option in OPTIONS.values() if not option.crossed)
"""Those that a study gives all its runs, or an arm of its own."""


def compared_settings(option: str) -> tuple[str, ...]:
    """The settings that an option decides, as runs are compared by it; its own comes first.

    The option may be written as in Python or as a flag, ``who_to_follow`` or ``who-to-follow``.

    Raises:
        InputError: Runs cannot be compared by it.
    """
    name = option.replace("-", "_")
    if name in NOT_COMPARED:
        raise InputError(
            f"runs are paired by seed and agents, and have one number of steps and one population: {name!r} cannot be "
            "what they are compared by"
        )
    if name not in OPTIONS:
        names = ", ".join(option for option in OPTIONS if option not in NOT_COMPARED)
        raise InputError(f"{name!r} is no option of a run; options are {names}")
    return (OPTIONS[name].setting, *_ALSO_DECIDED.get(name, ()))


def value_at(settings: Any, path: str) -> Any:
    """What stands at a dotted path in nested dataclasses."""
    for part in path.split("."):
        settings = getattr(settings, part)
    return settings
