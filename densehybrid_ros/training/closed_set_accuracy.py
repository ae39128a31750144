"""What a segmentation model is validated by while it trains."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from densehybrid_ros.networks import DenseHybrid, upsample
from densehybrid_ros.scores.confusion import ConfusionMatrix
from densehybrid_ros.training.batches import Source
from densehybrid_ros.training.distributed import Processes
from densehybrid_ros.training.run_data import frame_tensors


@torch.inference_mode()
def mean_iou(
    model: DenseHybrid,
    sources: Sequence[Source],
    device: torch.device,
    processes: Processes,
    limit: int | None = None,
) -> dict[str, float]:
    """Measures the closed-set mIoU in percent; every process takes its part of the frames, ``limit`` of a source."""
    confusion = ConfusionMatrix(model.num_classes, device=device)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    for source in sources:
        for index in range(processes.rank, len(source) if limit is None else limit, processes.count):
            image, label = frame_tensors(source, index)
            images = image.to(device).unsqueeze(0).float() / 255
            with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
                logits = model(images.contiguous(memory_format=torch.channels_last)).logits
            size = (label.shape[0], label.shape[1])
            prediction = upsample(logits.float(), size, model.align_corners).argmax(1)[0]
            confusion.update(prediction, label.to(device))
    processes.sum(confusion.counts)
    return {"mean_iou": round(100 * float(confusion.mean_iou()), 2)}
