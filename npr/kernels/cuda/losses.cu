// Kernels of npr/kernels/losses.py: each block writes the part of a mean that its items add to it.

// The part of this block: the sum of x over its threads / n.
__device__ inline void write_part(real x, int n, real *parts) {
  const real sum = block_sum(x);
  if (threadIdx.x == 0) parts[blockIdx.x] = sum / n;
}

// One block; sum <- the sum of the parts.
extern "C" __global__ void total(const real *parts, int count, real *sum) {
  const real all = parts_sum(parts, count);
  if (threadIdx.x == 0) *sum = all;
}

// x and error have n numbers, y has m, a divisor of n, which repeat.
extern "C" __global__ void mse(const real *x, const real *y, real *error, int n, int m,
                               real *parts) {
  real sum = 0;
  for (unsigned i = THREAD; i < n; i += THREADS) {
    const real e = x[i] - y[i % m];
    error[i] = e;
    sum += e * e;
  }
  write_part(sum, n, parts);
}

// epsilon is in memory, or a number where that is null.
extern "C" __global__ void surrogate(const real *ratio, const real *A, real *slope,
                                     const real *epsilon, real number, int n, real *parts) {
  const real eps = epsilon ? *epsilon : number, low = 1 - eps, high = 1 + eps;
  real sum = 0;
  for (unsigned i = THREAD; i < n; i += THREADS) {
    const real r = ratio[i], c = r < low ? low : r;  // NaN stays
    const real unclipped = r * A[i], clipped = (c > high ? high : c) * A[i];
    sum += fmin(unclipped, clipped);
    slope[i] = unclipped <= clipped ? A[i] : real(0);
  }
  write_part(sum, n, parts);
}

// q, slope (B, K).
extern "C" __global__ void td_huber(const real *q, const index_t *a, const real *y, const real *w,
                                    real *chosen, real *slope, int B, int K, real *parts) {
  real sum = 0;
  for (unsigned i = THREAD; i < B; i += THREADS) {
    const bool valid = 0 <= a[i] && a[i] < K;
    const real value = valid ? q[index_t(i) * K + a[i]] : real(nan("")), error = value - y[i];
    const real bounded = error > 1 ? real(1) : error < -1 ? real(-1) : error;  // NaN stays
    chosen[i] = value;
    for (int k = 0; k < K; k++)
      slope[index_t(i) * K + k] = k == a[i] || !valid ? w[i] * bounded / B : real(0);
    sum += w[i] * bounded * (error - real(0.5) * bounded);
  }
  write_part(sum, B, parts);
}
