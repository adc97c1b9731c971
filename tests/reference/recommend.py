# SPDX-License-Identifier: Apache-2.0
"""sdim, autoint, colbertv2, memn2n."""
import numpy as np
import torch

from autograd import rand, run


def sdim(p, i, w):
    R = w["random_rotations"][0]
    d, G, tau = R.shape
    bucket = lambda x: torch.stack([sum(((x @ R[:, g, t]) > 0).long() << t for t in range(tau)) for g in range(G)], -1)
    mine, theirs = bucket(i["q"]), bucket(i["sequence"])
    hits = (theirs == mine[:, None]).double().transpose(1, 2)
    if "mask" in i:
        hits = hits * i["mask"][:, None]
    rows = []
    for b in range(len(mine)):
        sums = [(hits[b, g][:, None] * i["sequence"][b]).sum(0) for g in range(G)]
        rows.append(sum(torch.nn.functional.normalize(s, dim=0) if p.get("l2_norm", True) else s for s in sums) / G)
    return {"out": torch.stack(rows), "hits": hits, "sequence_bucket": theirs, "target_bucket": mine}


def autoint(p, i, w):
    x, H = i["x"], p["head_num"]
    weights = None
    for l in range(p.get("att_layer_num") or 1):
        W = lambda n: w[f"{l}.{n}" if p.get("att_layer_num") else n]
        q, k, v = [torch.stack((x @ W(n)).chunk(H, -1)) for n in ("W_Query", "W_key", "W_Value")]
        s = torch.einsum("hbmd,hbnd->hbmn", q, k) / ((x.shape[-1] / H) ** 0.5 if p.get("scaling") else 1)
        a = torch.softmax(s, -1)
        weights = a.transpose(0, 1)
        x = torch.relu(torch.cat(list(a @ v), -1) + (x @ W("W_Res") if p.get("use_res", True) else 0))
    return {"out": x} | ({} if p.get("att_layer_num") else {"weights": weights})


def colbert(p, i, w):
    if "nbits" in p:
        bits, e, c = p["nbits"], i["embeddings"].detach(), i["centroids"].detach()
        codes = (e @ c.T).argmax(1)
        buckets = torch.bucketize((e - c[codes]).float(), i["bucket_cutoffs"].detach().float())
        stream = np.stack([(buckets.numpy() >> b) & 1 for b in range(bits)], -1).reshape(len(e), -1).astype(np.uint8)
        return {"out": torch.nn.functional.normalize(c[codes] + i["bucket_weights"].detach()[buckets], dim=1), "codes": codes,
                "residuals": torch.from_numpy(np.packbits(stream, axis=1)), "buckets": buckets}
    best = []
    for n in range(len(i["D"])):
        q = i["Q"][n if len(i["Q"]) > 1 else 0]
        if p.get("similarity") == "l2":  # as released, the mask is not looked at
            best.append((-((q[:, None] - i["D"][n]) ** 2).sum(2)).max(1))
            continue
        best.append(torch.where(i["D_mask"][n], q @ i["D"][n].T, torch.tensor(-9999.).double()).max(1))
    top = torch.stack([b.values for b in best])
    score = top.sum(1)
    if p.get("interaction") == "flipr":
        ranked = [t.sort(1, descending=True).values for t in (top[:, :64], top[:, 64:])]
        score = ranked[0][:, :32].sum(1) + (ranked[1][:, :8].sum(1) if top.shape[1] >= 72 else 0)
    return {"out": score, "maxsim": top, "argmax": torch.stack([b.indices for b in best])}


def memn2n(p, i, w):
    words, hops = p.get("te") == "time words", p["hops"]
    tables = [w[f"C_{k}.weight" if words else f"A.{k}.weight"] for k in range(hops + 1)]
    story, question = i["story"], i["question"]
    B, M, J = story.shape
    d = tables[0].shape[1]
    if words:
        tables = [torch.cat([0 * t[:1], t[1:]]) for t in tables]
        l = i["encoding"]
    else:
        j, k = torch.arange(1, J + 1).double()[:, None], torch.arange(1, d + 1).double()
        l = (1 - j / J) - k / d * (1 - 2 * j / J) if p.get("pe", True) else torch.ones(J, d).double()
    u = (tables[0][question] * (l[:question.shape[1]] if words else 1)).sum(1)
    rows = []
    for hop in range(hops):
        m, c = (tables[hop][story] * l).sum(2), (tables[hop + 1][story] * (l if words else 1)).sum(2)
        if p.get("te", True) is True:
            m, c = m + w["TA"][0, :M], c + w["TC"][0, :M]
        rows.append(torch.softmax((m @ u[:, :, None])[..., 0], 1))
        u = u + (rows[-1][:, None] @ c)[:, 0]
    logits, weights = u @ tables[-1].T, torch.stack(rows, 1)
    if words:
        return {"out": logits, "probabilities": torch.softmax(logits, 1), "weights": weights}
    return {"out": torch.log_softmax(logits, 1), "weights": weights, "u": u}


r = np.random.default_rng(5)
unit = lambda seed, *s: (lambda x: (x / np.linalg.norm(x, axis=-1, keepdims=True)).astype(np.float32))(rand(seed, *s))
run("sdim", sdim, [
    ("sums", {"num_hashes": 5, "hash_bits": 2, "l2_norm": False}, {"q": rand(1, 2, 7), "sequence": rand(2, 2, 11, 7), "mask": np.array([[1] * 11, [1] * 6 + [0] * 5], np.float32)},
     {"random_rotations": rand(3, 1, 7, 5, 2)}),
    ("empty-buckets", {"num_hashes": 4, "hash_bits": 6, "l2_norm": True}, {"q": rand(4, 2, 7), "sequence": rand(5, 2, 3, 7)}, {"random_rotations": rand(6, 1, 7, 4, 6)}),
], "sums signature by signature", ("q", "mask", "random_rotations"))
mats = lambda seed, d, names, prefix="": {prefix + n: rand([seed, k], d, d, std=0.4) for k, n in enumerate(names)}
every = ["W_Query", "W_key", "W_Value", "W_Res"]
run("autoint", autoint, [
    ("scaled", {"embedding_size": 9, "head_num": 3, "use_res": False, "scaling": True}, {"x": rand(7, 2, 5, 9)}, mats(8, 9, every[:3])),
    ("layers", {"embedding_size": 8, "head_num": 2, "att_layer_num": 3}, {"x": rand(9, 2, 5, 8)}, {k: v for l in range(3) for k, v in mats([10, l], 8, every, f"{l}.").items()}),
], "heads one after another")
quantiles = lambda x, n: np.quantile(x, n).astype(np.float32)
for bits in (1, 2):
    e, c = unit([11, bits], 9, 16), unit([12, bits], 4, 16)
    residual = e - c[(e @ c.T).argmax(1)]
    run("colbertv2", colbert, [(f"codec-{bits}", {"nbits": bits, "dim": 16, "centroids": 4}, {
        "embeddings": e, "centroids": c, "bucket_cutoffs": quantiles(residual, np.arange(1, 2 ** bits) / 2 ** bits),
        "bucket_weights": quantiles(residual, (np.arange(2 ** bits) + 0.5) / 2 ** bits)}, {})], "document by document")
run("colbertv2", colbert, [("pairs", {"interaction": "colbert"}, {"Q": unit(13, 3, 4, 8), "D": unit(14, 3, 6, 8), "D_mask": r.uniform(0, 1, (3, 6)) < 0.7}, {})], "document by document")
s = np.random.default_rng(6)
pair = lambda seed, N, L: {"Q": unit(seed, N, L, 3), "D": unit(seed + 1, 2, 5, 3), "D_mask": s.uniform(0, 1, (2, 5)) < 0.7}
run("colbertv2", colbert, [
    ("l2", {"interaction": "colbert", "similarity": "l2"}, pair(21, 1, 4), {}),
    ("l2-pairs", {"similarity": "l2"}, pair(23, 2, 7), {}),
    ("flipr", {"interaction": "flipr", "similarity": "cosine"}, pair(25, 1, 64), {}),
    ("flipr-more", {"interaction": "flipr"}, pair(27, 2, 75), {}),
    ("flipr-few-more", {"interaction": "flipr"}, pair(29, 1, 70), {}),
], "document by document")
ids = lambda *s: r.integers(0, 15, s).astype(np.int64)
tables = lambda seed, name, hops: {f"{name}{k}.weight": rand([seed, k], 15, 6, std=0.5) for k in range(hops + 1)}
run("memn2n", memn2n, [
    ("bare", {"hops": 2, "te": False, "pe": False}, {"story": ids(2, 4, 3), "question": ids(2, 5)}, tables(15, "A.", 2)),
    ("one-hop", {"hops": 1}, {"story": ids(2, 4, 3), "question": ids(2, 5)}, tables(16, "A.", 1) | {"TA": rand(17, 1, 4, 6), "TC": rand(18, 1, 4, 6)}),
    ("time-words", {"hops": 2, "te": "time words"}, {"story": ids(2, 4, 5), "question": ids(2, 5), "encoding": rand(19, 5, 6)},
     {k: np.concatenate([0 * v[:1], v[1:]]) for k, v in tables(20, "C_", 2).items()}),
    ("four-hops", {"hops": 4, "vocab_size": 15, "embd_size": 6}, {"story": s.integers(0, 15, (3, 5, 2)), "question": s.integers(0, 15, (3, 4))},
     tables(21, "A.", 4) | {"TA": rand(22, 1, 7, 6), "TC": rand(23, 1, 7, 6)}),
    ("time-words-four-hops", {"hops": 4, "te": "time words", "pe": True}, {"story": s.integers(1, 15, (1, 3, 5)), "question": s.integers(1, 15, (1, 3)), "encoding": rand(24, 5, 6)},
     {k: np.concatenate([0 * v[:1], v[1:]]) for k, v in tables(25, "C_", 4).items()}),
], "hop by hop", ("encoding",))
