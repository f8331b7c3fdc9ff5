import numpy as np

from kidney.data.phantom.locator_set import locator_set


def test_they_are_grey_slices_with_their_kidneys_and_always_the_same():
    samples, again = locator_set(4, 64), locator_set(4, 64)
    assert len(samples) == 8
    for sample, same in zip(samples, again, strict=True):
        assert sample.slice.dtype == np.uint8
        assert sample.slice.shape == sample.kidney.shape == (64, 64)
        assert 0 < sample.kidney.mean() < 0.2
        np.testing.assert_array_equal(sample.slice, same.slice)
        np.testing.assert_array_equal(sample.kidney, same.kidney)


def test_windows_differ_so_that_brightness_tells_no_kidney():
    means = [sample.slice[sample.kidney].mean() for sample in locator_set(8, 64)]
    assert np.ptp(means) > 30
