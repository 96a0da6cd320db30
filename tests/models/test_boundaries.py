"""Boundaries against their definition, pixel by pixel, and against OpenCV's drawing."""

import cv2
import numpy as np
import torch

from mmsam_peft.models.decode_heads.boundaries import boundary_target


def slow(labels, thickness):
    H, W = labels.shape
    contour = []
    for y in range(H):
        for x in range(W):
            around = [(y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)]
            others = [labels[p] for p in around if 0 <= p[0] < H and 0 <= p[1] < W]
            if labels[y, x] not in (0, 255) and any(
                other not in (labels[y, x], 255) for other in others
            ):
                contour.append((y, x))
    target = np.zeros((H, W), int)
    for y in range(H):
        for x in range(W):
            target[y, x] = any(np.hypot(y - i, x - j) <= thickness / 2 for i, j in contour)
    target[labels == 255] = 255
    return target


def test_definition():
    rng = np.random.default_rng(0)
    labels = np.kron(rng.choice([0, 0, 0, 1, 2, 255], (2, 4, 5)), np.ones((7, 9))).astype(int)
    found = boundary_target(torch.from_numpy(labels), thickness=8)
    assert found.dtype == torch.long
    for one, target in zip(labels, found.numpy(), strict=True):
        assert (target == slow(one, 8)).all()
    assert {*found.unique().tolist()} == {0, 1, 255}


def test_no_boundary_at_the_edge_of_the_image():
    assert not boundary_target(torch.ones(1, 9, 9, dtype=torch.long)).any()


def test_like_a_drawn_contour():
    mask = cv2.ellipse(np.zeros((128, 160), np.uint8), (80, 60), (50, 30), 20, 0, 360, 1, -1)
    contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_NONE)
    drawn = cv2.drawContours(np.zeros_like(mask), contours, -1, 1, 8) > 0
    found = boundary_target(torch.from_numpy(mask).long()[None])[0].numpy() > 0
    assert (drawn & found).sum() / (drawn | found).sum() > 0.9
