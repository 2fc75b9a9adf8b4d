"""Losses, margins and accuracy of one class an image and of several, by hand and by torch."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from curriculum.judging import Objective
from curriculum.metrics import any_hit

CPU = torch.device("cpu")
LABELS = np.array([0, 2, 1, 1])
JOINT = np.array([[1, 0, 0], [1, 0, 1], [0, 1, 0], [1, 1, 1]], dtype=bool)
LOGITS = torch.tensor([[0.0, 2.0, -1.0], [1.5, -0.5, 3.0]])
ROWS = np.array([1, 3])
"""Examples 1 and 3: their classes are 2 and 1, their joint ones 0 2 and 0 1 2."""


def test_the_loss_of_several_classes_by_hand() -> None:
    found = Objective(LABELS, JOINT, CPU).losses(LOGITS, ROWS)
    s = 1 / (1 + np.exp(-LOGITS.numpy().astype(float)))
    first = -(np.log(s[0, 0]) + np.log(1 - s[0, 1]) + np.log(s[0, 2])) / 3
    second = -np.log(s[1]).mean()
    assert found.tolist() == pytest.approx([first, second], rel=1e-6)


def test_the_loss_of_several_classes_is_torchs_for_any_logits() -> None:
    logits = 30 * torch.randn((4, 3), generator=torch.Generator().manual_seed(0))
    found = Objective(LABELS, JOINT, CPU).losses(logits, np.arange(4))
    assert torch.isfinite(found).all()
    assert torch.allclose(found.mean(), torch.nn.BCEWithLogitsLoss()(logits, torch.from_numpy(JOINT).float()))


def test_the_loss_of_one_class_is_cross_entropy() -> None:
    found = Objective(LABELS, None, CPU).losses(LOGITS, ROWS)
    assert torch.allclose(found, cross_entropy(LOGITS, torch.tensor([2, 1]), reduction="none"))


@pytest.mark.parametrize("joint", [None, JOINT])
def test_margins_by_hand(joint: np.ndarray | None) -> None:
    assert Objective(LABELS, joint, CPU).margins(LOGITS, ROWS).tolist() == [-3.0, -3.5]
    assert Objective(LABELS, joint, CPU).margins(LOGITS, np.array([2, 1])).tolist() == [2.0, 1.5]


def test_probabilities_of_several_classes_stand_each_for_itself() -> None:
    assert torch.allclose(Objective(LABELS, None, CPU).probabilities(LOGITS).sum(1), torch.ones(2))
    assert torch.allclose(Objective(LABELS, JOINT, CPU).probabilities(LOGITS), torch.sigmoid(LOGITS))


def test_any_hit_by_hand() -> None:
    probabilities = np.array([[0.2, 0.7, 0.1], [0.3, 0.2, 0.9], [0.0, 1.0, 0.0], [0.1, 0.8, 0.3]])
    assert any_hit(probabilities, JOINT) == 0.75  # the first image's most probable class isn't one of its
    assert np.isnan(any_hit(np.empty((0, 3)), np.empty((0, 3), dtype=bool)))


def test_right_is_any_class_of_the_image() -> None:
    probabilities = np.array([[0.9, 0.0, 0.1], [0.9, 0.0, 0.1]], dtype=np.float32)
    assert Objective(LABELS, JOINT, CPU).accuracy(probabilities, ROWS) == 1.0
    assert Objective(LABELS, None, CPU).accuracy(probabilities, ROWS) == 0.0
