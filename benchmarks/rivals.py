"""The others: each function loads the graph into a rival and gives ``once(k)``, which tells seconds.

Vertices are numbered by ascending id, as an edge list has them, whatever the
order of rows in our file.
"""

import os

import numpy as np
from timing import clock


def graphblas_products(job):
    """T: 20 products of the adjacency matrix with a vector, float32. Local."""
    import graphblas as gb

    n, ptr, src, _ = csr(job)
    gb.ss.config["nthreads"] = job.threads
    a = gb.Matrix.from_csr(ptr, src, np.float32(1), nrows=n, ncols=n, dtype=gb.dtypes.FP32)
    x = gb.Vector.from_dense(np.full(n, 1 / n, np.float32))
    y = gb.Vector(gb.dtypes.FP32, n)

    def products():
        for _ in range(20):
            y << gb.semiring.plus_second(a @ x)
            y.wait()

    return lambda k: clock(products)


def dd_fsync(job, n_bytes=1 << 30):
    """dd of as many bytes to the same disk, with fsync. Local."""
    import subprocess
    import tempfile

    def once(k):
        with tempfile.TemporaryDirectory(dir=os.getcwd()) as folder:
            source = ["if=/dev/zero", f"of={folder}/bytes", "bs=4M", f"count={n_bytes >> 22}", "conv=fsync"]
            return clock(lambda: subprocess.run(["dd", *source], check=True, capture_output=True))

    return once


def networkit_bfs(job):
    """BFS from the k-th source. Local."""
    import networkit as nk

    g = networkit_graph(job, nk)
    _, ptr, _, _ = csr(job)
    sources = pick_sources(np.diff(ptr))
    return lambda k: clock(nk.distance.BFS(g, int(sources[k % len(sources)]), storePaths=False).run)


def networkit_wcc(job):
    """Connected components, by the faster of NetworKit's two ways. Local."""
    import networkit as nk

    g = networkit_graph(job, nk)
    ways = (nk.components.ConnectedComponents, nk.components.ParallelConnectedComponents)
    best = min(ways, key=lambda way: clock(way(g).run))
    return lambda k: clock(best(g).run)


def torch_csr(job):
    """torch.sparse CSR @ dense, 128 float32 channels; indices of 32 or 64 bits, the faster. Local."""
    import torch

    torch.set_num_threads(job.threads)
    n, ptr, src, w = csr(job, "weight")
    x = torch.ones(n, 128)

    def matrix(kind):
        return torch.sparse_csr_tensor(
            torch.from_numpy(ptr.astype(kind)), torch.from_numpy(src.astype(kind)), torch.from_numpy(w), size=(n, n)
        )

    a = min((matrix(np.int32), matrix(np.int64)), key=lambda a: min(clock(lambda: a @ x) for _ in range(2)))
    return lambda k: clock(lambda: a @ x)


def pyg_scatter(job):
    """Gather, multiply, scatter_add, as torch_geometric passes messages. Local."""
    import torch
    from torch_geometric.utils import scatter

    torch.set_num_threads(job.threads)
    n, ptr, src, w = csr(job, "weight")
    source = torch.from_numpy(src.astype(np.int64))
    target = torch.from_numpy(np.repeat(np.arange(n), np.diff(ptr)))
    weight, x = torch.from_numpy(w).view(-1, 1), torch.ones(n, 128)

    def step():
        return scatter(x.index_select(0, source) * weight, target, dim=0, dim_size=n, reduce="sum")

    return lambda k: clock(step)


def igraph_bfs(job):
    """Hops from the k-th source to all vertices. Local."""
    g, sources = igraph_graph(job)
    return lambda k: clock(lambda: g.distances(sources[k % len(sources)]))


def igraph_wcc(job):
    """Connected components. Local."""
    g, _ = igraph_graph(job)
    return lambda k: clock(g.connected_components)


def igraph_sssp(job):
    """Dijkstra's algorithm from the first source. Local."""
    g, sources = igraph_graph(job, "weight")
    return lambda k: clock(lambda: g.distances(sources[0], weights="weight", algorithm="dijkstra"))


def igraph_triangles(job):
    """Triangles over paths of two edges, for which igraph counts triangles. Local."""
    g, _ = igraph_graph(job)
    return lambda k: clock(g.transitivity_undirected)


def scipy_bfs(job):
    """Vertices in the order of a search from the k-th source. Local."""
    from scipy.sparse.csgraph import breadth_first_order

    a, sources = scipy_matrix(job)
    return lambda k: clock(lambda: breadth_first_order(a, sources[k % len(sources)], return_predecessors=False))


def scipy_wcc(job):
    """Connected components; both directions are stored, so strong ones are weak ones. Local."""
    from scipy.sparse.csgraph import connected_components

    a, _ = scipy_matrix(job)
    ways = ({"connection": "strong"}, {"connection": "weak"}, {"directed": False})
    best = min(ways, key=lambda way: clock(lambda: connected_components(a, **way)))
    return lambda k: clock(lambda: connected_components(a, **best))


def scipy_products(job):
    """20 products of the adjacency matrix with a vector, float64. Local."""
    a, _ = scipy_matrix(job)

    def products():
        x = np.full(a.shape[0], 1 / a.shape[0])
        for _ in range(20):
            x = a @ x

    return lambda k: clock(products)


def scipy_sssp(job):
    """Dijkstra's algorithm from the first source. Local."""
    from scipy.sparse.csgraph import dijkstra

    a, sources = scipy_matrix(job, "weight")
    return lambda k: clock(lambda: dijkstra(a, indices=sources[0]))


WIDTHS = (128, 256, 256, 40)


def pyg_epoch(job, kind):
    """The same epoch in torch_geometric, as its users write it: with edges as pairs. Local."""
    import torch
    from torch_geometric import nn as pyg

    n, ptr, src, _ = csr(job)
    edges = torch.from_numpy(np.stack((src.astype(np.int64), np.repeat(np.arange(n), np.diff(ptr)))))
    make = {"gcn": pyg.GCNConv, "sage": pyg.SAGEConv, "gat": lambda a, b: heads_of(pyg.GATConv, a, b, concat=False)}
    return torch_epoch(job, n, make[kind], lambda layer, h: layer(h, edges))


def pyg_csr_epoch(job, kind):
    """`pyg_epoch` with the edges as a sparse CSR tensor, weighed before. Local."""
    import torch
    from torch_geometric import nn as pyg
    from torch_geometric.nn.conv.gcn_conv import gcn_norm

    n, ptr, src, _ = csr(job)
    edges = torch.from_numpy(np.stack((src.astype(np.int64), np.repeat(np.arange(n), np.diff(ptr)))))
    edges, weights = gcn_norm(edges, num_nodes=n) if kind == "gcn" else (edges, torch.ones(edges.shape[1]))
    edges = torch.sparse_coo_tensor(edges.flip(0), weights, (n, n)).coalesce().to_sparse_csr()
    make = {"gcn": lambda a, b: pyg.GCNConv(a, b, normalize=False), "sage": pyg.SAGEConv}
    return torch_epoch(job, n, make[kind], lambda layer, h: layer(h, edges))


def dgl_epoch(job, kind):
    """The same epoch in DGL. Local."""
    os.environ.setdefault("DGLBACKEND", "pytorch")
    import dgl
    import torch
    from dgl.nn import GATConv, GraphConv, SAGEConv

    n, ptr, src, _ = csr(job)
    dst = torch.from_numpy(np.repeat(np.arange(n), np.diff(ptr)))
    graph = dgl.graph((torch.from_numpy(src.astype(np.int64)), dst), num_nodes=n)
    if kind != "sage":
        graph = dgl.add_self_loop(dgl.remove_self_loop(graph))
    graph = graph.int()
    graph.create_formats_()
    make = {
        "gcn": lambda a, b: GraphConv(a, b, allow_zero_in_degree=True),
        "sage": lambda a, b: SAGEConv(a, b, "mean"),
        "gat": lambda a, b: heads_of(GATConv, a, b, allow_zero_in_degree=True),
    }

    def run(layer, h):
        out = layer(graph, h)
        return out if out.dim() == 2 else out.flatten(1) if out.shape[2] == 64 else out.mean(1)

    return torch_epoch(job, n, make[kind], run)


def dgl_memory(job, kind):
    """Peak memory of this process after three epochs, in GB. Local."""
    from ours import memory

    epoch = dgl_epoch(job, kind)

    def once(k):
        for t in range(3):
            epoch(t)
        return memory("VmHWM") / 1e9

    return once


def heads_of(layer, a, b, **last):
    """Four heads, side by side, or of the last layer averaged. Local."""
    always = {k: v for k, v in last.items() if k != "concat"}
    return layer(a, b // 4, 4, **always) if b % 64 == 0 else layer(a, b, 4, **last)


def torch_epoch(job, n, make, run):
    """Forward, backward and Adam of three layers in torch: once(k), in seconds. Local."""
    import torch

    torch.set_num_threads(job.threads)
    x = torch.from_numpy(np.cos(np.arange(n)[:, None] * 0.37 + np.arange(WIDTHS[0]) * 1.1).astype(np.float32))
    labels = torch.arange(n) % WIDTHS[-1]
    net = torch.nn.ModuleList(make(a, b) for a, b in zip(WIDTHS[:-1], WIDTHS[1:], strict=True))
    adam = torch.optim.Adam(net.parameters(), lr=0.01)

    def epoch():
        h = x
        for layer in net[:-1]:
            h = torch.relu(run(layer, h))
        loss = torch.nn.functional.cross_entropy(run(net[-1], h), labels)
        adam.zero_grad()
        loss.backward()
        adam.step()

    return lambda k: clock(epoch)


def mesa_schelling(job, side, rounds):
    """Mesa's own model of segregation, its example: so many steps. Local."""
    from mesa.examples.basic.schelling.model import Schelling

    def once(k):
        model = Schelling(side, side, density=0.8, minority_pc=0.5, homophily=0.4, radius=2, seed=1)

        def steps():
            for _ in range(rounds):
                model.step()

        return clock(steps)

    return once


def csr(job, field=None):
    """In-edges of all vertices by ascending id: n, ptr int64, src int64, float32 field. Local."""
    from mpi4py import MPI

    import hpcmp

    g = hpcmp.open_graph(MPI.COMM_SELF, job.path)
    by_id = np.argsort(g.order)  # row of each vertex in id order
    degree = g.in_degree[by_id]
    ptr = np.concatenate(([0], np.cumsum(degree))).astype(np.int64)
    at = np.arange(ptr[-1]) + np.repeat(g.in_ptr[:-1].astype(np.int64)[by_id] - ptr[:-1], degree)
    src = g.order[g.in_src[at]]
    values = None if field is None else g.edge_fields[field][at].astype(np.float32)
    return g.n_vertices, ptr, src, values


def networkit_graph(job, nk):
    """The graph in NetworKit. Local."""
    nk.setNumberOfThreads(job.threads)
    n, ptr, src, _ = csr(job)
    dst = np.repeat(np.arange(n), np.diff(ptr))
    once = dst <= src  # each undirected edge is stored both ways
    return nk.GraphFromCoo((dst[once], src[once]), n=n, directed=False)


def igraph_graph(job, field=None):
    """The graph in igraph, and the sources of searches. Local."""
    import igraph

    n, ptr, src, values = csr(job, field)
    dst = np.repeat(np.arange(n), np.diff(ptr))
    once = dst <= src  # each undirected edge is stored both ways
    g = igraph.Graph(n, np.column_stack((dst[once], src[once])))
    if field is not None:
        g.es[field] = values[once].tolist()
    return g, pick_sources(np.diff(ptr)).tolist()


def scipy_matrix(job, field=None):
    """The adjacency matrix in scipy, float64, and the sources of searches. Local."""
    from scipy.sparse import csr_array

    n, ptr, src, values = csr(job, field)
    values = np.ones(len(src)) if values is None else values.astype(np.float64)
    a = csr_array((values, src.astype(np.int32), ptr.astype(np.int32)), shape=(n, n))
    return a, pick_sources(np.diff(ptr)).tolist()


def pick_sources(degree, n=64, seed=1):
    """Vertices with an edge, drawn by a seed: int64 (n,). Local."""
    return np.random.default_rng(seed).choice(np.flatnonzero(degree), n)
