"""What a user's file says, checked against a pydantic model; what is wrong with it in one line."""

from typing import TypeVar

from pydantic import BaseModel, ValidationError

from polyphony.errors import InputError

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
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        keys = f"; {known}" if first["type"] == "extra_forbidden" else ""
        raise InputError(f"{where}: {place or whole}: {first['msg']}{keys}") from error
