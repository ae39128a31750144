"""The level of the score in its surroundings, taken out of it.

The hybrid score is minus the logarithm of a density that is not normalised, so what an inlier scores depends on what it
is: with the shipped ``light``, on one frame, -180 nats of asphalt, -120 of sky, -50 of a lorry. Where all pixels of
a frame are ranked together, the sky comes before the obstacle that stands out on the road. Inliers of a
neighbourhood have about one level, though, and it can be read off the score itself: the mean of it over the pixels
around that are clearly known. A share of that level is what stands in here for the missing normaliser, ln Z(x).

It is one number a position for all classes, added to the logits: ln p̂(x), and with it the score (8), moves, while the
class posterior, the segmentation and the dataset posterior stay what they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from densehybrid_ros.errors import InputError

_CELL = 4  # positions of the heads' grid; at an output stride of 4, cells of 16 pixels


@dataclass(frozen=True)
class ScoreLevel:
    """How a model's score is brought to one level.

    Attributes:
        share: Of the level, taken from the score; above 0, at most 1.
        reach: Cells (16 pixels, at an output stride of 4) that a box reaches to each side; two boxes, one after the
            other, make the neighbourhood.
        midpoint: Score in nats at which a pixel counts half as one that is clearly known.
        softness: Nats, above 0: in how wide a range around it pixels count less and less.
        frame: How much the level of the whole frame counts beside that of a neighbourhood all of clearly known pixels;
            within a large unknown object there are none, and it is all that counts.
    """

    share: float
    reach: int
    midpoint: float
    softness: float
    frame: float = 0.05

    def __post_init__(self) -> None:
        if not (0 < self.share <= 1 and self.reach >= 1 and self.softness > 0 and self.frame > 0):
            raise InputError(
                f"score level: share {self.share} must be within 0..1, reach {self.reach} at least 1, softness "
                f"{self.softness} and frame {self.frame} above 0"
            )

    def offset(self, logits: Tensor, posterior: Tensor) -> Tensor:
        """Returns what is added to all logits of a position: the share of its level, from ``midpoint`` on.

        Args:
            logits: [B, K, h, w], of the closed-set head.
            posterior: [B, 2, h, w], index 1 = outlier.

        Returns:
            float32 [B, 1, h, w], in nats.
        """
        # Small maps, so that on a GPU operations count, not values: log_softmax is one kernel, logsumexp several.
        classes, odds = _cells(logits), _cells(posterior)
        log_density = (classes - functional.log_softmax(classes, dim=1))[:, :1]
        score = functional.logsigmoid(odds[:, 1:] - odds[:, :1]) - log_density - self.midpoint
        known = torch.sigmoid(score * (-1 / self.softness))
        sums = torch.cat([known * score, known], dim=1)
        whole = sums.mean((2, 3), keepdim=True)
        near = self._spread(self._spread(sums))
        frame_level = whole[:, :1] / whole[:, 1:].clamp(min=1e-6)
        level = (near[:, :1] + self.frame * frame_level) / (near[:, 1:] + self.frame)
        return functional.interpolate(self.share * level, logits.shape[2:], mode="bilinear", align_corners=False)

    def _spread(self, sums: Tensor) -> Tensor:
        return functional.avg_pool2d(sums, 2 * self.reach + 1, stride=1, padding=self.reach)


def _cells(maps: Tensor) -> Tensor:
    """One position of each cell, near its middle: neighbourhoods hold many cells, so that reading all gains nothing."""
    rows, columns = (0 if side == 1 else 1 for side in maps.shape[2:])
    return maps[:, :, rows::_CELL, columns::_CELL].float()
