"""Programs saved by ``torch.export`` (.pt2), read without running anything that the file brings along.

``torch.export.load`` unpickles some members, compiles the guards of a program as Python code, evaluates
shape expressions and looks operators up by name in all of torch. So it never sees the file: the archive is
parsed here, everything in it is checked against what a segmentation network needs, and a new archive that
holds only that is written for torch.
"""

from __future__ import annotations

import io
import json
import logging
import math
import re
import zipfile
from typing import TYPE_CHECKING, Any

from geoseg.errors import ModelError
from geoseg.models.expressions import plain_expression
from geoseg.models.operators import allowed_operator

if TYPE_CHECKING:
    from torch.export import ExportedProgram

__all__ = ["input_shape", "load_pt2", "plain_archive", "save_pt2"]

#: Names of tensors, weights and arguments. torch writes them into Python code as they are.
_NAME = re.compile(r"(?!.*(^|\.)__\w*__(\.|$))[A-Za-z0-9_.]{0,500}")
#: Arguments that are text: modes of interpolation and padding, equations of einsum.
_TEXT = re.compile(r"[\w ,.:>+-]{0,500}")
_VERSION = re.compile(r"[\w.+<=-]{0,100}")
_CODE = {".pkl", ".so", ".py", ".o", ".cpp", ".cubin"}
#: Keys of the schema that lead to objects of other code.
_OBJECTS = {"as_custom_obj", "custom_obj", "as_operator"}
#: Containers that a network may return its tensors in.
_CONTAINERS = {None, "builtins.tuple", "builtins.list", "builtins.dict", "collections.OrderedDict"}


def save_pt2(program: ExportedProgram) -> bytes:
    """An exported program as bytes of a .pt2 file."""
    import torch

    buffer = io.BytesIO()
    torch.export.save(program, buffer)
    return buffer.getvalue()


def load_pt2(content: bytes, name: str) -> ExportedProgram:
    """An exported program from the bytes of a .pt2 file, with its weights on the CPU.

    Raises
    ------
    ModelError
        Not a .pt2 file, broken, or holding anything but weights and the operators of a network.
    """
    import torch

    plain = plain_archive(content, name)
    reasons: list[str] = []

    def keep_reason(record: logging.LogRecord) -> bool:
        """torch logs what went wrong as a traceback, and raises an error that points to the log."""
        if record.exc_info and record.exc_info[1]:
            reasons.append(str(record.exc_info[1]))
        return False

    logger = logging.getLogger("torch.export")
    logger.addFilter(keep_reason)
    try:
        return torch.export.load(io.BytesIO(plain))
    except Exception as error:
        reason = (reasons[0] if reasons else str(error)).strip().partition("\n")[0].rstrip(".")
        raise ModelError(
            f"{name} can't be loaded as an exported program: {reason[:300]}. "
            "Export it again with the torch that is installed here."
        ) from error
    finally:
        logger.removeFilter(keep_reason)


def plain_archive(content: bytes, name: str) -> bytes:
    """A .pt2 archive written anew from what is harmless in another one.

    It keeps the graph, whose operators are all on the list of :mod:`geoseg.models.operators`, and the weights
    as raw numbers. Sample inputs, guards, stack traces, the call structure of modules and files that torch
    does not need are left out. Tensors that lay on a GPU are placed on the CPU.

    Parameters
    ----------
    content
        Bytes of the .pt2 file.
    name
        What messages call it.

    Raises
    ------
    ModelError
        It is no .pt2 archive, or holds code, pickled objects, or operators that are not on the list.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = _members(archive, name)
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as plain:
                for member, data in _plain_members(archive, members, name).items():
                    plain.writestr(f"archive/{member}", data)
    except RecursionError:
        raise ModelError(f"{name} is nested deeper than any network. Get the bundle again.") from None
    except (
        zipfile.BadZipFile, RuntimeError, EOFError, AttributeError, TypeError, KeyError, ValueError,
    ) as error:  # fmt: skip
        # Parts of the document that are of another kind than the schema's end here as well.
        raise ModelError(f"{name} is broken: {error}. Get the bundle again.") from None
    return buffer.getvalue()


def input_shape(plain: bytes, name: str) -> tuple[int | None, ...]:
    """What a program fixes of its one input (N, C, h, w), None where any size will do; torch is not needed.

    Parameters
    ----------
    plain
        From :func:`plain_archive`.
    name
        What messages call the file.

    Raises
    ------
    ModelError
        The program takes several inputs, or another kind of input.
    """
    with zipfile.ZipFile(io.BytesIO(plain)) as archive:
        module = json.loads(archive.read("archive/models/model.json"))["graph_module"]
    try:
        inputs = [spec["user_input"] for spec in module["signature"]["input_specs"] if "user_input" in spec]
        values = module["graph"]["tensor_values"]
        sizes = [values[given["arg"]["as_tensor"]["name"]]["sizes"] for given in inputs]
        if len(sizes) != 1 or len(sizes[0]) != 4:
            raise ModelError(f"{name} must take one input (N, C, h, w), got {len(sizes)} inputs")
        return tuple(size.get("as_int") for size in sizes[0])
    except (AttributeError, TypeError, KeyError) as error:
        raise ModelError(f"{name} is broken: {error}. Get the bundle again.") from None


def _members(archive: zipfile.ZipFile, name: str) -> dict[str, zipfile.ZipInfo]:
    """Files of the archive by their names below its only folder."""
    infos = archive.infolist()
    marks = [info.filename for info in infos if info.filename.endswith("/archive_format")]
    if len(marks) != 1:
        raise ModelError(
            f"{name} is no .pt2 file of torch.export. "
            "Save it with torch.export.save again (torch 2.8 or newer)."
        )
    root = marks[0].removesuffix("archive_format")
    for info in infos:
        base = info.filename.rpartition("/")[2]
        suffix = base[base.rfind(".") :] if "." in base else ""
        if (
            suffix in _CODE
            or base.startswith(("custom_obj", "opaque_obj"))
            or "aotinductor/" in info.filename
        ):
            raise ModelError(
                f"{name} holds {info.filename}, code or a pickled object, which geoseg never runs"
            )
        # Sample inputs are pickles in every version; they are never read, and an empty file takes their
        # place.
        if suffix == ".pt" and "sample_inputs/" not in info.filename:
            raise ModelError(
                f"{name} keeps {info.filename} as a pickle, an old format. "
                "Save it with a newer torch.export.save."
            )
        # torch does not compress, so whoever did wants something else, such as a file that unfolds without
        # end.
        if info.compress_type != zipfile.ZIP_STORED:
            raise ModelError(f"{name}: {info.filename} must be stored as it is, got a compressed file")
    return {
        info.filename.removeprefix(root): info
        for info in infos
        if info.filename.startswith(root) and not info.is_dir()
    }


def _plain_members(
    archive: zipfile.ZipFile, members: dict[str, zipfile.ZipInfo], name: str
) -> dict[str, bytes]:
    """Content of the new archive by name."""

    def read(member: str) -> bytes:
        if member not in members:
            raise ModelError(f"{name} is incomplete: {member} is missing. Get the bundle again.")
        return archive.read(members[member])

    def document(member: str) -> dict[str, Any]:
        try:
            parsed = json.loads(read(member))
        except (ValueError, RecursionError) as error:
            raise ModelError(f"{name}: {member} is broken: {error}") from None
        if not isinstance(parsed, dict):
            raise ModelError(f"{name}: {member} must hold a JSON object, got {type(parsed).__name__}")
        return parsed

    models = [member for member in members if member.startswith("models/")]
    if models != ["models/model.json"]:
        raise ModelError(f"{name} must hold one program, models/model.json, got {models or 'none'}")
    files: dict[str, bytes] = {
        member: read(member)
        for member in ("archive_format", "archive_version", "byteorder", ".data/version")
        if member in members
    }
    files["models/model.json"] = _dump(_plain_program(document("models/model.json"), name))
    for folder, config in (("weights", "model_weights_config"), ("constants", "model_constants_config")):
        payloads = document(f"data/{folder}/{config}.json")
        files[f"data/{folder}/{config}.json"] = _dump(_plain(payloads, name))
        for payload in (payloads.get("config") or {}).values():
            member = f"data/{folder}/{_payload_file(payload, folder, name)}"
            if member not in files:
                files[member] = read(member)
            # Without this an empty file would stand for a tensor, whose numbers would be whatever lay in
            # memory.
            if not files[member] and math.prod(_sizes(payload)) != 0:
                raise ModelError(f"{name}: {member} must hold a tensor of {_sizes(payload)}, got 0 bytes")
    # Sample inputs are pickles; an empty member takes their place.
    files["data/sample_inputs/model.pt"] = b""
    return files


def _dump(document: Any) -> bytes:
    return json.dumps(document).encode()


def _payload_file(payload: Any, folder: str, name: str) -> str:
    """Name of the file of one weight or constant."""
    if not isinstance(payload, dict) or payload.get("use_pickle") is not False:
        raise ModelError(f"{name} keeps {folder} as a pickle, which geoseg never loads")
    file = str(payload.get("path_name"))
    if not file.startswith("weight_" if folder == "weights" else "tensor_"):
        raise ModelError(f"{name}: {folder} must be tensors, got {file[:60]}")
    return file


def _sizes(payload: Any) -> list[int]:
    meta = payload.get("tensor_meta") or {}
    return [size.get("as_int", -1) for size in meta.get("sizes", [])]


def _plain_program(document: dict[str, Any], name: str) -> dict[str, Any]:
    """A program without its guards, which torch would compile as Python, and without notes on its origin."""
    module = document.get("graph_module")
    calls = module.get("module_call_graph") if isinstance(module, dict) else None
    if not isinstance(module, dict) or not isinstance(calls, list):
        raise ModelError(f"{name}: models/model.json must hold a graph_module with a module_call_graph")
    if not _VERSION.fullmatch(str(document.get("torch_version", ""))):
        raise ModelError(f"{name}: torch_version must be a version, got {document['torch_version']!r:.60}")
    # The first entry is the call of the whole network; the others say which module called which.
    kept = {**module, "module_call_graph": calls[:1], "metadata": {}, "treespec_namedtuple_fields": {}}
    ranges = document.get("range_constraints", {})
    for expression in ranges:
        _check_expression(expression, name)
    return {
        "graph_module": _plain(kept, name),
        "opset_version": _plain(document.get("opset_version", {}), name),
        "range_constraints": {key: _plain(value, name) for key, value in ranges.items()},
        "schema_version": _plain(document.get("schema_version"), name),
        "verifiers": _plain(document.get("verifiers", []), name),
        "torch_version": str(document.get("torch_version", "")),
        "guards_code": [],
    }


def _plain(value: Any, name: str, key: str = "") -> Any:
    """A copy of a part of the document in which every text is of a harmless form.

    ``key`` is the key that the part stands under, which says what its text means.
    """
    if isinstance(value, dict):
        if forbidden := next((key for key in value if key in _OBJECTS and value[key] is not None), None):
            raise ModelError(f"{name} holds {forbidden}, an object of other code, which geoseg never runs")
        if value.get("custom_obj_values"):
            raise ModelError(f"{name} holds custom objects, which geoseg never runs")
        if key in ("device", "as_device"):
            # A network from a GPU machine must load on one without; it is moved afterwards.
            return {"type": "cpu", "index": None}
        # Notes of a node: stack traces and names of functions, which torch would look up.
        notes = isinstance(value.get("target"), str)
        return {
            _plain_text(part, "", name): {}
            if notes and part == "metadata"
            else _plain(value[part], name, part)
            for part in value
        }
    if isinstance(value, list):
        return [_plain(item, name, key) for item in value]
    return _plain_text(value, key, name) if isinstance(value, str) else value


def _plain_text(text: str, key: str, name: str) -> str:
    """The text itself, once it has the form that its key asks for."""
    if key == "target":
        if not allowed_operator(text):
            raise ModelError(
                f"{name} must be built of the operators of a segmentation network, got {text[:100]}. "
                "Export the network without it (docs/model-bundle.md says what a .pt2 file may hold)."
            )
    elif key == "expr_str":
        _check_expression(text, name)
    elif key in ("in_spec", "out_spec"):
        _check_containers(text, key, name)
    elif not (_TEXT if key in ("as_string", "as_strings") else _NAME).fullmatch(text):
        raise ModelError(f"{name}: names must be letters, digits, dots and underscores, got {text[:60]!r}")
    return text


def _check_containers(text: str, key: str, name: str) -> None:
    """Refuse arguments and results in anything but plain containers; torch would construct it."""
    try:
        _, spec = json.loads(text)
        # A stack in place of recursion: depth is the file's to choose.
        stack = [spec]
        while stack:
            spec = stack.pop()
            keys = json.loads(spec["context"]) if isinstance(spec["context"], str) else spec["context"]
            plain = keys is None or (
                isinstance(keys, list)
                and all(isinstance(item, str) and _NAME.fullmatch(item) for item in keys)
            )
            if spec["type"] not in _CONTAINERS or not plain:
                raise ModelError(
                    f"{name}: {key} must be tensors in tuples, lists and dicts, got {spec['type']!r:.60}"
                )
            stack.extend(spec["children_spec"])
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise ModelError(f"{name}: {key} is broken: {error}") from None


def _check_expression(text: str, name: str) -> None:
    if not plain_expression(text):
        raise ModelError(f"{name} holds a shape expression that is no arithmetic: {text[:60]}")
