// Kernels of npr/kernels/pick.py: q, dq (N, B, K), a (B,), chosen, g (N, B). An action that is out of
// range has NaN, and no cotangent.

extern "C" __global__ void pick(const real *q, const index_t *a, real *chosen, int rows, int B,
                                int K) {
  const index_t row = THREAD;
  if (row >= rows) return;
  const index_t k = a[row % B];
  chosen[row] = k >= 0 && k < K ? q[row * K + k] : real(nan(""));
}

extern "C" __global__ void pick_backward(const index_t *a, const real *g, real *dq, int n, int B,
                                         int K) {
  const index_t i = THREAD;
  if (i >= n) return;
  const index_t row = i / K;
  dq[i] = i % K == a[row % B] ? g[row] : real(0);
}
