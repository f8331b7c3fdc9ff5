"""Several fits of one network as one network."""

import copy
from collections.abc import Sequence

import torch

from kidney.models.classifier import KidneyClassifier


def average(members: Sequence[KidneyClassifier]) -> KidneyClassifier:
    """Return the classifier whose weights are the mean of its members' weights.

    Where only heads were trained its logits are exactly the mean of the members' logits, since norm
    and head are linear in evaluation mode. Where fine-tuning began from the same weights it comes
    close to that (model soups: Wortsman et al., ICML 2022): an ensemble at the price of one
    network, with exact evidence.

    Args:
        members: classifiers of one architecture whose training began with the same backbone, in
            evaluation mode.
    """
    whole = copy.deepcopy(members[0])
    with torch.no_grad():
        states = [member.state_dict() for member in members]
        for name, value in whole.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.stack([state[name] for state in states]).mean(dim=0))
        # Each member normalises in its own way: logits = slope pooled + constant.
        slopes = [member.head.weight * member.scale for member in members]
        constants = [
            member.head.bias - slope @ member.centre
            for member, slope in zip(members, slopes, strict=True)
        ]
        slope, constant = torch.stack(slopes).mean(dim=0), torch.stack(constants).mean(dim=0)
        whole.head.weight.copy_(slope / whole.scale)
        whole.head.bias.copy_(constant + slope @ whole.centre)
    return whole
