"""What is shown of a slice is what the classifier answered from."""

import numpy as np
import torch

from kidney.models.prepare import body_region
from kidney.pipeline.examples import explain
from tests.helpers.small_network import CLASSES, random_slices, small_task


def test_evidence_and_region_are_those_of_the_answer_to_this_slice():
    classifier = small_task().classifier
    slices = random_slices(1, height=90, width=70)
    evidence, region = explain(classifier, slices[0, 0].numpy())
    assert len(evidence) == len(CLASSES)
    with torch.inference_mode():
        answer = classifier.eval()(slices)
    np.testing.assert_allclose(evidence, answer.evidence[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(region, body_region(slices)[0].tolist(), atol=1e-4)
