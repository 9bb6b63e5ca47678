"""Raw objects into typed ones."""

from typing import Any, TypeVar

from pydantic import ValidationError

from regkeeper import kube
from regkeeper.api.v1alpha1.base import Resource
from regkeeper.errors import InvalidSpecError

Kind = TypeVar("Kind", bound=Resource[Any, Any])


def parse(kind: type[Kind], body: kube.Object) -> Kind:
    """The typed object, without its status.

    Raises:
        InvalidSpecError: it does not fit the models, as one from before a change of the CRD may not.
    """
    try:
        return kind.model_validate({**body, "status": None})
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidSpecError(f"{place}: {first['msg']}") from error
