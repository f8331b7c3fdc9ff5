"""Maps that explain one prediction: the exact evidence, and Grad-CAM as its reference."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kidney.models.classifier import KidneyClassifier
from kidney.models.prepare import prepare


def explain(
    classifier: KidneyClassifier, slice_: NDArray[np.uint8]
) -> tuple[NDArray[np.float32], list[float]]:
    """Return the evidence float32 (K, h, w) of a slice (H, W), and its region in pixels.

    The region is top, left, bottom, right: the square of the slice that the evidence covers.
    """
    device = next(classifier.parameters()).device
    with torch.inference_mode():
        found = classifier.eval()(torch.from_numpy(np.array(slice_))[None, None].to(device))
    return found.evidence[0].cpu().numpy(), found.region[0].tolist()


def grad_cam(classifier: KidneyClassifier, slices: Tensor, targets: Tensor) -> Tensor:
    """Map slices to Grad-CAM of the last features (Selvaraju et al., ICCV 2017, eq. 1 and 2).

    Each channel weighs as much as the mean of the logit's gradient over its places; only what
    speaks for the class is kept. How much the locator weighs a place is lost in that mean.

    Args:
        classifier: in evaluation mode.
        slices: uint8 (N, 1, H, W).
        targets: int64 (N,), the class that is asked for in each slice.

    Returns:
        float32 (N, h, w), 0 or more; it covers what the classifier's evidence covers.
    """
    with torch.no_grad():
        images = prepare(slices, classifier.image_size)
        features, weights = classifier.forward_features(images)
    with torch.enable_grad():
        leaf = features.clone().requires_grad_()
        logits = classifier.forward_head((leaf * weights).mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), leaf)
    cam: Tensor = torch.einsum("nchw,nc->nhw", features, gradient.mean(dim=(2, 3))).clamp(min=0)
    return cam
