"""Batches: each sample once an epoch, and a position that is one integer."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigen.data import Batches


def numbered(n, batch_size, seed=0):
    """Image i holds i in every pixel and has the label i."""
    index = np.arange(n)
    return Batches(np.broadcast_to(index[:, None, None, None], (n, 2, 2, 1)).astype(np.int32), index, batch_size, seed)


def labels_of(batches, steps):
    return [batches.batch_at(step)[1] for step in steps]


@settings(deadline=None)
@given(st.integers(1, 40), st.data())
def test_an_epoch_holds_each_sample_at_most_once_and_drops_less_than_a_batch(n, data):
    batch_size = data.draw(st.integers(1, n))
    batches = numbered(n, batch_size)
    seen = np.concatenate(labels_of(batches, range(batches.steps_per_epoch)))
    assert len(set(seen)) == len(seen) > n - batch_size
    assert set(seen) <= set(range(n))


def test_where_the_batch_size_divides_the_set_an_epoch_holds_every_sample_exactly_once():
    batches = numbered(24, 4)
    for epoch in range(3):
        seen = np.concatenate(labels_of(batches, range(6 * epoch, 6 * epoch + 6)))
        assert sorted(seen) == list(range(24))


def test_every_sample_has_its_turn_although_each_epoch_drops_some():
    batches = numbered(7, 4)
    assert set(np.concatenate(labels_of(batches, range(40)))) == set(range(7))


def test_images_keep_their_labels():
    images, labels = numbered(24, 5).batch_at(3)
    assert images.shape == (5, 2, 2, 1)
    np.testing.assert_array_equal(images[:, 1, 0, 0], labels)


def test_two_n_steps_are_n_steps_a_restart_and_n_more():
    whole = labels_of(numbered(23, 4, seed=5), range(20))
    first = labels_of(numbered(23, 4, seed=5), range(10))
    resumed = labels_of(numbered(23, 4, seed=5), range(10, 20))  # a new object, as after a kill
    np.testing.assert_array_equal(whole, first + resumed)


@settings(deadline=None)
@given(st.lists(st.integers(0, 60), min_size=1))
def test_a_batch_depends_on_its_step_only_not_on_the_calls_before(steps):
    used = numbered(23, 4, seed=1)
    for step, labels in zip(steps, labels_of(used, steps), strict=True):
        np.testing.assert_array_equal(labels, numbered(23, 4, seed=1).batch_at(step)[1])


def test_epochs_and_seeds_have_orders_of_their_own():
    batches = numbered(50, 50)
    first, second = labels_of(batches, [0, 1])
    assert (first != second).any()
    assert (first != numbered(50, 50, seed=1).batch_at(0)[1]).any()
    assert (first != np.arange(50)).any()


def test_a_batch_is_a_copy():
    batches = numbered(8, 4)
    batches.batch_at(0)[0][:] = -1
    assert batches.images.min() == 0


@pytest.mark.parametrize(("n", "batch_size"), [(3, 4), (0, 1), (3, 0), (3, -1)])
def test_a_batch_size_that_does_not_fit_is_refused_with_both_numbers(n, batch_size):
    with pytest.raises(ValueError, match=f"1..{n}.*got {batch_size}"):
        numbered(n, batch_size)


def test_unequal_numbers_and_negative_steps_are_refused():
    with pytest.raises(ValueError, match="3 images and 2 labels"):
        Batches(np.zeros((3, 1)), np.zeros(2), 1, seed=0)
    with pytest.raises(ValueError, match="got -1"):
        numbered(3, 1).batch_at(-1)
