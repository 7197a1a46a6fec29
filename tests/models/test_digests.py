"""Two models that differ never share a digest, and the same one has the same in every process."""

from __future__ import annotations

import functools
import logging
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from geoseg.models import as_predictor
from geoseg.models.digests import callable_digest, configuration_digest, module_digest

LIMIT = 3
log = logging.getLogger(__name__)


def above(limit: object) -> Callable[[Any], Any]:
    return lambda batch: batch > limit


def with_default(limit: int = 1) -> Callable[[Any], Any]:
    def run(batch: Any, limit: int = limit) -> Any:
        return batch > limit

    return run


def nested(limit: int) -> Callable[[Any], Any]:
    code = f"def run(batch):\n    return (lambda x: x > {limit})(batch)"
    space: dict[str, Any] = {"__name__": "made"}
    exec(code, space)
    return space["run"]  # type: ignore[no-any-return]


class Net:
    def __init__(self, limit: Any) -> None:
        self.limit = limit
        self.again = self

    def __call__(self, batch: Any) -> Any:
        log.debug("called")
        return batch > self.limit

    def method(self, batch: Any) -> Any:
        return batch > self.limit


class Module(nn.Module):
    def __init__(self, limit: float, act: Callable[[Any], Any] = torch.relu) -> None:
        super().__init__()
        self.limit, self.act = limit, act
        self.pool = nn.AvgPool2d(2 if limit < 5 else 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(x - self.limit)


def by_global(batch: Any) -> Any:
    return batch > LIMIT


PAIRS = {
    "closure": lambda k: above(k),
    "array in a closure": lambda k: above(np.arange(k)),
    "tensor in a closure": lambda k: above(torch.arange(k)),
    "list in a closure": lambda k: above([0, {"a": k}]),
    "set": lambda k: above({"b", "a", str(k)}),
    "shared parts": lambda k: above([(p := [1]), (q := [1]), p if k == 1 else q]),
    "default": lambda k: with_default(k),
    "code in code": lambda k: nested(k),
    "object": lambda k: Net(k),
    "bound method": lambda k: Net(k).method,
    "partial": lambda k: functools.partial(with_default(1), limit=k),
    "compiled object": lambda k: above(np.random.RandomState(k)),
}


@pytest.mark.parametrize("name", PAIRS)
def test_what_differs_has_another_digest(name: str) -> None:
    make = PAIRS[name]
    assert callable_digest(make(1)) == callable_digest(make(1))
    assert callable_digest(make(1)) != callable_digest(make(2))


def test_a_global_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = callable_digest(by_global)
    monkeypatch.setitem(globals(), "LIMIT", 4)
    assert callable_digest(by_global) != before


def test_modules_differ_by_their_settings_and_functions() -> None:
    one = Module(1.0)
    assert configuration_digest(one) == configuration_digest(Module(1.0).eval())
    assert configuration_digest(one) != configuration_digest(Module(2.0))
    assert configuration_digest(one) != configuration_digest(Module(1.0, torch.sigmoid))
    assert module_digest(one) == module_digest(Module(9.0)), "weights alone"
    prints = [as_predictor(Module(k), classes=("a",), device="cpu").fingerprint() for k in (1.0, 1.0, 2.0)]
    assert prints[0] == prints[1] != prints[2]


def test_what_cannot_be_looked_into_is_new_each_time() -> None:
    def stream() -> Any:
        yield 1

    one, other = stream(), stream()
    assert callable_digest(above(one)) == callable_digest(above(one)), "the same object is the same"
    assert callable_digest(above(one)) != callable_digest(above(other))


def test_an_own_fingerprint_settles_it() -> None:
    class Session:
        def fingerprint(self) -> str:
            return "v3"

        def __call__(self, batch: Any) -> Any:
            return batch

    assert callable_digest(Session()) == "v3"


def of_each_kind() -> list[str]:
    import segmentation_models_pytorch as smp

    # Strings of a set lie in another order in each process.
    callables = [Net(set("abcdefgh")), above({1: "a"})]
    networks = [smp.Unet("resnet18", encoder_weights=None), Module(1.0)]
    return [*map(callable_digest, callables), *map(configuration_digest, networks)]


def test_the_same_in_another_process() -> None:
    code = "from tests.models.test_digests import of_each_kind; print(*of_each_kind())"
    other = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONHASHSEED": "1"},
        cwd=Path(__file__).parents[2],
    )
    assert other.stdout.split() == of_each_kind()


def test_functions_of_a_module_differ_by_code_and_globals_where_dasks_tokens_do_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why dask's tokens do not take the place of these digests."""
    from dask.base import tokenize

    def model(limit: int, sign: str = ">") -> Callable[[Any], Any]:
        module = types.ModuleType("made_model")
        monkeypatch.setitem(sys.modules, "made_model", module)
        exec(f"LIMIT = {limit}\ndef run(batch):\n    return batch {sign} LIMIT", module.__dict__)
        return module.run  # type: ignore[no-any-return]

    first, other_global, other_code = model(1), model(2), model(1, "<")
    assert len({callable_digest(function) for function in (first, other_global, other_code)}) == 3
    tokens = []
    for limit, sign in ((1, ">"), (2, ">"), (1, "<")):
        tokens.append(tokenize(model(limit, sign)))
    assert len(set(tokens)) == 1
