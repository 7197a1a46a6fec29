"""Edits as data: what the page asks for. What comes of it is decided in ``edits``."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from geoseg.errors import InputError

__all__ = [
    "Brush",
    "Cut",
    "Delete",
    "Draw",
    "Fill",
    "Insert",
    "MarkPlace",
    "Merge",
    "Move",
    "Op",
    "Remove",
    "SetClass",
    "SetStatus",
    "SetTag",
    "Split",
    "Square",
    "parse_op",
]

#: Far beyond any scene, and small enough that products of two coordinates are exact.
_FAR = float(2**24)
_Number = Annotated[float, Field(ge=-_FAR, le=_FAR, allow_inf_nan=False)]
Corner: TypeAlias = tuple[_Number, _Number]
_Ring = Annotated[list[Corner], Field(min_length=3, max_length=100_000)]
_Path = Annotated[list[Corner], Field(min_length=1, max_length=100_000)]
_Pixel = Annotated[int, Field(ge=-(2**24), le=2**24)]
#: What a browser has without rounding; far larger ones the index could not look for.
_Id = Annotated[int, Field(ge=-(2**53), le=2**53)]
_Ids = Annotated[list[_Id], Field(max_length=10_000)]
_Some = Annotated[list[_Id], Field(min_length=1, max_length=10_000)]
_Name = Annotated[str, Field(min_length=1, max_length=200)]
_Status = Literal["accepted", "rejected", ""]


# Limits of all lists and numbers: whoever can reach the page may send anything, and gets an answer.
class _Op(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=False)


class Draw(_Op):
    """A new object."""

    op: Literal["draw"]
    kind: Literal["polygon", "rectangle", "line", "point"]
    class_: Annotated[_Name, Field(alias="class")]
    rings: Annotated[list[_Ring], Field(max_length=1000)] = []
    points: Annotated[list[Corner], Field(max_length=100_000)] = []


class Move(_Op):
    """Corners from where they are to another place, in all objects that have them or in some."""

    op: Literal["move"]
    moves: Annotated[list[tuple[Corner, Corner]], Field(min_length=1, max_length=100_000)]
    ids: _Ids | None = None


class Insert(_Op):
    """A corner on an edge, on both sides of a wall."""

    op: Literal["insert"]
    edge: tuple[Corner, Corner]
    at: Corner


class Remove(_Op):
    """Corners taken away, from all objects that have them or from some."""

    op: Literal["remove"]
    at: _Path
    ids: _Ids | None = None


class Cut(_Op):
    """A ring cut out of objects."""

    op: Literal["cut"]
    ids: _Some
    ring: _Ring


class Fill(_Op):
    """A hole filled."""

    op: Literal["fill"]
    id: _Id
    at: Corner


class Split(_Op):
    """Objects split by a line; all that it crosses where none is named."""

    op: Literal["split"]
    ids: _Ids
    line: Annotated[list[Corner], Field(min_length=2, max_length=10_000)]


class Merge(_Op):
    """Objects that touch made one."""

    op: Literal["merge"]
    ids: Annotated[list[_Id], Field(min_length=2, max_length=10_000)]


class Square(_Op):
    """Right angles."""

    op: Literal["square"]
    ids: _Some


class Brush(_Op):
    """A stroke painted or erased; without an object it makes a new one."""

    op: Literal["brush"]
    id: _Id | None
    class_: Annotated[_Name, Field(alias="class")]
    path: Annotated[list[tuple[_Pixel, _Pixel]], Field(min_length=1, max_length=100_000)]
    size: Annotated[int, Field(ge=1, le=1000)]
    erase: bool = False
    kind: Literal["bitmap", "polygon"] = "bitmap"


class SetClass(_Op):
    """Another class."""

    op: Literal["class"]
    ids: _Some
    class_: Annotated[_Name, Field(alias="class")]


class Delete(_Op):
    """Objects taken away."""

    op: Literal["delete"]
    ids: _Some


class SetStatus(_Op):
    """Objects accepted or rejected."""

    op: Literal["status"]
    ids: _Some
    status: _Status


class SetTag(_Op):
    """A tag of objects, or of the image where none is named."""

    op: Literal["tag"]
    ids: _Ids
    tag: _Name
    value: Any = None
    on: bool = True


class MarkPlace(_Op):
    """A place of the list accepted or rejected."""

    op: Literal["mark"]
    place: _Id
    status: _Status


Op: TypeAlias = (
    Draw
    | Move
    | Insert
    | Remove
    | Cut
    | Fill
    | Split
    | Merge
    | Square
    | Brush
    | SetClass
    | Delete
    | SetStatus
    | SetTag
    | MarkPlace
)
_ADAPTER: TypeAdapter[Op] = TypeAdapter(Annotated[Op, Field(discriminator="op")])


def parse_op(document: Any) -> Op:
    """Read an edit.

    Raises
    ------
    InputError
        With the path of what is wrong.

    Examples
    --------
    >>> parse_op({"op": "delete", "ids": [3]}).ids
    [3]
    """
    try:
        return _ADAPTER.validate_python(document)
    except ValidationError as error:
        # The first alone: of a discriminated union the others follow from it.
        first = error.errors(include_url=False, include_context=False)[0]
        path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in first["loc"][1:])
        raise InputError(f"$.op{path} must be an edit that the page knows: {first['msg']}.") from None
