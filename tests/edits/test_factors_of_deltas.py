"""Deltas as two matrices: of the smallest rank that holds them, and back within rounding."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.edits.factors import Factors, factorised


def _deltas(rows: int, width: int, rank: int, seed: int) -> np.ndarray:
    draw = np.random.default_rng(seed)
    whole = draw.normal(size=(rows, rank)) @ draw.normal(size=(rank, width))
    scale = 10.0 ** draw.uniform(-6, 6, (rows, 1))  # a small delta is held as closely as a large
    return (scale * whole).astype(np.float32)


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_deltas_of_any_rank_come_back_from_as_many_ranks(data: st.DataObject) -> None:
    rows, width = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 12))
    rank = data.draw(st.integers(1, min(rows, width)))
    neurons = np.array(
        data.draw(st.lists(st.integers(0, 19), min_size=rows, max_size=rows, unique=True)),
        np.int32,
    )
    deltas = _deltas(rows, width, rank, data.draw(st.integers(0, 2**32)))
    factors = factorised(neurons, deltas, 20)
    assert (factors.inputs.shape, factors.outputs.shape) == ((rank, 20), (width, rank))
    assert factors.inputs.dtype == factors.outputs.dtype == np.float32
    assert not factors.beside(neurons)
    back = factors.deltas(neurons)
    apart = np.linalg.norm(back.astype(np.float64) - deltas, axis=1)
    assert (apart <= 1e-6 * np.linalg.norm(deltas.astype(np.float64), axis=1)).all()
    if rank == rows:
        assert np.array_equal(back, deltas)


def test_unlike_deltas_are_one_hot_rows_and_themselves() -> None:
    deltas = np.array([[1, 2, 3], [4, 5, 7]], np.float32)
    factors = factorised(np.array([3, 1], np.int32), deltas, 4)
    assert factors.inputs.tolist() == [[0, 0, 0, 1], [0, 1, 0, 0]]
    assert factors.outputs.tolist() == deltas.T.tolist()


def test_multiples_of_one_vector_are_one_rank() -> None:
    key, shift = np.array([2.0, -1.0, 0.5]), np.array([3.0, 4.0])
    factors = factorised(np.array([0, 1, 3], np.int32), np.outer(key, shift).astype("f4"), 4)
    assert len(factors.inputs) == 1
    np.testing.assert_allclose(factors.outputs @ factors.inputs, np.outer(shift, [2, -1, 0, 0.5]))


def test_more_deltas_than_the_model_is_wide_need_no_more_ranks_than_that() -> None:
    deltas = np.random.default_rng(0).normal(size=(50, 6)).astype(np.float32)
    factors = factorised(np.arange(50, dtype=np.int32), deltas, 60)
    assert len(factors.inputs) == 6
    np.testing.assert_allclose(factors.deltas(np.arange(50)), deltas, atol=1e-6)


@pytest.mark.parametrize("rows", [1, 3])
def test_deltas_that_are_nothing_are_one_rank_of_nothing(rows: int) -> None:
    neurons = np.arange(rows, dtype=np.int32)
    factors = factorised(neurons, np.zeros((rows, 5), np.float32), 8)
    assert len(factors.inputs) == 1
    assert not factors.deltas(neurons).any()


def test_a_factor_that_reaches_another_neuron_is_seen() -> None:
    factors = Factors(np.ones((1, 3), np.float32), np.ones((2, 1), np.float32))
    assert factors.beside(np.array([0, 1]))
    assert not factors.beside(np.array([2, 0, 1]))
