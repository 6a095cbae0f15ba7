"""What a user's file says, checked against a pydantic model; what is wrong with it in one line."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from polyphony.errors import InputError
from polyphony.printable import printable

MOST_PLACE = 120

Model = TypeVar("Model", bound=BaseModel)


def checked(model: type[Model], value: object, where: str, whole: str, known: str) -> Model:
    """Return the value as the model.

    Args:
        model: What it should be.
        value: What was given.
        where: Names it in errors.
        whole: What the value as a whole is called there.
        known: Told where a key is unknown.

    Raises:
        InputError: It is not as the model asks; the line names the first thing that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False, include_url=False)[0]
        place = printable(".".join(map(str, first["loc"])))[:MOST_PLACE]
        keys = f"; {known}" if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{where}: {place or whole}: {printable(first['msg'])}{keys}") from error
    except RecursionError as error:
        raise InputError(f"{where}: {whole}: too deep") from error
