"""Learned messages: graph neural networks trained on all ranks, with the same bits on any number of them."""

from hpcmp.nn.aggregate import attend, max_neighbours, mean_neighbours, sum_neighbours, sum_relations
from hpcmp.nn.dense import linear
from hpcmp.nn.elementwise import add, concat, dropout, elu, leaky_relu, log_softmax, relu, scale
from hpcmp.nn.fit import fit
from hpcmp.nn.gradcheck import gradcheck
from hpcmp.nn.layers import GAT, GCN, GIN, RGCN, SAGE, Linear
from hpcmp.nn.losses import accuracy, cross_entropy
from hpcmp.nn.module import Module, Parameter
from hpcmp.nn.optim import SGD, Adam
from hpcmp.nn.tape import Tensor, backward, made
from hpcmp.nn.training import History, Training, evaluate, run_epochs
from hpcmp.nn.view import View

__all__ = [
    "Adam",
    "GAT",
    "GCN",
    "GIN",
    "History",
    "Linear",
    "Module",
    "Parameter",
    "RGCN",
    "SAGE",
    "SGD",
    "Tensor",
    "Training",
    "View",
    "accuracy",
    "add",
    "attend",
    "backward",
    "concat",
    "cross_entropy",
    "dropout",
    "elu",
    "evaluate",
    "fit",
    "gradcheck",
    "leaky_relu",
    "linear",
    "log_softmax",
    "made",
    "max_neighbours",
    "mean_neighbours",
    "relu",
    "run_epochs",
    "scale",
    "sum_neighbours",
    "sum_relations",
]
