// Kernels of npr/kernels/categorical.py: logits, logp (B, K), a (B,). A row is skipped, or worked on
// by `lanes` threads.
#define ROW                            \
  const index_t row = row_of(lanes);   \
  const int lane = lane_of(lanes);     \
  if (row >= B) return;                \
  const index_t start = row * K

extern "C" __global__ void log_softmax(const real *logits, real *logp, int B, int K, int lanes) {
  ROW;
  const real *x = logits + start;
  real top = x[0], total = 0;
  for (int k = lane; k < K; k += lanes) top = x[k] > top ? x[k] : top;
  top = row_max(top, lanes);
  for (int k = lane; k < K; k += lanes) total += exp(x[k] - top);
  const real shift = log(row_sum(total, lanes));
  for (int k = lane; k < K; k += lanes) logp[start + k] = x[k] - top - shift;
}

extern "C" __global__ void log_softmax_backward(const real *logp, const real *g, real *dlogits, int B,
                                                int K, int lanes) {
  ROW;
  real total = 0;
  for (int k = lane; k < K; k += lanes) total += g[start + k];
  total = row_sum(total, lanes);
  for (int k = lane; k < K; k += lanes) {
    const real share = total != 0 ? exp(logp[start + k]) * total : real(0);
    dlogits[start + k] = g[start + k] - share;
  }
}

// Each lane has `chunk` neighboring actions. The sums of the lanes are added one after the other, as
// within a lane, so that the cumulative distribution never decreases.
extern "C" __global__ void draw(const real *logp, const real *u, index_t *a, int B, int K,
                                int lanes) {
  ROW;
  const int chunk = (K - 1) / lanes + 1;
  const int first = lane * chunk, end = first + chunk < K ? first + chunk : K;
  real sum = 0, before = 0, total = 0;
  for (int k = first; k < end; k++) sum += exp(logp[start + k]);
  if (lanes == 1) {
    total = sum;
  } else {
    const real *sums = exchanged(sum);
    for (int other = 0; other < lanes; other++) {
      if (other == lane) before = total;
      total += sums[other];
    }
  }
  const real mass = u[row] * total;
  real reached = 0;
  int passed = 0;
  for (int k = first; k < end; k++) {
    reached += exp(logp[start + k]);
    passed += before + reached <= mass;
  }
  if (lanes == 1) {
    a[row] = passed;
  } else {
    __shared__ unsigned all;
    if (lane == 0) all = 0;
    __syncthreads();
    atomicAdd(&all, (unsigned)passed);
    __syncthreads();
    if (lane == 0) a[row] = all;
  }
}

// An action that is out of range has NaN.
extern "C" __global__ void log_prob(const real *logp, const index_t *a, real *chosen, int B, int K) {
  const index_t row = THREAD;
  if (row >= B) return;
  const index_t k = a[row];
  chosen[row] = k >= 0 && k < K ? logp[row * K + k] : real(nan(""));
}

extern "C" __global__ void log_prob_backward(const real *logp, const index_t *a, const real *g,
                                             real *dlogits, int B, int K, int lanes) {
  ROW;
  const index_t action = a[row];
  const real d = action >= 0 && action < K ? g[row] : real(nan(""));
  for (int k = lane; k < K; k += lanes) {
    const real all = -d * exp(logp[start + k]);
    dlogits[start + k] = g[row] == 0 ? real(0) : k == action ? all + d : all;
  }
}

extern "C" __global__ void entropy(const real *logp, real *H, int B, int K, int lanes) {
  ROW;
  real total = 0;
  for (int k = lane; k < K; k += lanes) {
    const real p = exp(logp[start + k]);
    if (p != 0) total -= p * logp[start + k];  // 0 log 0 = 0
  }
  total = row_sum(total, lanes);
  if (lane == 0) H[row] = total;
}

extern "C" __global__ void entropy_backward(const real *logp, const real *H, const real *g,
                                            real *dlogits, int B, int K, int lanes) {
  ROW;
  for (int k = lane; k < K; k += lanes) {
    const real x = logp[start + k], p = exp(x);
    dlogits[start + k] = g[row] == 0 || p == 0 ? real(0) : -g[row] * p * (x + H[row]);
  }
}

extern "C" __global__ void kl(const real *logp, const real *logq, real *divergence, int B, int K,
                              int lanes) {
  ROW;
  real total = 0;
  for (int k = lane; k < K; k += lanes) {
    const real p = exp(logp[start + k]);
    if (p != 0) total += p * (logp[start + k] - logq[start + k]);
  }
  total = row_sum(total, lanes);
  if (lane == 0) divergence[row] = total;
}

extern "C" __global__ void kl_backward(const real *logp, const real *logq, const real *divergence,
                                       const real *g, real *dp, real *dq, int B, int K, int lanes) {
  ROW;
  for (int k = lane; k < K; k += lanes) {
    const index_t n = start + k;
    const real p = exp(logp[n]);
    const real ratio = p != 0 ? logp[n] - logq[n] - divergence[row] : real(0);
    dp[n] = g[row] == 0 || p == 0 ? real(0) : g[row] * p * ratio;
    dq[n] = g[row] == 0 ? real(0) : g[row] * (exp(logq[n]) - p);
  }
}
