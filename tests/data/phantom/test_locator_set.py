import numpy as np

from kidney.data.phantom.locator_set import kidney_lessons


def test_lessons_are_grey_slices_with_their_kidneys_and_always_the_same():
    lessons, again = kidney_lessons(4, 64), kidney_lessons(4, 64)
    assert len(lessons) == 8
    for lesson, same in zip(lessons, again, strict=True):
        assert lesson.slice.dtype == np.uint8
        assert lesson.slice.shape == lesson.kidney.shape == (64, 64)
        assert 0 < lesson.kidney.mean() < 0.2
        np.testing.assert_array_equal(lesson.slice, same.slice)
        np.testing.assert_array_equal(lesson.kidney, same.kidney)


def test_windows_differ_so_that_brightness_tells_no_kidney():
    greys = [lesson.slice[lesson.kidney].mean() for lesson in kidney_lessons(8, 64)]
    assert np.ptp(greys) > 30
