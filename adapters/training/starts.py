"""The kinds of initialisation of factors by name; `adapters.training.initialisation` computes them."""

from polyphony.errors import InputError

# The initialisation of the prior's factors, and the default of personal ones.
STANDARD = "standard"
INITS = (STANDARD, "pissa", "olora", "olora-tail", "tail-a", "mica")
# Their first product is not zero. It is subtracted from the foundation that all people share, so that a fresh adapter
# over its foundation equals the base with the prior.
SHIFTED = ("pissa", "olora", "olora-tail")
# In these B is not trained.
FROZEN_B = ("mica",)


def check_init(init: str) -> str:
    """Return `init` if it names an initialisation.

    Raises:
        InputError: It does not.
    """
    if init not in INITS:
        raise InputError(f"--init {init!r} is not one of {', '.join(INITS)}")
    return init
