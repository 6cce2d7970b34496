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

// ---- y <- x standardized, n numbers; `rounding` is that of numbers about 1

// The part of this block in the sum of differences from the first number, which are exact for
// numbers that are nearly equal.
__device__ inline real differences_part(const real *x, int n) {
  const real first = x[0];
  real sum = 0;
  for (unsigned i = THREAD; i < n; i += THREADS) sum += x[i] - first;
  return block_sum(sum);
}

// mean: that of the differences.
__device__ inline real squares_part(const real *x, int n, real mean) {
  const real first = x[0];
  real sum = 0;
  for (unsigned i = THREAD; i < n; i += THREADS) {
    const real deviation = x[i] - first - mean;
    sum += deviation * deviation;
  }
  return block_sum(sum);
}

__device__ inline void scale(const real *x, real *y, int n, real mean, real squares,
                             real rounding) {
  const real first = x[0], floor = 4 * rounding * fabs(first) + real(1e-8);
  const real width = sqrt(squares / (n - 1)) + floor;
  for (unsigned i = THREAD; i < n; i += THREADS) y[i] = (x[i] - first - mean) / width;
}

// By one block.
extern "C" __global__ void standardize(const real *x, real *y, int n, real rounding) {
  const real mean = differences_part(x, n) / n;
  scale(x, y, n, mean, squares_part(x, n, mean), rounding);
}

// By `count` blocks, in three launches.
extern "C" __global__ void sum_differences(const real *x, int n, real *differences) {
  const real part = differences_part(x, n);
  if (threadIdx.x == 0) differences[blockIdx.x] = part;
}

extern "C" __global__ void sum_squares(const real *x, int n, const real *differences, int count,
                                       real *squares) {
  const real part = squares_part(x, n, parts_sum(differences, count) / n);
  if (threadIdx.x == 0) squares[blockIdx.x] = part;
}

extern "C" __global__ void standardize_by(const real *x, real *y, int n, const real *differences,
                                          const real *squares, int count, real rounding) {
  const real mean = parts_sum(differences, count) / n;
  scale(x, y, n, mean, parts_sum(squares, count), rounding);
}
