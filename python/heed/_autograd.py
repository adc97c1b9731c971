# SPDX-License-Identifier: Apache-2.0
"""How results of heed take part in torch.autograd: forward has run, backward plays heed's tape."""
import torch


class _Call(torch.autograd.Function):
    """`play` turns gradients of the outputs (None where none came) into those of the inputs."""

    @staticmethod
    def forward(ctx, play, outputs, is_float, others, *inputs):
        ctx.play = play
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(*(o for o, floats in zip(outputs, is_float) if not floats))
        # The tape reads these again: torch then notices what is changed in place between forward and backward.
        ctx.save_for_backward(*inputs, *others, *outputs)
        return tuple(outputs)

    @staticmethod
    def backward(ctx, *gradients):
        if torch.is_grad_enabled():  # create_graph=True
            raise RuntimeError("heed: the gradient of a gradient is not offered through torch.autograd")
        ctx.saved_tensors  # noqa: B018  raises where one was changed
        return None, None, None, None, *ctx.play(gradients)


def attach(play, outputs, is_float, others, inputs):
    return _Call.apply(play, outputs, is_float, others, *inputs)
