"""Learned messages: graph neural networks trained on all ranks, with the same bits on any number of them."""

from hpcmp.nn.aggregate import attend, max_neighbours, mean_neighbours, sum_neighbours, sum_relations
from hpcmp.nn.dense import linear
from hpcmp.nn.elementwise import add, concat, dropout, elu, leaky_relu, log_softmax, relu, scale
from hpcmp.nn.fit import History, evaluate, fit
from hpcmp.nn.gradcheck import gradcheck
from hpcmp.nn.layers import GAT, GCN, GIN, RGCN, SAGE, Linear
from hpcmp.nn.links import DistMult, Pairs, by_origin, draw_pairs, link_loss, link_scores
from hpcmp.nn.losses import bce_with_logits, cross_entropy, mse
from hpcmp.nn.metrics import accuracy, f1, hits_at_k, mrr, roc_auc
from hpcmp.nn.module import Module, Parameter
from hpcmp.nn.optim import SGD, Adam, AdamW
from hpcmp.nn.schedules import Cosine, Plateau, StepDecay
from hpcmp.nn.tape import Tensor, backward, made
from hpcmp.nn.view import View
