"""Margin softmax in float64 with numerical pull-back: slow, and independent of the trainer's formulas."""

import math

import numpy as np

from arcface_api.resource.spec import LossSpec


def margin_softmax(loss: LossSpec, embeddings, centers, labels):
    """Mean loss, its gradient for the embeddings and for the centres, by central differences."""
    value = _loss(loss, embeddings, centers, labels)
    by_embedding = _differences(lambda x: _loss(loss, x, centers, labels), embeddings)
    by_center = _differences(lambda x: _loss(loss, embeddings, x, labels), centers)
    return value, by_embedding, by_center


def _loss(loss, embeddings, centers, labels):
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    directions = centers / np.linalg.norm(centers, axis=1, keepdims=True)
    cosines = np.clip(unit @ directions.T, -1, 1)
    rows = np.arange(len(labels))
    logits = cosines.copy()
    logits[rows, labels] = [_margin(loss, cosine) for cosine in cosines[rows, labels]]
    logits *= loss.scale
    if loss.interclass_filter is not None:
        is_left_out = cosines > loss.interclass_filter
        is_left_out[rows, labels] = False
        logits[is_left_out] = -math.inf
    peak = logits.max(axis=1)
    log_sum = peak + np.log(np.exp(logits - peak[:, None]).sum(axis=1))
    return float((log_sum - logits[rows, labels]).mean())


def _margin(loss, cosine):
    angle = math.acos(cosine)
    if loss.type == "cosface":
        return cosine - loss.margin
    if loss.type == "combined" and loss.m1 * angle + loss.m2 > math.pi:
        return -1 - loss.m3 + cosine - math.cos((math.pi - loss.m2) / loss.m1)
    if loss.type == "combined":
        return math.cos(loss.m1 * angle + loss.m2) - loss.m3
    if angle + loss.margin > math.pi:
        return cosine - loss.margin * math.sin(loss.margin)
    return math.cos(angle + loss.margin)


def _differences(function, x, step=1e-5):
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        above, below = x.copy(), x.copy()
        above[index] += step
        below[index] -= step
        gradient[index] = (function(above) - function(below)) / (2 * step)
    return gradient
