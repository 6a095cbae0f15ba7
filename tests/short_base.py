"""Fixtures over the lowest blocks of the base model, for tests of training and decoding that do not read what is said.

A module imports the fixtures that it needs; there they stand in for those of `conftest` with the same names.
"""

import pytest
from training_factory import three_learners, train


@pytest.fixture(scope="module")
def base(short_base):
    """The real embedded base model's lowest blocks in full precision."""
    return short_base


@pytest.fixture(scope="module")
def kit(loader, base):
    """Its prompt builder and act scorer."""
    from polyphony.adapters.prompting.prompt_config import PromptConfig

    return loader.prompt_kit(base, PromptConfig())


@pytest.fixture(scope="module")
def learners(kit, town):
    """Three people with unequal numbers of short examples."""
    return three_learners(kit, town)


@pytest.fixture(scope="module")
def together(base, kit, learners):
    """Those three, trained together."""
    return train(base, kit, learners)
