"""Encoders: from the events of a series to a summary for the start of its latent path."""

from tsode._registry import Registry
from tsode.encoders.backward_filter import BackwardFilter
from tsode.encoders.backward_ode_rnn import BackwardODERNN
from tsode.encoders.base import Encoded, Encoder
from tsode.encoders.set_attention import SetAttention

__all__ = ["ENCODERS", "BackwardFilter", "BackwardODERNN", "Encoded", "Encoder", "SetAttention"]

ENCODERS: Registry[type[Encoder]] = Registry(
    "encoder",
    Encoder,
    {
        "backward_filter": BackwardFilter,
        "backward_ode_rnn": BackwardODERNN,
        "set_attention": SetAttention,
    },
    sizes=("n_channels", "n_hidden", "n_inputs"),
)
