"""Grad-CAM, the reference that the exact evidence is measured against."""

import torch
from torch import Tensor

from kidney.models.classifier import KidneyClassifier
from kidney.models.prepare import prepare


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
        maps = classifier.place_maps(prepare(slices, classifier.image_size))
        features = classifier.backbone.tail(maps) if classifier.backbone.has_tail else maps
        weights = classifier.locator(maps)
    with torch.enable_grad():
        leaf = features.clone().requires_grad_()
        logits = classifier.logits((leaf * weights).mean(dim=(2, 3)))
        (gradient,) = torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), leaf)
    cam: Tensor = torch.einsum("nchw,nc->nhw", features, gradient.mean(dim=(2, 3))).clamp(min=0)
    return cam
