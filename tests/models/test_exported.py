"""What a .pt2 file can't do: archives of real attacks, each of which torch itself would carry out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from geoseg.errors import ModelError
from geoseg.models.bundle import write_bundle
from geoseg.models.card import ModelCard
from geoseg.models.exported import load_pt2, plain_archive, save_pt2
from geoseg.models.loading import load_model

_MODEL = "archive/models/model.json"
_WEIGHTS = "archive/data/weights/model_weights_config.json"


class _Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, padding=1)
        self.last = nn.Conv2d(4, 1, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.last(self.first(image).relu())
        return logits


@pytest.fixture(scope="module")
def content() -> bytes:
    torch.manual_seed(0)
    dim = torch.export.Dim
    shapes = ({0: dim("n"), 2: 8 * dim("h"), 3: 8 * dim("w")},)
    program = torch.export.export(_Small().eval(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=shapes)
    return save_pt2(program)


def _with(content: bytes, **members: bytes) -> bytes:
    """A .pt2 archive in which members are put in or replaced."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w") as new:
        for info in old.infolist():
            if info.filename not in members:
                new.writestr(info.filename, old.read(info))
        for name, data in members.items():
            new.writestr(name, data)
    return buffer.getvalue()


def _edited(content: bytes, edit: Callable[[dict[str, Any]], None], member: str = _MODEL) -> bytes:
    """A .pt2 archive whose program is changed in place."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        document = json.loads(archive.read(member))
    edit(document)
    return _with(content, **{member: json.dumps(document).encode()})


def _run_unchecked(content: bytes) -> None:
    """What torch does with the archive where nobody looks at it first."""
    with contextlib.suppress(Exception):  # an attack may end in any error: what it did before counts
        torch.export.load(io.BytesIO(content)).module()(torch.zeros(2, 3, 16, 16))


def _node(target: str, output: str, **inputs: Any) -> dict[str, Any]:
    return {
        "target": target,
        "inputs": [{"name": name, "arg": arg, "kind": 1} for name, arg in inputs.items()],
        "outputs": [{"as_tensor": {"name": output}}],
        "metadata": {},
        "name": output,
    }


def test_a_plain_program_gives_the_same_results(content: bytes) -> None:
    image = torch.randn(2, 3, 24, 32)
    expected = torch.export.load(io.BytesIO(content)).module()(image)
    assert torch.equal(load_pt2(content, "m.pt2").module()(image), expected)
    with zipfile.ZipFile(io.BytesIO(plain_archive(content, "m.pt2"))) as archive:
        assert archive.read("archive/data/sample_inputs/model.pt") == b""
        assert b"stack_trace" not in archive.read(_MODEL)


def test_a_program_from_a_gpu_is_loaded_on_the_cpu(content: bytes) -> None:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        moved = {
            name: archive.read(name).replace(
                b'{"type": "cpu", "index": null}', b'{"type": "cuda", "index": 0}'
            )
            for name in (_MODEL, _WEIGHTS)
        }
    assert b'"cuda"' in moved[_WEIGHTS]
    image = torch.randn(2, 3, 24, 32)
    expected = load_pt2(content, "m.pt2").module()(image)
    assert torch.equal(load_pt2(_with(content, **moved), "m.pt2").module()(image), expected)


def test_a_file_outside_is_not_written_over(
    content: bytes, tmp_path: Path, make_card: Callable[..., ModelCard]
) -> None:
    def attack(victim: Path) -> bytes:
        victim.write_bytes(b"precious" * 512)

        def edit(document: dict[str, Any]) -> None:
            graph = document["graph_module"]["graph"]
            mapped = _node(
                "torch.ops.aten.from_file.default",
                "mapped",
                filename={"as_string": str(victim)},
                shared={"as_bool": True},
                size={"as_int": 16},
            )
            filled = _node(
                "torch.ops.aten.fill_.Scalar",
                "filled",
                self={"as_tensor": {"name": "mapped"}},
                value={"as_float": 0.0},
            )
            graph["nodes"][:0] = [mapped, filled]
            meta = {**graph["tensor_values"]["conv2d"], "sizes": [{"as_int": 16}], "strides": [{"as_int": 1}]}
            graph["tensor_values"] |= {"mapped": meta, "filled": meta}

        return _edited(content, edit)

    victim, other = tmp_path / "victim", tmp_path / "other"
    _run_unchecked(attack(victim))
    assert not victim.read_bytes().startswith(b"precious")
    path = write_bundle(tmp_path / "m.zip", attack(other), make_card(architecture=None), kind="pt2")
    with pytest.raises(ModelError, match=r"got torch\.ops\.aten\.from_file\.default"):
        load_model(path)
    assert other.read_bytes() == b"precious" * 512


@pytest.mark.parametrize("where", ["guards", "input", "operator", "operator argument", "subgraph"])
def test_code_in_a_program_never_runs(
    where: str, content: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    def edit(document: dict[str, Any]) -> None:
        module = document["graph_module"]
        graph = module["graph"]
        if where == "guards":
            document["guards_code"] = ["__import__('os').mkdir('ran') is None"]
        elif where == "input":  # written as it is into the head of a function
            name = "image=__import__('os').mkdir('ran')"
            text = json.dumps(module).replace('"name": "image"', json.dumps({"name": name})[1:-1])
            document["graph_module"] = json.loads(text.replace('"image": {"dtype"', f'"{name}": {{"dtype"'))
        else:
            made = _node("torch.os.mkdir", "made", path={"as_string": "ran"})
            if where == "operator argument":
                made["target"] = "torch.ops.higher_order.cond"
                made["inputs"].append({"name": "", "arg": {"as_operator": "torch.os.mkdir"}, "kind": 1})
            elif where == "subgraph":
                inner = {**graph, "nodes": [*graph["nodes"], made]}
                made = _node(
                    "torch.ops.higher_order.wrap_with_set_grad_enabled",
                    "wrapped",
                    body={"as_graph": {"name": "body", "graph": inner}},
                )
            graph["nodes"].append(made)

    attack = _edited(content, edit)
    if where == "guards":  # without them the program is as good as any: they are left out
        load_pt2(attack, "m.pt2").module()(torch.zeros(2, 3, 16, 16))
    else:
        with pytest.raises(ModelError, match=r"torch\.os\.mkdir|as_operator|names must be"):
            load_pt2(attack, "m.pt2")
    assert not (tmp_path / "ran").exists()
    if where in ("guards", "input"):
        _run_unchecked(attack)
        assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("target", "replacement"),
    [
        ("torch.ops.aten.relu.default", "torch.ops.geoseg.relu.default"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.relu.default.__class__"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.relu.__init__"),
        ("torch.ops.aten.relu.default", "torch.ops.aten.relu.overloads"),
        ("torch.ops.aten.relu.default", "torch.hub.load"),
        ("torch.ops.aten.relu.default", "torch.ops.prims.sin.default"),
        ("torch.ops.aten.relu.default", "#aoti:relu"),
        ("torch.ops.aten.relu.default", "relu"),
    ],
)  # fmt: skip
def test_operators_that_are_not_on_the_list_are_refused_by_name(
    target: str, replacement: str, content: bytes
) -> None:
    def edit(document: dict[str, Any]) -> None:
        (node,) = (node for node in document["graph_module"]["graph"]["nodes"] if node["target"] == target)
        node["target"] = replacement

    with pytest.raises(ModelError, match="operators of a segmentation network") as caught:
        load_pt2(_edited(content, edit), "m.pt2")
    assert replacement in str(caught.value)


def _spec(kind: str) -> str:
    return json.dumps([1, {"type": kind, "context": "null", "children_spec": []}])


def _set_spec(document: dict[str, Any]) -> None:
    document["graph_module"]["module_call_graph"][0]["signature"]["out_spec"] = _spec("os.system")


def _set_expression(document: dict[str, Any]) -> None:
    sizes = document["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "__import__('os').getpid()"


def _set_tower(document: dict[str, Any]) -> None:
    sizes = document["graph_module"]["graph"]["tensor_values"]["image"]["sizes"]
    sizes[0]["as_expr"]["expr_str"] = "Pow(Integer(9), Pow(Integer(9), Pow(Integer(9), Integer(9))))"


def _set_range(document: dict[str, Any]) -> None:
    document["range_constraints"]["open('ran', 'w')"] = {"min_val": 0, "max_val": None}


def _set_object(document: dict[str, Any]) -> None:
    document["graph_module"]["graph"]["custom_obj_values"] = {"a": {"name": "a", "class_fqn": "b"}}


def _set_class(document: dict[str, Any]) -> None:
    for spec in document["graph_module"]["signature"]["input_specs"]:
        if "parameter" in spec:
            spec["parameter"]["parameter_name"] = "__class__.__base__.forward"


def _nest(document: dict[str, Any]) -> None:
    node: dict[str, Any] = {}
    document["graph_module"]["graph"]["deep"] = node
    for _ in range(600):
        node["deep"] = node = {}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_set_spec, "out_spec must be tensors in tuples"),
        (_set_expression, "no arithmetic"),
        (_set_tower, "no arithmetic"),
        (_set_range, "no arithmetic"),
        (_set_object, "custom objects"),
        (_set_class, "names must be"),
        (_nest, "deeper than any network"),
        (lambda document: document.pop("graph_module"), "must hold a graph_module"),
        (lambda document: document["graph_module"].update(graph=3), "can't be loaded"),
    ],
)  # fmt: skip
def test_programs_of_other_shapes_are_refused(
    edit: Callable[[dict[str, Any]], None], message: str, content: bytes
) -> None:
    with pytest.raises(ModelError, match=message):
        load_pt2(_edited(content, edit), "m.pt2")


class _Bomb:
    """A pickle that makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


def test_members_with_pickles_or_code_are_refused_or_left_out(content: bytes, tmp_path: Path) -> None:
    bomb = io.BytesIO()
    torch.save((_Bomb(str(tmp_path / "ran")),), bomb)
    sampled = _with(content, **{"archive/data/sample_inputs/model.pt": bomb.getvalue()})
    load_pt2(sampled, "m.pt2").module()(torch.zeros(2, 3, 16, 16))
    assert not (tmp_path / "ran").exists()
    for member, message in (
        ("archive/data/constants/custom_obj_0", "code or a pickled object"),
        ("archive/data/constants/opaque_obj_0", "code or a pickled object"),
        ("archive/data/aotinductor/model/a.so", "code or a pickled object"),
        ("archive/data/aotinductor/model/a.json", "code or a pickled object"),
        ("archive/data/weights/model.pt", "an old format"),
        ("archive/data/constants/model.pt", "an old format"),
        ("archive/models/other.json", "must hold one program"),
        ("other/archive_format", "no .pt2 file"),
    ):
        with pytest.raises(ModelError, match=message):
            load_pt2(_with(content, **{member: bomb.getvalue()}), "m.pt2")
    with pytest.raises(ModelError, match="broken"):
        load_pt2(content[: len(content) // 2], "m.pt2")
    _run_unchecked(sampled)
    assert (tmp_path / "ran").exists()


def _first(document: dict[str, Any]) -> dict[str, Any]:
    payload: dict[str, Any] = document["config"]["first.weight"]
    return payload


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda document: _first(document).update(use_pickle=True), "weights as a pickle"),
        (lambda document: _first(document).update(use_pickle=0), "weights as a pickle"),
        (lambda document: _first(document).update(path_name="custom_obj_0"), "weights must be tensors"),
        (lambda document: _first(document).update(path_name="weight_99"), "weight_99 is missing"),
        (lambda document: _first(document).update(path_name="weight_/../../x"), "names must be"),
        (
            lambda document: _first(document)["tensor_meta"]["sizes"][0].update(as_int=10**9),
            "can't be loaded",
        ),
    ],
)  # fmt: skip
def test_weights_are_raw_numbers_of_the_archive(
    edit: Callable[[dict[str, Any]], None], message: str, content: bytes
) -> None:
    with pytest.raises(ModelError, match=message):
        load_pt2(_edited(content, edit, _WEIGHTS), "m.pt2")


def test_a_weight_without_bytes_takes_no_memory(content: bytes) -> None:
    def edit(document: dict[str, Any]) -> None:
        _first(document)["tensor_meta"]["sizes"] = [{"as_int": 10**13}]

    empty = _with(_edited(content, edit, _WEIGHTS), **{"archive/data/weights/weight_0": b""})
    with pytest.raises(ModelError, match="got 0 bytes"):
        load_pt2(empty, "m.pt2")


def test_the_reason_of_torch_stands_in_the_message_not_as_a_traceback(
    content: bytes, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    newer = _edited(content, lambda document: document["schema_version"].update(major=99))
    with pytest.raises(ModelError, match=r"major=99.* does not match .*Export it again"):
        load_pt2(newer, "m.pt2")
    assert (caplog.records, capfd.readouterr().err) == ([], "")


def test_a_compressed_archive_is_refused(content: bytes) -> None:
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for info in old.infolist():
            new.writestr(info.filename, old.read(info))
    with pytest.raises(ModelError, match="got a compressed file"):
        load_pt2(buffer.getvalue(), "m.pt2")


@pytest.mark.parametrize("text", ["8**8**8**8", "Pow(s0, Integer(8)*Integer(8)*Integer(8))", "s0**(8*8)"])
def test_powers_whose_exponents_are_made_of_small_numbers_are_refused(text):
    from geoseg.models.expressions import plain_expression

    assert not plain_expression(text)
    assert plain_expression("s0**2")
