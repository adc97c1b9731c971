# SPDX-License-Identifier: Apache-2.0
"""pointer-network, show-attend-tell: torch's own LSTM where there is one, else its cell written out."""
import torch

from autograd import rand, run


def cell(x, h, c, wi, wh, bi, bh):
    i, f, g, o = (x @ wi.T + bi + h @ wh.T + bh).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(c), c


def pointer(p, i, w):
    x, layers, ways = i["x"], p.get("lstm_layers", 1), 2 if p.get("bidir") else 1
    B, N, _ = x.shape
    linear = lambda t, n: t @ w[n + ".weight"].T + w[n + ".bias"]
    points = linear(x, "embedding")
    flat = [w[f"encoder.lstm.{n}_l{l}{'_reverse' if way else ''}"] for l in range(layers) for way in range(ways) for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    zero = torch.zeros(layers * ways, B, flat[1].shape[1]).double()
    states, hn, cn = torch._VF.lstm(points, (zero, zero), flat, True, layers, 0.0, False, ways == 2, True)
    h, c = torch.cat(list(hn[-ways:]), -1), torch.cat(list(cn[-ways:]), -1)
    context = states @ w["decoder.att.context_linear.weight"][..., 0].T + w["decoder.att.context_linear.bias"]
    rows, chosen, inputs = [], torch.zeros(B, N, dtype=torch.bool), w["decoder_input0"].expand(B, -1)
    order = []
    for _ in range(N):
        gate = lambda n: (w[f"decoder.{n}.weight"], w[f"decoder.{n}.bias"])
        (wi, bi), (wh, bh) = gate("input_to_hidden"), gate("hidden_to_hidden")
        ht, c = cell(inputs, h, c, wi, wh, bi, bh)
        u = torch.tanh(linear(ht, "decoder.att.input_linear")[:, None] + context) @ w["decoder.att.V"]
        a = torch.softmax(u.masked_fill(chosen, -torch.inf), 1)
        rows.append(a)
        order.append(a.argmax(1))
        chosen = chosen | torch.nn.functional.one_hot(order[-1], N).bool()
        h = torch.tanh(linear(torch.cat([(a[:, None] @ context)[:, 0], ht], 1), "decoder.hidden_out"))
        inputs = points[torch.arange(B), order[-1]]
    return {"out": torch.stack(rows, 1), "indices": torch.stack(order, 1)}


def tell(p, i, w):
    f = i["features"]
    linear = lambda t, n: t @ w[n + ".weight"].T + w[n + ".bias"]
    at = "" if p.get("attention_only") else "attention."
    look = lambda h: torch.softmax(linear(torch.tanh(linear(f, at + "W") + linear(h, at + "U")[:, None]), at + "v")[..., 0], 1)
    if p.get("attention_only"):
        a = look(i["hidden"])
        return {"out": (a[:, None] @ f)[:, 0], "weights": a}
    h, c = (torch.tanh(linear(f.mean(1), n)) for n in ("init_h", "init_c"))
    word, outs = torch.zeros(len(f), dtype=torch.long), []
    for _ in range(p["steps"]):
        a = look(h)
        beta = torch.sigmoid(linear(h, "f_beta"))
        z = beta * (a[:, None] @ f)[:, 0]
        h, c = cell(torch.cat([w["embedding.weight"][word], z], 1), h, c, *(w["lstm." + n] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")))
        y = linear(h, "deep_output")
        word = y.argmax(1)
        outs.append((y, a, beta, z, word))
    return {n: torch.stack(t, 1) for n, t in zip(("out", "weights", "beta", "gated_context", "tokens"), zip(*outs))}


def weights(seed, shapes):
    return {n: rand([seed, k], *s, std=0.6) for k, (n, s) in enumerate(shapes.items())}


def network(seed, e, h, layers, ways):
    s = {"embedding.weight": (e, 2), "embedding.bias": (e,), "decoder_input0": (e,)}
    for l in range(layers):
        for end in ("", "_reverse")[:ways]:
            g = h // ways
            s |= {f"encoder.lstm.weight_ih_l{l}{end}": (4 * g, h if l else e), f"encoder.lstm.weight_hh_l{l}{end}": (4 * g, g),
                  f"encoder.lstm.bias_ih_l{l}{end}": (4 * g,), f"encoder.lstm.bias_hh_l{l}{end}": (4 * g,)}
    for n, o, w in [("input_to_hidden", 4 * h, e), ("hidden_to_hidden", 4 * h, h), ("hidden_out", h, 2 * h), ("att.input_linear", h, h)]:
        s |= {f"decoder.{n}.weight": (o, w), f"decoder.{n}.bias": (o,)}
    return weights(seed, s | {"decoder.att.V": (h,), "decoder.att.context_linear.weight": (h, h, 1), "decoder.att.context_linear.bias": (h,)})


def linears(**shapes):
    return {f"{n.replace('__', '.')}.{k}": s if k == "weight" else s[:1] for n, s in shapes.items() for k in ("weight", "bias")}


run("pointer-network", pointer, [
    ("both-ways", {"embedding_dim": 5, "hidden_dim": 6, "lstm_layers": 1, "bidir": True}, {"x": rand(1, 2, 5, 2)}, network(2, 5, 6, 1, 2)),
    ("layers", {"embedding_dim": 4, "hidden_dim": 6, "lstm_layers": 2, "bidir": False}, {"x": rand(3, 2, 4, 2)}, network(4, 4, 6, 2, 1)),
    ("layers-both-ways", {"embedding_dim": 4, "hidden_dim": 6, "lstm_layers": 2, "bidir": True}, {"x": rand(5, 1, 4, 2)}, network(6, 4, 6, 2, 2)),
], "step by step")
De, h, a, V = 5, 6, 4, 9
run("show-attend-tell", tell, [
    ("attention", {"attention_only": True}, {"features": rand(7, 2, 7, De), "hidden": rand(8, 2, h)}, weights(9, linears(U=(a, h), W=(a, De), v=(1, a)))),
    ("words", {"encoder_dim": De, "hidden": h, "attention_dim": a, "vocabulary_size": V, "steps": 4}, {"features": rand(10, 3, 7, De)},
     weights(11, linears(attention__U=(a, h), attention__W=(a, De), attention__v=(1, a), init_h=(h, De), init_c=(h, De), f_beta=(De, h), deep_output=(V, h))
             | {"embedding.weight": (V, h), "lstm.weight_ih": (4 * h, h + De), "lstm.weight_hh": (4 * h, h), "lstm.bias_ih": (4 * h,), "lstm.bias_hh": (4 * h,)})),
], "step by step")
