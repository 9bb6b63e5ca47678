"""Options that several commands share, as the fields of one argument."""

import inspect
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from typing import Any


def taking(options: type[Any], name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Make a command take the fields of a dataclass as options behind its own.

    Args:
        options: the dataclass; its fields are annotated as options.
        name: the command's argument that gets an instance.
    """
    shared = inspect.signature(options)
    names = [field.name for field in fields(options)]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        own = inspect.signature(function)

        @wraps(function)
        def command(**given: Any) -> None:
            taken = options(**{field: given.pop(field) for field in names})
            function(**given, **{name: taken})

        parameters = [
            *(parameter for parameter in own.parameters.values() if parameter.name != name),
            *(parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in shared.parameters.values()),
        ]
        command.__signature__ = own.replace(parameters=parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return command

    return decorate
