"""What several layers gave, as one."""

from hpcmp.nn.elementwise import add, concat, maximum
from hpcmp.nn.module import Module
from hpcmp.nn.sums import alike


class JumpingKnowledge(Module):
    """The rows of all layers side by side ("concat"), their largest channel by channel ("max"), or their sum ("sum").

    Called with a list of rows, one of each layer; all but "concat" need rows of
    one width. Source: K. Xu et al., ICML 2018.

    Raises
    ------
    ProgramError
        There is no such ``how``. Raised on every rank.
    """

    def __init__(self, how="concat"):
        if how not in ("concat", "max", "sum"):
            raise alike(f"how = {how!r} is not one of concat, max, sum")
        self.how = how

    def __call__(self, graph, layers):
        if self.how == "sum":
            total, *others = layers
            for more in others:
                total = add(total, more)
            return total
        return concat(*layers) if self.how == "concat" else maximum(*layers)
