"""Mean, spread and range of each neuron, and how often it fires.

B sequences of a batch, I neurons, N a batch's evidence tokens in a row, V the valid ones of them.
"""

import torch
from torch import Tensor

_PART = 256  # tokens


class Moments:
    """Per neuron, sums of activations and of their squares, and the range; exact to merge in any order.

    A batch's sum is split in a whole part and a fraction of 2**-40ths, added up as integers. Sums run over the
    layer's full width, then the wanted columns are taken: a sum's rounding may depend on the width.
    """

    def __init__(self, columns_I: Tensor, firings: bool = False):
        """firings: also count tokens and sequences above 0."""
        self.columns_I = columns_I
        n, device = len(columns_I), columns_I.device
        self.firings_I2 = torch.zeros(n, 2, dtype=torch.int64, device=device) if firings else None
        self.sums_I4 = torch.zeros(n, 4, dtype=torch.int64, device=device)
        self.range_I2 = torch.tensor([torch.inf, -torch.inf], device=device).repeat(n, 1)

    def update(self, acts_NI: Tensor, places: Tensor | None, low_BI: Tensor, high_BI: Tensor) -> None:
        """Take in a batch: its tokens (of them those at `places`; None: all), all neurons of the layer; the wanted
        ones' extremes of each sequence."""
        sum_I, square_I = acts_NI.new_zeros(2, acts_NI.shape[1], dtype=torch.float32)
        fired_I = torch.zeros(acts_NI.shape[1], dtype=torch.int64, device=acts_NI.device)
        # In parts that stay in a processor's cache: twice as fast there as the whole at once.
        for part in (acts_NI if places is None else places).split(_PART if acts_NI.is_cpu else len(acts_NI)):
            acts_VI = (part if places is None else acts_NI.index_select(0, part)).to(torch.float32, copy=True)
            sum_I += acts_VI.sum(0)
            if self.firings_I2 is not None:
                fired_I += (acts_VI > 0).sum(0)
            square_I += acts_VI.square_().sum(0)
        for column, total_I in ((0, sum_I), (2, square_I)):
            total_I = total_I[self.columns_I].double()
            whole_I = total_I.floor()
            self.sums_I4[:, column] += whole_I.long()
            self.sums_I4[:, column + 1] += ((total_I - whole_I) * 2.0**40).round().long()
        if self.firings_I2 is not None:
            self.firings_I2[:, 0] += fired_I[self.columns_I]
            self.firings_I2[:, 1] += (high_BI > 0).sum(0)
        self.range_I2[:, 0] = torch.minimum(self.range_I2[:, 0], low_BI.amin(0).float())
        self.range_I2[:, 1] = torch.maximum(self.range_I2[:, 1], high_BI.amax(0).float())
