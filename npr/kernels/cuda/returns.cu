// Kernels of npr/kernels/returns.py. Arrays are (T, N): a thread walks backwards along a column. It
// reads several steps at once, for which the compiler must know that no array overlaps the result.

extern "C" __global__ void gae(const real *__restrict__ r, const real *__restrict__ v,
                               const real *__restrict__ v_next,
                               const real *__restrict__ terminated,
                               const real *__restrict__ done, real *__restrict__ advantage, int T,
                               int N, real gamma, real lam) {
  const int n = THREAD;
  if (n >= N) return;
  real trace = 0;
#pragma unroll 8
  for (index_t i = index_t(T - 1) * N + n; i >= 0; i -= N) {
    const real delta = r[i] + gamma * v_next[i] * (1 - terminated[i]) - v[i];
    trace = delta + gamma * lam * (1 - done[i]) * trace;
    advantage[i] = trace;
  }
}

extern "C" __global__ void returns(const real *__restrict__ r, const real *__restrict__ done,
                                   const real *__restrict__ bootstrap, real *__restrict__ G, int T,
                                   int N, real gamma) {
  const int n = THREAD;
  if (n >= N) return;
  real next = 0;
#pragma unroll 8
  for (int t = T - 1; t >= 0; t--) {
    const index_t i = index_t(t) * N + n;
    const real after = bootstrap[i];
    next = r[i] + gamma * (t == T - 1 || done[i] != 0 ? after : next);
    G[i] = next;
  }
}

// y <- x standardized, n numbers, by one block; `rounding` is that of numbers about 1.
extern "C" __global__ void standardize(const real *x, real *y, int n, real rounding) {
  const real first = x[0];  // a difference is exact for numbers that are nearly equal
  real sum = 0, squares = 0;
  for (int i = threadIdx.x; i < n; i += blockDim.x) sum += x[i] - first;
  const real mean = block_sum(sum) / n;
  for (int i = threadIdx.x; i < n; i += blockDim.x) {
    const real deviation = x[i] - first - mean;
    squares += deviation * deviation;
  }
  const real floor = 4 * rounding * fabs(first) + real(1e-8);
  const real scale = sqrt(block_sum(squares) / (n - 1)) + floor;
  for (int i = threadIdx.x; i < n; i += blockDim.x) y[i] = (x[i] - first - mean) / scale;
}
