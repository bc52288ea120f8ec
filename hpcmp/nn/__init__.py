"""Learned messages: graph neural networks trained on all ranks, with the same bits on any number of them."""

from hpcmp.nn.aggregate import attend, attend_mixed, max_neighbours, mean_neighbours, sum_neighbours, sum_relations
from hpcmp.nn.dense import linear, matvec
from hpcmp.nn.elementwise import add, concat, dropout, elu, leaky_relu, log_softmax, relu, scale
from hpcmp.nn.fit import History, evaluate, fit
from hpcmp.nn.gradcheck import gradcheck
from hpcmp.nn.layers import GAT, GCN, GIN, RGCN, SAGE, Embedding, GATv2, Linear, MessageLayer, NNConv
from hpcmp.nn.losses import accuracy, cross_entropy
from hpcmp.nn.module import Module, Parameter, Rows
from hpcmp.nn.optim import SGD, Adam
from hpcmp.nn.propagate import propagate
from hpcmp.nn.tape import Tensor, backward, gradients, made
from hpcmp.nn.view import View

__all__ = [
    "Adam",
    "Embedding",
    "Rows",
    "GAT",
    "GATv2",
    "GCN",
    "GIN",
    "History",
    "Linear",
    "MessageLayer",
    "Module",
    "NNConv",
    "Parameter",
    "RGCN",
    "SAGE",
    "SGD",
    "Tensor",
    "View",
    "accuracy",
    "add",
    "attend",
    "attend_mixed",
    "backward",
    "concat",
    "cross_entropy",
    "dropout",
    "elu",
    "evaluate",
    "fit",
    "gradcheck",
    "gradients",
    "leaky_relu",
    "linear",
    "log_softmax",
    "made",
    "matvec",
    "max_neighbours",
    "mean_neighbours",
    "propagate",
    "relu",
    "scale",
    "sum_neighbours",
    "sum_relations",
]
