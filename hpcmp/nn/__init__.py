"""Learned messages: graph neural networks trained on all ranks, with the same bits on any number of them."""

from hpcmp.nn.aggregate import attend, attend_mixed, max_neighbours, mean_neighbours, sum_neighbours
from hpcmp.nn.channel import by_channel
from hpcmp.nn.dense import linear, matvec
from hpcmp.nn.elementwise import (
    add,
    concat,
    dropout,
    elu,
    gelu,
    leaky_relu,
    log_softmax,
    maximum,
    multiply,
    relu,
    scale,
    sigmoid,
    tanh,
)
from hpcmp.nn.fit import fit
from hpcmp.nn.gradcheck import gradcheck
from hpcmp.nn.hetero import HeteroConv, TypedLinear
from hpcmp.nn.jumping import JumpingKnowledge
from hpcmp.nn.layers import GAT, GCN, GIN, RGCN, SAGE, Embedding, GATv2, Linear, MessageLayer, NNConv
from hpcmp.nn.links import DistMult, Pairs, by_origin, draw_pairs, link_loss, link_scores
from hpcmp.nn.losses import bce_with_logits, cross_entropy, mse
from hpcmp.nn.metrics import accuracy, f1, hits_at_k, mrr, roc_auc
from hpcmp.nn.module import Buffer, Module, Parameter, Rows
from hpcmp.nn.norms import BatchNorm, LayerNorm
from hpcmp.nn.optim import SGD, Adam, AdamW
from hpcmp.nn.propagate import propagate
from hpcmp.nn.relations import RelationRows, sum_heard, sum_mixed, sum_relations, sum_through
from hpcmp.nn.schedules import Cosine, Plateau, StepDecay
from hpcmp.nn.tape import Tensor, backward, gradients, made
from hpcmp.nn.training import History, Training, evaluate, run_epochs
from hpcmp.nn.view import View

__all__ = [
    "Adam",
    "AdamW",
    "BatchNorm",
    "Buffer",
    "Cosine",
    "DistMult",
    "Embedding",
    "GAT",
    "GATv2",
    "GCN",
    "GIN",
    "HeteroConv",
    "History",
    "JumpingKnowledge",
    "LayerNorm",
    "Linear",
    "MessageLayer",
    "Module",
    "NNConv",
    "Pairs",
    "Parameter",
    "Plateau",
    "RGCN",
    "RelationRows",
    "Rows",
    "SAGE",
    "SGD",
    "StepDecay",
    "Tensor",
    "Training",
    "TypedLinear",
    "View",
    "accuracy",
    "add",
    "attend",
    "attend_mixed",
    "backward",
    "bce_with_logits",
    "by_channel",
    "by_origin",
    "concat",
    "cross_entropy",
    "draw_pairs",
    "dropout",
    "elu",
    "evaluate",
    "f1",
    "fit",
    "gelu",
    "gradcheck",
    "gradients",
    "hits_at_k",
    "leaky_relu",
    "linear",
    "link_loss",
    "link_scores",
    "log_softmax",
    "made",
    "matvec",
    "max_neighbours",
    "maximum",
    "mean_neighbours",
    "mrr",
    "mse",
    "multiply",
    "propagate",
    "relu",
    "roc_auc",
    "run_epochs",
    "scale",
    "sigmoid",
    "sum_heard",
    "sum_mixed",
    "sum_neighbours",
    "sum_relations",
    "sum_through",
    "tanh",
]
