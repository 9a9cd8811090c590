"""How an ability is found in an object: by what it answers to."""

from __future__ import annotations

from inspect import get_annotations
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from abc import ABCMeta as _MetaOfProtocols
else:
    _MetaOfProtocols = type(Protocol)


class Ability(_MetaOfProtocols):
    """Metaclass of protocols that ``isinstance`` finds by attributes of any origin, on every Python alike.

    From Python 3.12 on a protocol's ``isinstance`` leaves ``__getattr__`` out, by which wrappers hand on the methods of
    what they wrap. A recipe of others would then train in groups under one Python and alone under the next.
    """

    def __instancecheck__(self, instance: object) -> bool:
        """Whether an object has all public members of the protocol; a method that is None is missing."""
        if super().__instancecheck__(instance):
            return True
        return Protocol in self.__bases__ and all(
            _has(instance, name, vars(each).get(name)) for each in self.__mro__ for name in _members(each)
        )


def _members(protocol: type) -> set[str]:
    return {name for name in {*vars(protocol), *get_annotations(protocol)} if not name.startswith("_")}


def _has(instance: object, name: str, member: Any) -> bool:
    return hasattr(instance, name) and not (callable(member) and getattr(instance, name) is None)
