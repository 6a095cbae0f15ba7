"""The configuration of an adapter from PEFT: what it may say, and PEFT's own word on which layers it means."""

import json
import math
import re
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from peft import LoraConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING
from peft.utils.other import get_pattern_key

from polyphony.adapters.model.base_model import EMBEDDED_NAME, BaseModel
from polyphony.errors import InputError
from polyphony.printable import printable_path, quoted
from polyphony.regular_file import open_regular
from polyphony.time_limit import TimeLimitExceeded, time_limit

CONFIG = "adapter_config.json"
MOST_CONFIG_BYTES = 1 << 20
MOST_SCALE = 1e6
MOST_RANK = 4096
MATCHING_SECONDS = 10
# Fields of PEFT's configuration that do not change the product B A, or that are read here.
UNDERSTOOD = {
    "r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern", "peft_type", "peft_version", "auto_mapping",
    "base_model_name_or_path", "revision", "task_type", "inference_mode", "target_modules", "exclude_modules",
    "lora_dropout", "layers_to_transform", "layers_pattern", "init_lora_weights", "megatron_core", "qalora_group_size",
    "eva_config", "ensure_weight_tying",
}  # fmt: skip
# Initialisations that leave the base's weight unchanged; PiSSA, OLoRA, LoftQ and others change it on loading.
PLAIN_STARTS = (True, False, None, "gaussian", "eva", "orthogonal")
EVERY_LINEAR = "all-linear"
EMBEDDED = "embedded"
"""How a configuration may call the embedded base model."""


def read_config(directory: Path) -> dict[str, Any]:
    """Read the configuration of a LoRA adapter.

    Raises:
        InputError: There is none, it is damaged, or the adapter does more than its factors A and B say.
    """
    path = directory / CONFIG
    if not path.exists():
        raise InputError(f"{directory}: no {CONFIG} here: give a directory that PEFT's save_pretrained wrote")
    config = read_object(path)
    if config.get("peft_type") != "LORA":
        raise InputError(f"{path}: peft_type {quoted(config.get('peft_type'))} is not LORA")
    for name, value in config.items():
        if name not in UNDERSTOOD and value not in (None, False, [], {}, "none"):
            raise InputError(f"{path}: {quoted(name)} {quoted(value)} does more than A and B say; train it without")
    start = config.get("init_lora_weights", True)
    if start not in PLAIN_STARTS:
        raise InputError(
            f"{path}: init_lora_weights {quoted(start)} changes the base; convert it to a plain LoRA first (PEFT's "
            "path_initial_model_for_weight_conversion)"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise InputError(f"{path}: rank r {quoted(rank)} must be a whole number of at least 1")
    if not _is_number(alpha):
        raise InputError(f"{path}: lora_alpha {quoted(alpha)} must be a number")
    for name in ("rank_pattern", "alpha_pattern"):
        pattern = config.get(name) or {}
        if not isinstance(pattern, dict) or not all(map(_is_number, pattern.values())):
            raise InputError(f"{path}: {name} must give a number for each of some layers' names")
    return config


def read_object(path: Path) -> dict[str, Any]:
    """Read a small JSON object.

    Raises:
        InputError: It is none, over `MOST_CONFIG_BYTES`, or not a regular file.
    """
    try:
        with open_regular(path) as (file, _):
            content = file.read(MOST_CONFIG_BYTES + 1)
        value = json.loads(content, parse_constant=_no_json) if len(content) <= MOST_CONFIG_BYTES else None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON") from error
    if not isinstance(value, dict):
        raise InputError(f"{path}: must be one JSON object of at most {MOST_CONFIG_BYTES >> 20} MiB")
    return value


def _no_json(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < MOST_SCALE


def layers_of(config: Mapping[str, Any], modules: Iterable[str], base: BaseModel, where: Path) -> dict[str, Any]:
    """Rank and scale of each layer, as PEFT gives them: its own functions match the names.

    Args:
        config: The configuration, from `read_config`.
        modules: Names of the layers whose factors the adapter holds.
        base: The base model that they belong to.
        where: The configuration's path, for errors.

    Returns:
        Layer -> (rank, scale), the scale being alpha / rank, or alpha / √rank with rsLoRA.

    Raises:
        InputError: PEFT would not adapt one of them, or a pattern is none or takes too long to match.
    """
    try:
        with time_limit(MATCHING_SECONDS), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            targets = _targets(config, base)
            return {module: _layer(config, targets, module, where) for module in modules}
    except TimeLimitExceeded as error:
        raise InputError(
            f"{where}: matching its patterns with the layers' names takes over {MATCHING_SECONDS} s; name the layers"
        ) from error
    except (ValueError, TypeError, AttributeError, OverflowError, RecursionError, re.error) as error:
        raise InputError(f"{where}: PEFT cannot match its patterns with layers: {quoted(str(error))}") from error


def _targets(config: Mapping[str, Any], base: BaseModel) -> LoraConfig | None:
    """What PEFT asks which layers are adapted; None where all linear layers are."""
    wanted = config.get("target_modules")
    if wanted is None:
        mapped = TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(base.model.config.model_type)
        if mapped is None:
            raise ValueError("target_modules is missing")
        wanted = mapped if isinstance(mapped, str) else list(mapped)
    if isinstance(wanted, str) and wanted.lower() == EVERY_LINEAR:
        return None
    names = ("exclude_modules", "layers_to_transform", "layers_pattern")
    return LoraConfig(target_modules=wanted, **{name: config.get(name) for name in names})


def _layer(config: Mapping[str, Any], targets: LoraConfig | None, module: str, where: Path) -> tuple[int, float]:
    if targets is not None and not check_target_module_exists(targets, module):
        raise InputError(
            f"{where}: its target_modules do not name {module}, whose factors the weights hold: PEFT would leave them "
            "out; correct the configuration"
        )
    ranks, alphas = config.get("rank_pattern") or {}, config.get("alpha_pattern") or {}
    rank = ranks.get(get_pattern_key(ranks.keys(), module), config["r"])
    alpha = alphas.get(get_pattern_key(alphas.keys(), module), config["lora_alpha"])
    if rank != int(rank) or not 1 <= rank <= MOST_RANK:
        raise InputError(f"{where}: the rank {quoted(rank)} of {module} must be a whole number from 1 to {MOST_RANK}")
    return int(rank), float(alpha) / (math.sqrt(rank) if config.get("use_rslora") else rank)


def other_base(config: Mapping[str, Any], base: BaseModel) -> str | None:
    """The base model that a configuration names, where it is another than this one; None where it is this or none.

    Models of different training can have the same shapes, so that only the name tells them apart.
    """
    named = config.get("base_model_name_or_path")
    if not isinstance(named, str) or not named.strip("/\\ "):
        return None
    directory = str(base.model.name_or_path)
    own_names = {base.name, *re.split(r"[/\\]|--", directory)}
    own_names |= {EMBEDDED} if base.name == EMBEDDED_NAME else set()
    last = re.split(r"[/\\]", named.rstrip("/\\ "))[-1]
    return None if last.lower() in {name.lower() for name in own_names if name} else named


def shown_base(base: BaseModel) -> str:
    """This base model in messages: its name and where it is."""
    return f"{base.name} ({printable_path(Path(str(base.model.name_or_path)))})"
