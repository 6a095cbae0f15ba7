"""The options that say how adapters are trained, the same for every command that may train."""

import inspect
from collections.abc import Callable
from dataclasses import replace
from functools import wraps
from typing import TYPE_CHECKING, Annotated, Any

import typer

from polyphony.errors import InputError

if TYPE_CHECKING:
    from polyphony.adapters.training.config import TrainingConfig

Plan = Callable[[], "TrainingConfig"]
"""Makes the training configuration that the options ask for; it loads torch, which a command's help does without."""


def takes_training_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of `training_config`; it gets what they ask for as its argument `plan`."""
    options = inspect.signature(training_config).parameters
    own = [
        parameter for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != "plan"
    ]  # fmt: skip

    @wraps(command)
    def with_options(**given: object) -> None:
        chosen = {name: given.pop(name) for name in options}
        command(**given, plan=lambda: training_config(**chosen))  # type: ignore[arg-type]

    parameters = [*own, *options.values()]
    del with_options.__wrapped__
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return with_options


def training_config(
    *,
    grammar: Annotated[
        str | None, typer.Option(help="Labels of the verbs: words, letters or shuffled-letters.")
    ] = None,
    memory: Annotated[
        int, typer.Option(help="Most prompt tokens for own acts, replies, mentions and new followers; 0 for none.")
    ] = 0,
    rank: Annotated[int | None, typer.Option(help="Rank of the personal adapters; alpha is twice it.")] = None,
    examples: Annotated[int | None, typer.Option(help="Most training acts of a person, the latest.")] = None,
    init: Annotated[
        str | None, typer.Option(help="Start of the factors: standard, pissa, olora, olora-tail or mica.")
    ] = None,
    top_blocks: Annotated[int | None, typer.Option(help="Adapt this many of the last decoder blocks.")] = None,
    skip_blocks: Annotated[int | None, typer.Option(help="Of these leave out this many, the last ones.")] = None,
    targets: Annotated[str, typer.Option(help="Linear layers to adapt, as q_proj,v_proj; empty for all.")] = "",
    epochs: Annotated[int | None, typer.Option(help="Most passes over a person's acts; the best one is kept.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Learning rate of the personal adapters.")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="Weight decay of the personal adapters.")] = None,
    warmup_steps: Annotated[
        int | None, typer.Option(help="Steps over which a person's learning rate rises to its full value.")
    ] = None,
    storage: Annotated[
        str, typer.Option(help="Numbers of stored adapters: fp32, bf16, int8 or int4; default what loses nothing.")
    ] = "",
) -> "TrainingConfig":
    """Return the default configuration with what was asked for instead.

    Raises:
        InputError: A value is out of range.
    """
    from polyphony.adapters.training.config import TrainingConfig

    for option, count in {"rank": rank, "examples": examples, "top-blocks": top_blocks, "epochs": epochs}.items():
        if count is not None and count < 1:
            raise InputError(f"--{option} {count} must be at least 1")
    if memory < 0:
        raise InputError(f"--memory {memory} must be at least 0")
    if learning_rate is not None and not 0 < learning_rate < 1:
        raise InputError(f"--learning-rate {learning_rate} must be above 0 and below 1")
    if weight_decay is not None and not 0 <= weight_decay < 1:
        raise InputError(f"--weight-decay {weight_decay} must be at least 0 and below 1")
    if warmup_steps is not None and warmup_steps < 0:
        raise InputError(f"--warmup-steps {warmup_steps} must be at least 0")
    plain = TrainingConfig()
    rank = rank or plain.shape.rank
    return replace(
        plain,
        prompt=replace(plain.prompt, grammar=grammar or plain.prompt.grammar, memory_tokens=memory),
        shape=replace(
            plain.shape, rank=rank, alpha=2.0 * rank,
            targets=tuple(name.strip() for name in targets.split(",") if name.strip()),
            **_given(top_blocks=top_blocks, skip_blocks=skip_blocks),
        ),
        init=init or plain.init,
        schedule=replace(
            plain.schedule,
            **_given(epochs=epochs, lr=learning_rate, weight_decay=weight_decay, warmup_steps=warmup_steps),
        ),
        max_examples=examples or plain.max_examples,
        storage=storage,
    )  # fmt: skip


def _given(**values: Any) -> dict[str, Any]:
    """Those that were given; the others keep their defaults."""
    return {name: value for name, value in values.items() if value is not None}
