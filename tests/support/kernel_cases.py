"""Every kernel as an obvious scalar loop, and random arguments for it."""

import importlib
import math
import pkgutil
import statistics

import numpy as np

import npr.kernels
from npr.kernels.jit import Kernel
from npr.kernels.mlp import scratch_size, work_size

KERNELS = {
    name.lstrip("_"): kernel
    for module in pkgutil.iter_modules(npr.kernels.__path__)
    for name, kernel in vars(importlib.import_module(f"npr.kernels.{module.name}")).items()
    if isinstance(kernel, Kernel) and module.name not in ("sumtree", "table")  # test_MODULE.py
}

# --- scalar loops: results are written into arguments or returned --------------------------------


def slow_bias_relu(z, b):
    for i, j in np.ndindex(z.shape):
        z[i, j] = max(z[i, j] + b[j], 0)


def slow_relu_backward(g, h, out):
    for i, j in np.ndindex(g.shape):
        g[i, j] = g[i, j] if h[i, j] > 0 else 0
    slow_bias_backward(g, h, out)


def slow_bias(z, b):
    for i, j in np.ndindex(z.shape):
        z[i, j] += b[j]


def slow_bias_tanh(z, b):
    for i, j in np.ndindex(z.shape):
        z[i, j] = math.tanh(z[i, j] + b[j])


def slow_bias_elu(z, b):
    for i, j in np.ndindex(z.shape):
        x = z[i, j] + b[j]
        z[i, j] = x if x > 0 else math.exp(x) - 1


def slow_elu_backward(g, h, out):
    for i, j in np.ndindex(g.shape):
        g[i, j] *= 1 if h[i, j] > 0 else h[i, j] + 1
    slow_bias_backward(g, h, out)


def slow_tanh_backward(g, h, out):
    for i, j in np.ndindex(g.shape):
        g[i, j] = g[i, j] * (1 - h[i, j] ** 2)
    slow_bias_backward(g, h, out)


def slow_bias_backward(g, h, out):
    for j in range(len(out)):
        out[j] = math.fsum(g[:, j])


def slow_network(theta, x, sizes, activations, normal):
    """[(W, its slice of theta, input, output, derivative of the activation, the normalized rows and
    what they were multiplied by, the gains and their slice)] of every layer."""
    f = [lambda z: max(z, 0), math.tanh, lambda z: z if z > 0 else math.expm1(z), lambda z: z]
    df = [
        lambda y: float(y > 0), lambda y: 1 - y * y, lambda y: 1 if y > 0 else y + 1, lambda y: 1,
    ]  # fmt: skip
    layers, start = [], 0
    at = sum((n + 1) * m for n, m in zip(sizes, sizes[1:]))  # of the gains
    for layer, (n, m) in enumerate(zip(sizes, sizes[1:])):
        W, y = theta[start : start + n * m].reshape(n, m), np.zeros((len(x), m))
        for i, j in np.ndindex(y.shape):
            y[i, j] = sum(x[i, k] * W[k, j] for k in range(n))
        scale, z, gain = np.ones(len(x)), np.zeros_like(y), np.ones(m)
        if normal and layer < len(sizes) - 2:
            gain = theta[at : at + m]
            slow_normalize(y, gain, scale, z)
            y, z = z, y
        for i, j in np.ndindex(y.shape):
            y[i, j] = f[activations[layer]](y[i, j] + theta[start + n * m + j])
        slope = np.array([df[activations[layer]](value) for value in y.ravel()]).reshape(y.shape)
        layers.append((W, start, x, y, slope, z, scale, gain, at))
        x, start, at = y, start + (n + 1) * m, at + m
    return layers


def slow_normalize(z, gain, scale, y):
    for i, row in enumerate(z):
        mean = math.fsum(row) / len(row)
        scale[i] = 1 / math.sqrt(math.fsum((x - mean) ** 2 for x in row) / len(row) + 1e-5)
        z[i] = [(x - mean) * scale[i] for x in row]
        y[i] = [x * k for x, k in zip(z[i], gain)]


def slow_normalize_backward(g, z, gain, scale, out):
    """The Jacobian, entry by entry: dz_j / dx_k = scale (1{j = k} - 1/n - z_j z_k / n)."""
    out[:] = [math.fsum(g[:, j] * z[:, j]) for j in range(len(out))]
    for i, (row, n) in enumerate(zip(g * gain, [len(gain)] * len(g))):
        for k in range(n):
            slopes = [(j == k) - 1 / n - z[i, j] * z[i, k] / n for j in range(n)]
            g[i, k] = scale[i] * math.fsum(slopes * row)


def slow_chosen(theta, index, out):
    for i, j in np.ndindex(out.shape):
        out[i, j] = theta[index[i], j]


def slow_join(parts):
    return np.array([[x for part in parts for x in part[i]] for i in range(len(parts[0]))])


def slow_add_free(y, theta, free):
    out = np.empty((*y.shape[:2], y.shape[2] + free))
    for row, i in np.ndindex(y.shape[:2]):
        out[row, i] = [*y[row, i], *theta[row, -free:]]
    return out


def slow_split_free(g, free, dtheta):
    dtheta[:, -free:] = 0
    for row, i, j in np.ndindex((*g.shape[:2], free)):
        dtheta[row, j - free] += g[row, i, j - free]
    return g[..., :-free]


def slow_forward(theta, x, sizes, activations, normal, work):
    networks = [slow_network(row, x, sizes, activations, normal) for row in theta]
    layers = [*zip(*networks)]
    hidden = layers[:-1] if normal else []
    numbers = [one[3] for layer in layers for one in layer]
    numbers += [one[5] for layer in hidden for one in layer]
    numbers += [one[6] for layer in hidden for one in layer]
    work[:] = [v for array in numbers for v in array.ravel()]


def slow_backward(theta, x, sizes, activations, normal, work, g, dtheta, dx, scratch):
    dx[...] = 0
    for row, network in enumerate(
        slow_network(one, x, sizes, activations, normal) for one in theta
    ):
        grad = g[row]
        for layer in range(len(network) - 1, -1, -1):
            W, start, h, _, slope, z, scale, gain, at = network[layer]
            grad, (n, m) = grad * slope, W.shape
            if dtheta.size:
                dtheta[row, start + n * m : start + (n + 1) * m] = grad.sum(axis=0)
            if normal and layer < len(network) - 1:
                dgain = dtheta[row, at : at + m] if dtheta.size else np.zeros(m)
                slow_normalize_backward(grad, z, gain, scale, dgain)
            if dtheta.size:
                for k, j in np.ndindex(n, m):
                    products = [h[i, k] * grad[i, j] for i in range(len(x))]
                    dtheta[row, start + k * m + j] = sum(products)
            grad = np.array([[sum(W[k] * one) for k in range(n)] for one in grad]).reshape(-1, n)
        if dx.size:
            dx += grad


def slow_adam(theta, g, m, v, counts, rate, beta1, beta2, eps):
    slow_count(counts)
    t = counts[0]
    for i in range(len(theta)):
        m[i] = beta1 * m[i] + (1 - beta1) * g[i]
        v[i] = beta2 * v[i] + (1 - beta2) * g[i] ** 2
        m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
        theta[i] = theta[i] - rate * m_hat / (math.sqrt(v_hat) + eps)


def slow_rmsprop(theta, g, v, counts, rate, decay, eps):
    slow_count(counts)
    for i in range(len(theta)):
        v[i] = decay * v[i] + (1 - decay) * g[i] ** 2
        theta[i] = theta[i] - rate * g[i] / (math.sqrt(v[i]) + eps)


def slow_sgd(theta, g, velocity, counts, rate, momentum):
    slow_count(counts)
    for i in range(len(theta)):
        velocity[i] = momentum * velocity[i] + g[i]
        theta[i] = theta[i] - rate * velocity[i]


def slow_count(counts):
    """A step that is made."""
    counts[0] += 1
    counts[2] = 0


def slow_polyak(theta_bar, theta, tau):
    for i in range(len(theta)):
        theta_bar[i] = tau * theta[i] + (1 - tau) * theta_bar[i]


def slow_clip_norm(g, max_norm, scratch):
    norm = math.sqrt(math.fsum(x * x for x in g))
    for i in range(len(g)):
        g[i] = g[i] * min(1, max_norm / (norm + 1e-6))


def slow_squash(out, noise, a, logp):
    B, D = noise.shape
    for i in range(B):
        logp[i] = 0
        for j in range(D):
            log_std = min(max(out[i, D + j], -20), 2)
            u = out[i, j] + math.exp(log_std) * noise[i, j]
            a[i, j] = math.tanh(u)
            normal = -0.5 * noise[i, j] ** 2 - log_std - 0.5 * math.log(2 * math.pi)
            logp[i] += normal + 2 * math.log(math.cosh(u))  # d tanh(u) / du = 1 / cosh(u)^2


def slow_squash_backward(out, noise, a, da, dlogp, dout):
    B, D = noise.shape
    for i, j in np.ndindex(B, D):
        log_std = out[i, D + j]
        du = da[i, j] * (1 - a[i, j] ** 2) + dlogp[i] * 2 * a[i, j]
        dout[i, j] = du
        inside = -20 <= log_std <= 2
        dout[i, D + j] = du * math.exp(log_std) * noise[i, j] - dlogp[i] if inside else 0


def slow_gae(r, v, v_next, terminated, done, gamma, lam, A):
    """The definition, a sum over all later steps of the trace: O(T^2)."""
    T, N = r.shape
    A[:] = 0
    for t, n in np.ndindex(T, N):
        weight = 1.0
        for k in range(t, T):
            delta = r[k, n] + gamma * v_next[k, n] * (1 - terminated[k, n]) - v[k, n]
            A[t, n] += weight * delta
            weight *= gamma * lam * (1 - done[k, n])


def slow_returns(r, done, gamma, bootstrap, G):
    T, N = r.shape
    G[:] = 0
    for t, n in np.ndindex(T, N):
        for k in range(t, T):
            G[t, n] += gamma ** (k - t) * r[k, n]
            if done[k, n] or k == T - 1:
                G[t, n] += gamma ** (k - t + 1) * bootstrap[k, n]
                break


def slow_n_step_returns(rewards, next_row, index, n, gamma, r, power, last):
    for i, row in enumerate(index):
        rows = [row]
        while len(rows) < n and next_row[rows[-1]] >= 0:
            rows.append(next_row[rows[-1]])
        r[i] = sum(gamma**k * rewards[row] for k, row in enumerate(rows))
        power[i], last[i] = gamma ** len(rows), rows[-1]


def slow_gather(rows, fresh, start, count, index, last, returns, mean, scale, reward_scale, clip,
                reward_clip, s, a, r, s2, terminated):  # fmt: skip
    """Row by row, with the columns cut by name."""
    S, A = s.shape[1], a.shape[1]
    for i in range(count):
        rows[(start + i) % len(rows)] = fresh[i]

    def cut(row):
        return np.split(rows[row], [S, S + A, S + A + 1, 2 * S + A + 1])

    def normalized(x):
        return np.clip((x - mean) * scale, -clip, clip) if len(mean) else x

    for i in range(len(s)):
        s[i], a[i], reward, _, _ = cut(index[i])
        _, _, _, s2[i], (terminated[i],) = cut(last[i])
        s[i], s2[i] = normalized(s[i]), normalized(s2[i])
        r[i] = returns[i] if len(returns) else reward[0]
        if len(reward_scale):
            r[i] = np.clip(r[i] * reward_scale[0], -reward_clip, reward_clip)


def slow_insert(rows, start, s, a, r, s2, terminated):
    for i in range(len(r)):
        rows[(start + i) % len(rows)] = [*s[i], *a[i], r[i], *s2[i], terminated[i]]


def slow_standardize(x, y):
    mean, n = statistics.fmean(x.tolist()), len(x)
    std = math.sqrt(math.fsum((v - mean) ** 2 for v in x.tolist()) / (n - 1))
    for i in range(n):
        y[i] = (x[i] - mean) / (std + 1e-8)


def slow_td_huber(q, a, y, w, loss, chosen, slope):
    loss[0], slope[:] = 0, 0
    for i in range(len(q)):
        chosen[i] = q[i, a[i]]
        x = chosen[i] - y[i]
        loss[0] += w[i] * (x**2 / 2 if abs(x) <= 1 else abs(x) - 0.5) / len(q)
        slope[i, a[i]] = w[i] * (x if abs(x) <= 1 else np.sign(x)) / len(q)


def slow_take_rows(block, index, start, width, out):
    total = len(start)
    rows = block.size // total
    for at in range(out.size):
        # out holds one column after the other, as block does
        column = next(w for w in range(total) if at < (start[w] + width[w]) * len(index))
        i, j = divmod(at - start[column] * len(index), width[column])
        out[at] = block[start[column] * rows + index[i] * width[column] + j]


def slow_mse(x, y):
    error = np.array([a - b for a, b in zip(x.ravel(), np.broadcast_to(y, x.shape).ravel())])
    return math.fsum(error**2) / x.size, error.reshape(x.shape)


def slow_surrogate(ratio, A, epsilon):
    L, slope = 0, np.zeros_like(ratio)
    for i, (r, a) in enumerate(zip(ratio, A)):
        clipped = min(max(r, 1 - epsilon), 1 + epsilon)
        L += min(r * a, clipped * a) / len(A)
        slope[i] = a if r * a <= clipped * a else 0
    return L, slope


def slow_pick(q, a, chosen):
    for n, i in np.ndindex(chosen.shape):
        chosen[n, i] = q[n, i, a[i]]


def slow_pick_backward(a, g, dq):
    for n, i, k in np.ndindex(dq.shape):
        dq[n, i, k] = g[n, i] * (a[i] == k)


def slow_log_softmax(logits, logp):
    for i, k in np.ndindex(logits.shape):
        logp[i, k] = logits[i, k] - math.log(sum(math.exp(x) for x in logits[i]))


def slow_log_softmax_backward(logp, g, dlogits):
    """The Jacobian, entry by entry."""
    for i, k in np.ndindex(logp.shape):
        slopes = [float(j == k) - math.exp(logp[i, k]) for j in range(logp.shape[1])]
        dlogits[i, k] = sum(slopes * g[i])


def slow_draw(logp, u, a):
    for i in range(len(logp)):
        a[i], total = 0, sum(math.exp(x) for x in logp[i])
        while sum(math.exp(x) for x in logp[i, : a[i] + 1]) <= u[i] * total:
            a[i] += 1


def slow_log_prob(logp, a, chosen):
    for i in range(len(logp)):
        chosen[i] = logp[i, a[i]]


def slow_log_prob_backward(logp, a, g, dlogits):
    for i, k in np.ndindex(logp.shape):
        dlogits[i, k] = g[i] * ((a[i] == k) - math.exp(logp[i, k]))


def slow_entropy(logp, H):
    for i, row in enumerate(logp):
        H[i] = -sum(math.exp(x) * x for x in row if x > -math.inf)


def slow_entropy_backward(logp, H, g, dlogits):
    """By the chain rule through log_softmax: d(-sum p log p)/d logp = -p (log p + 1)."""
    inner = np.array([[-math.exp(x) * (x + 1) for x in row] for row in logp]).reshape(logp.shape)
    slow_log_softmax_backward(logp, g[:, None] * inner, dlogits)


def slow_kl(logp, logq, kl):
    for i, (row, other) in enumerate(zip(logp, logq)):
        kl[i] = sum(math.exp(x) * (x - y) for x, y in zip(row, other))


def slow_kl_backward(logp, logq, kl, g, dp, dq):
    """By the chain rule through both log_softmax: d KL/d logp = p (log p - log q + 1), -p."""
    p = np.exp(logp)
    slow_log_softmax_backward(logp, g[:, None] * p * (logp - logq + 1), dp)
    slow_log_softmax_backward(logq, -g[:, None] * p, dq)


def slow_bandwidth(fixed, updated, h, scratch):
    for b, (xs, ys) in enumerate(zip(fixed, updated)):
        square = sorted(((x - y) ** 2).sum() for x in xs for y in ys)
        h[b] = max(square[(len(square) - 1) // 2] / np.log(len(xs)), 1e-3)


def slow_direction(fixed, updated, score, h, moved):
    moved[:] = 0
    for b, i in np.ndindex(updated.shape[:2]):
        for x, slope in zip(fixed[b], score[b]):
            kernel = np.exp(-((x - updated[b, i]) ** 2).sum() / h[b])
            moved[b, i] += kernel * slope - 2 * (x - updated[b, i]) / h[b] * kernel
    moved /= fixed.shape[1]


# --- arguments -----------------------------------------------------------------------------------


class Draw:
    """Random arguments of sizes (B, n) and one dtype."""

    def __init__(self, seed, B, n, dtype):
        self.rng, self.B, self.n, self.dtype = np.random.default_rng(seed), B, n, dtype

    def normal(self, *shape):
        return self.rng.standard_normal(shape).astype(self.dtype)

    def table(self):
        return self.normal(self.B, self.n)

    def row(self):
        return self.normal(self.n)

    def counts(self):
        """Of an optimizer: steps made, skipped, and skipped since the last that was made."""
        return self.rng.integers(100, size=3)

    def flags(self, kind):
        return (self.rng.random((self.B + 1, self.n)) < 0.3).astype(kind)


def rollout(d):
    """r, v, v_next, terminated, done of one step or more; truncation is independent."""
    kind = d.rng.choice([bool, d.dtype])
    terminated = d.flags(kind)
    done = np.maximum(terminated, d.flags(kind))
    return *(d.normal(d.B + 1, d.n) for _ in range(3)), terminated, done


def gae_of(d):
    steps = rollout(d)
    return *steps, *map(float, d.rng.random(2)), np.zeros_like(steps[1])


def returns_of(d):
    r, _, bootstrap, _, done = rollout(d)
    return r, done, float(d.rng.random()), bootstrap, np.zeros_like(r)


def squash_backward_of(d):
    out, noise = 10 * d.normal(d.B, 2 * d.n), d.table()
    return out, noise, np.tanh(d.table()), d.table(), d.normal(d.B), d.normal(d.B, 2 * d.n)


def n_steps_of(d):
    capacity = d.B + 3
    next_row = np.append(np.arange(1, capacity), 0)  # circular, with episode ends
    next_row[d.rng.random(capacity) < 0.3] = -1
    index, steps = d.rng.integers(capacity, size=d.B), int(d.rng.integers(1, 6))
    r, power, last = d.normal(d.B), d.normal(d.B), 0 * index
    return d.normal(capacity), next_row, index, steps, 0.9, r, power, last


def gather_of(d):
    """Any combination of normalizations, of new rows that wrap around and of kinds of actions."""
    C, S, A = d.B + 2, d.n, int(d.rng.integers(1, 3))
    W, count = 2 * S + A + 2, int(d.rng.integers(C + 1))
    rows, fresh = d.normal(C, W), d.normal(count + 1, W)
    a = d.normal(d.B, A)
    if d.rng.random() < 0.5:  # indices of actions, stored as numbers
        rows[:, S : S + A], fresh[:, S : S + A] = 3, d.rng.integers(5, size=(count + 1, A))
        a = a.astype(np.int64)
    index, last = d.rng.integers(C, size=(2, d.B)).astype(np.int32)
    optional = [d.normal(d.B), d.row(), d.row() ** 2, d.normal(1) ** 2]
    for some in ([0], [1, 2], [3]):
        if d.rng.random() < 0.5:
            for i in some:
                optional[i] = optional[i][:0]
    batch = d.table(), a, d.normal(d.B), d.table(), d.normal(d.B)
    return rows, fresh, int(d.rng.integers(C)), count, index, last, *optional, 0.5, 0.9, *batch


def insert_of(d):
    """Up to a whole ring of transitions, with any kind of actions."""
    n, S, A = d.B, d.n, int(d.rng.integers(1, 3))
    C = n + 1 + int(d.rng.integers(3))
    a = d.rng.integers(5, size=(n, A)) if d.rng.random() < 0.5 else d.normal(n, A)
    start, terminated = int(d.rng.integers(C)), d.rng.random(n) < 0.5
    return d.normal(C, 2 * S + A + 2), start, d.table(), a, d.normal(n), d.table(), terminated


def td_huber_of(d):
    B = d.B + 1
    rows = [2 * d.normal(B) for _ in range(4)]
    q, y, w, chosen = 2 * d.normal(B, d.n), rows[0], rows[1] ** 2, rows[2]
    return q, d.rng.integers(d.n, size=B), y, w, d.normal(1), chosen, d.normal(B, d.n)


def take_rows_of(d):
    n, widths = d.B + 2, [2, d.n, 1]
    ends, index = np.cumsum([0, *widths]), d.rng.integers(n, size=d.B)
    block = d.rng.integers(2**32, size=n * ends[-1], dtype=np.uint32)
    out = np.zeros(d.B * ends[-1], np.uint32)
    return block, index, np.repeat(ends[:-1], widths), np.repeat(widths, widths), out


def surrogate_of(d):
    ratio, A = np.exp(0.3 * d.normal(d.B + 1)), d.normal(d.B + 1)
    return ratio, A, 0.2


def particles_of(d):
    K, L = d.rng.integers(2, 6), d.rng.integers(1, 5)
    return d.normal(d.B, K, d.n), d.normal(d.B, L, d.n)


def bandwidth_of(d):
    fixed, updated = particles_of(d)
    return fixed, updated, d.normal(d.B), d.normal(fixed.shape[1] * updated.shape[1])


def direction_of(d):
    fixed, updated = particles_of(d)
    h, direction = 0.5 + d.normal(d.B) ** 2, np.zeros_like(updated)
    return fixed, updated, d.normal(*fixed.shape), h, direction


def network_of(d):
    """(theta with one extra number, x, sizes, activations, normal, work)."""
    sizes = d.rng.integers(1, 4, d.rng.integers(2, 5))
    normal, rows = bool(d.rng.integers(2)), d.rng.integers(1, 3)
    size = sum((n + 1) * m for n, m in zip(sizes, sizes[1:])) + normal * sizes[1:-1].sum() + 1
    activations = d.rng.integers(4, size=len(sizes) - 1)
    work = np.zeros(work_size(sizes.tolist(), normal, rows, d.B), d.dtype)
    return d.normal(rows, size), d.normal(d.B, sizes[0]), sizes, activations, normal, work


def backward_of(d):
    theta, x, sizes, activations, normal, work = network_of(d)
    slow_forward(theta, x, sizes, activations, normal, work)
    g, nothing = d.normal(len(theta), d.B, sizes[-1]), np.zeros((0, 0), d.dtype)
    dtheta, dx = (nothing if d.rng.random() < 0.3 else np.zeros_like(y) for y in (theta, x))
    scratch = np.zeros(scratch_size(sizes.tolist(), d.B), d.dtype)
    return theta, x, sizes, activations, normal, work, g, dtheta, dx, scratch


def logp_of(d):
    logp = 2 * d.table()
    return logp - np.log(np.exp(logp).sum(axis=1, keepdims=True))


def actions_of(d):
    return d.rng.integers(d.n, size=d.B)


def entropy_of(d):
    logp = logp_of(d)
    H = np.zeros(d.B, d.dtype)
    slow_entropy(logp, H)
    return logp, H, d.normal(d.B), d.table()


def kl_of(d):
    logp, logq, kl = logp_of(d), logp_of(d), np.zeros(d.B, d.dtype)
    slow_kl(logp, logq, kl)
    return logp, logq, kl, d.normal(d.B), d.table(), d.table()


CASES = {
    "log_softmax": (slow_log_softmax, lambda d: (3 * d.table(), d.table())),
    "log_softmax_backward": (
        slow_log_softmax_backward,
        lambda d: (logp_of(d), d.table(), d.table()),
    ),
    "draw": (
        slow_draw,
        lambda d: (logp_of(d), d.rng.random(d.B).astype(d.dtype), actions_of(d)),
    ),
    "log_prob": (slow_log_prob, lambda d: (logp_of(d), actions_of(d), d.normal(d.B))),
    "log_prob_backward": (
        slow_log_prob_backward,
        lambda d: (logp_of(d), actions_of(d), d.normal(d.B), d.table()),
    ),
    "entropy": (slow_entropy, lambda d: (logp_of(d), d.normal(d.B))),
    "entropy_backward": (slow_entropy_backward, entropy_of),
    "kl": (slow_kl, lambda d: (logp_of(d), logp_of(d), d.normal(d.B))),
    "kl_backward": (slow_kl_backward, kl_of),
    "bias": (slow_bias, lambda d: (d.table(), d.row())),
    "bias_tanh": (slow_bias_tanh, lambda d: (5 * d.table(), d.row())),
    "bias_elu": (slow_bias_elu, lambda d: (d.table(), d.row())),
    "elu_backward": (slow_elu_backward, lambda d: (d.table(), np.expm1(-d.table()), d.row())),
    "normalize": (
        slow_normalize,
        lambda d: (d.table(), d.row(), d.normal(d.B), d.table()),
    ),
    "normalize_backward": (
        slow_normalize_backward,
        lambda d: (d.table(), d.table(), d.row(), d.normal(d.B) ** 2, d.row()),
    ),
    "forward": (slow_forward, network_of),
    "backward": (slow_backward, backward_of),
    "chosen": (
        slow_chosen,
        lambda d: (d.normal(4, d.n), d.rng.permutation(4)[: d.B], d.normal(min(d.B, 4), d.n)),
    ),
    "join": (slow_join, lambda d: ([d.normal(d.B + 1, 2), d.normal(d.B + 1, d.n)],)),
    "add_free": (slow_add_free, lambda d: (d.normal(2, d.B, 3), d.normal(2, d.n + 2), d.n)),
    "split_free": (
        slow_split_free,
        lambda d: (d.normal(2, d.B, 3 + d.n), d.n, d.normal(2, d.n + 2)),
    ),
    "bias_relu": (slow_bias_relu, lambda d: (d.table(), d.row())),
    "relu_backward": (slow_relu_backward, lambda d: (d.table(), np.maximum(d.table(), 0), d.row())),
    "tanh_backward": (slow_tanh_backward, lambda d: (d.table(), np.tanh(d.table()), d.row())),
    "bias_backward": (slow_bias_backward, lambda d: (d.table(), d.table(), d.row())),
    "adam": (
        slow_adam,
        lambda d: (d.row(), d.row(), d.row(), d.row() ** 2, d.counts(), 0.01, 0.9, 0.99, 1e-3),
    ),
    "rmsprop": (
        slow_rmsprop,
        lambda d: (d.row(), d.row(), d.row() ** 2, d.counts(), 0.01, 0.9, 1e-3),
    ),
    "sgd": (slow_sgd, lambda d: (d.row(), d.row(), d.row(), d.counts(), 0.01, 0.9)),
    "polyak": (slow_polyak, lambda d: (d.row(), d.row(), 0.3)),
    "clip_norm": (
        slow_clip_norm,
        lambda d: (d.row(), float(d.rng.choice([0.1, 1.0, 100.0])), d.normal(16)),
    ),
    "squash": (
        slow_squash,
        lambda d: (10 * d.normal(d.B, 2 * d.n), d.table(), d.table(), d.normal(d.B)),
    ),
    "squash_backward": (slow_squash_backward, squash_backward_of),
    "pick": (slow_pick, lambda d: (d.normal(2, d.B, d.n), actions_of(d), d.normal(2, d.B))),
    "pick_backward": (
        slow_pick_backward,
        lambda d: (actions_of(d), d.normal(2, d.B), d.normal(2, d.B, d.n)),
    ),
    "gae": (slow_gae, gae_of),
    "returns": (slow_returns, returns_of),
    "n_step_returns": (slow_n_step_returns, n_steps_of),
    "gather": (slow_gather, gather_of),
    "gather_on_host": (slow_gather, gather_of),
    "insert": (slow_insert, insert_of),
    "standardize": (slow_standardize, lambda d: (d.normal(d.B + 2), d.normal(d.B + 2))),
    "take_rows": (slow_take_rows, take_rows_of),
    "mse": (slow_mse, lambda d: (d.normal(d.B + 1, d.n), d.row())),
    "surrogate": (slow_surrogate, surrogate_of),
    "td_huber": (slow_td_huber, td_huber_of),
    "bandwidth": (slow_bandwidth, bandwidth_of),
    "direction": (slow_direction, direction_of),
}


SCRATCH = ("backward", "clip_norm", "bandwidth")  # kernels whose last argument is scratch


def arrays_after(body, arguments, scratch=False):
    """The arrays among copied arguments and what is returned, after body(*arguments).

    scratch   whether the last argument is scratch, whose content does not matter
    """
    arguments = [x.copy() if isinstance(x, np.ndarray) else x for x in arguments]
    result = body(*arguments)
    if scratch:
        arguments.pop()
    returned = result if isinstance(result, tuple) else () if result is None else (result,)
    return [*(x for x in arguments if isinstance(x, np.ndarray)), *map(np.asarray, returned)]


def as_float64(x):
    """Booleans and floats as float64."""
    return x.astype(np.float64) if isinstance(x, np.ndarray) and x.dtype.kind in "bf" else x
