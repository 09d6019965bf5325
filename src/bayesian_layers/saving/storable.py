"""Objects that a file describes by the name of their class and the arguments of their constructor.

A family (priors, likelihoods, draw sources) is an abstract class that inherits from :class:`Storable`. A member of the
family can be stored as soon as its class sets ``ARGUMENTS``, a schema for each argument of its constructor: defining
the class registers it. Only classes of this library are registered, so that a file never decides what code runs.
"""

# pyright: reportPrivateUsage=false

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Self

from ..errors import BayesianLayersError, StorageError
from .schema import Problem, Record, Schema, Union, show

NAME = "name"
_LIBRARY = __name__.partition(".")[0]


class Storable:
    """Base class of a family whose members can be stored.

    Attributes:
        ARGUMENTS: Constructor argument to the schema of its value in JSON; the object keeps each under its name.
        FAMILY: What the family is called in errors, such as ``bl.priors``.
    """

    ARGUMENTS: ClassVar[Mapping[str, Schema]]
    FAMILY: ClassVar[str]
    stored_kinds: ClassVar[dict[str, type[Any]]]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if Storable in cls.__bases__:
            cls.stored_kinds = {}
        elif "ARGUMENTS" in vars(cls) and cls.__module__.partition(".")[0] == _LIBRARY:
            cls.stored_kinds[cls.__name__] = cls

    def spec(self) -> dict[str, Any]:
        """Return the class's name and arguments in JSON's types; raise StorageError if files cannot hold them."""
        kind = type(self)
        if self.stored_kinds.get(kind.__name__) is not kind:
            raise StorageError(
                f"a {kind.__name__} cannot be saved: it is not a class of {self.FAMILY} that can be stored"
            )
        return {NAME: kind.__name__, **{name: _to_json(self._argument(name)) for name in kind.ARGUMENTS}}

    def _argument(self, name: str) -> Any:
        return getattr(self, name)

    @classmethod
    def from_spec(cls, spec: Any, **context: Any) -> Self:
        """Build what :meth:`spec` described, which is not trusted; ``context`` is what the family needs in addition."""
        MemberOf(cls).check(spec, cls.FAMILY)
        kind = cls.stored_kinds[spec[NAME]]
        arguments = {name: kind.ARGUMENTS[name].build(value) for name, value in spec.items() if name != NAME}
        try:
            return kind._from_arguments(arguments, **context)
        except StorageError:
            raise
        except (BayesianLayersError, TypeError, ValueError) as error:
            raise StorageError(f"the stored {kind.__name__} is not valid: {show(str(error), 300)}") from error

    @classmethod
    def _from_arguments(cls, arguments: Mapping[str, Any], **context: Any) -> Self:
        """Build a member from checked arguments; families and members that need the context override it."""
        return cls(**arguments)


class MemberOf(Schema):
    """The description of a member of a family: of those named in ``only``, if any, and not in ``without``."""

    def __init__(
        self, family: type[Storable], only: tuple[str, ...] = (), without: tuple[str, ...] = ()
    ) -> None:
        self.family = family
        self.only = only
        self.without = without

    @property
    def _kinds(self) -> Union:
        # Read at each use: members register after the schemas that mention their family are made.
        members = self.family.stored_kinds
        names = [name for name in self.only or members if name not in self.without]
        return Union(NAME, {name: Record(members[name].ARGUMENTS) for name in names})

    def _expected(self) -> str:
        return self._kinds._expected()

    def _problem(self, value: Any) -> Problem | None:
        return self._kinds._problem(value)

    def build(self, value: Any) -> Any:
        """Build the member; see :meth:`Schema.build`."""
        return self.family.from_spec(value)


def _to_json(value: Any) -> Any:
    if isinstance(value, Storable):
        return value.spec()
    if isinstance(value, tuple | list):
        return [_to_json(each) for each in value]
    if isinstance(value, bool | str | int | dict) or value is None:
        return value
    return float(value)
