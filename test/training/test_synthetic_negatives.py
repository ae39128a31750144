# SPDX-License-Identifier: Apache-2.0
"""The joint step: which loss reaches what, and what is pasted where."""

from __future__ import annotations

import pytest
import torch
from tiny import CPU, TinyNetwork, colored_store

from densehybrid_ros.networks import DenseHybrid, upsample
from densehybrid_ros.networks.dense_flow import FLOWS, DenseFlow
from densehybrid_ros.training.losses import OUTLIER, compound_loss, flow_likelihood_loss, jensen_shannon_loss
from densehybrid_ros.training.mixed_content import MixedBatch, without_pasting
from densehybrid_ros.training.synthetic_negatives import FlowPartner


@pytest.fixture
def partner() -> FlowPartner:
    torch.manual_seed(0)
    flow = DenseFlow(FLOWS["dense_flow_tiny"])
    for name, parameter in flow.named_parameters():
        if "network.head" in name:
            torch.nn.init.normal_(parameter, std=0.05)
    flow.initialize(torch.rand(8, 3, 16, 16))
    return FlowPartner(flow, 1, CPU, largest=32, jsd_weight=0.5)


@pytest.fixture
def mixed() -> MixedBatch:
    store = colored_store()
    return without_pasting(store.images[:4].float() / 255, store.labels[:4])


def gradients(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.grad.clone() for name, value in module.named_parameters() if value.grad is not None}


def forward(model: DenseHybrid, mixed: MixedBatch) -> tuple[torch.Tensor, torch.Tensor]:
    output = model(mixed.images)
    size = tuple(mixed.images.shape[2:])
    return upsample(output.logits, size), upsample(output.posterior, size)


def test_one_rectangle_an_image_of_the_drawn_sizes(partner: FlowPartner, mixed: MixedBatch) -> None:
    sizes = set()
    for step in range(12):
        pasted = partner.paste(mixed, step)
        height, width = pasted.leaf.shape[2:]
        sizes |= {height, width}
        for number, patch in enumerate(pasted.leaf):
            image, labels, origin = (part[number] for part in pasted.mixed[:3])
            rows, columns = torch.nonzero(origin == OUTLIER, as_tuple=True)
            window = (..., slice(rows.min(), rows.min() + height), slice(columns.min(), columns.min() + width))
            assert len(rows) == height * width
            assert torch.equal(image[window], patch)
            assert (labels[window] == 255).all()
            assert torch.equal(pasted.replaced[number], mixed.images[number][window])
            outside = (origin != OUTLIER).expand(3, -1, -1)
            assert torch.equal(image[outside], mixed.images[number][outside])
    assert sizes == {16, 24, 32}


def test_the_divergence_reaches_the_flow_and_not_the_model(partner: FlowPartner, mixed: MixedBatch) -> None:
    model = DenseHybrid(TinyNetwork())
    pasted = partner.paste(mixed, 0)
    logits, posterior = forward(model, pasted.mixed)
    loss, leaf_gradient = partner.divergence(logits, pasted)
    assert float(loss) > 0
    assert not gradients(model)
    assert (leaf_gradient.abs().amax((1, 2, 3)) > 0).all()
    compound_loss(logits, posterior, pasted.mixed.labels, pasted.mixed.origin, beta=1.0)["loss"].backward()
    assert not gradients(partner.flow)  # nor does the model's loss reach the flow
    model.zero_grad(set_to_none=True)
    partner.jsd_weight = 1.0
    partner.backward(pasted, torch.zeros_like(leaf_gradient), 0)
    likelihood_alone = gradients(partner.flow)
    partner.optimizer.zero_grad()
    partner.backward(partner.paste(mixed, 0), leaf_gradient, 0)
    together = gradients(partner.flow)
    changed = [not torch.equal(value, together[name]) for name, value in likelihood_alone.items()]
    assert sum(changed) > len(changed) / 2
    assert not gradients(model)


def test_the_flow_gets_the_gradient_of_equation_20(partner: FlowPartner, mixed: MixedBatch) -> None:
    """The two halves of the step against one graph from the flow through the model to L_mle + lambda L_jsd."""
    model = DenseHybrid(TinyNetwork())
    pasted = partner.paste(mixed, 3)
    logits, posterior = forward(model, pasted.mixed)
    _, leaf_gradient = partner.divergence(logits, pasted)
    compound_loss(logits, posterior, pasted.mixed.labels, pasted.mixed.origin, beta=1.0)["loss"].backward()
    partner.backward(pasted, leaf_gradient, 3)
    actual = gradients(partner.flow)

    partner.optimizer.zero_grad()
    pasted = partner.paste(mixed, 3)
    images = pasted.mixed.images.detach().clone()
    generator = torch.Generator().manual_seed(partner.seed + 1_000_003 * 3)
    noise = partner.flow.draw_noise(len(pasted.replaced), tuple(pasted.replaced.shape[2:]), generator)
    total = flow_likelihood_loss(partner.flow, pasted.replaced, generator, noise)
    for number, generated in enumerate(pasted.generated):
        where = (pasted.mixed.origin[number] == OUTLIER).expand(3, -1, -1)
        images[number] = images[number].masked_scatter(where, generated)
    logits, _ = forward(model, pasted.mixed._replace(images=images))
    total = total + partner.jsd_weight * jensen_shannon_loss(logits, pasted.mixed.origin == OUTLIER)
    total.backward()
    torch.testing.assert_close(actual, gradients(partner.flow), atol=1e-5, rtol=1e-3)


def test_a_gradient_that_is_not_finite_leaves_the_flow_alone(partner: FlowPartner, mixed: MixedBatch) -> None:
    before = {key: value.clone() for key, value in partner.flow.state_dict().items()}
    for step, value in enumerate((float("nan"), 0.0)):
        pasted = partner.paste(mixed, step)
        partner.backward(pasted, torch.full_like(pasted.leaf, value), step)
        partner.update()
        same = [torch.equal(value, before[key]) for key, value in partner.flow.state_dict().items()]
        assert all(same) == (step == 0)
