// Kernels of npr/kernels/squash.py: out, dout (B, 2 D), noise, a, da (B, D), logp, dlogp (B,).

#define HALF_LOG_2PI real(0.91893853320467274178)
#define LOG_2 real(0.69314718055994530942)

// NaN stays NaN.
__device__ inline real clipped(real x, real low, real high) {
  return x < low ? low : x > high ? high : x;
}

extern "C" __global__ void squash(const real *out, const real *noise, real *a, real *logp, int B,
                                  int D, real low, real high, int lanes) {
  const index_t row = row_of(lanes);
  if (row >= B) return;
  const real *mean = out + row * 2 * D, *log_stds = mean + D;
  real total = 0;
  for (int j = lane_of(lanes); j < D; j += lanes) {
    const index_t n = row * D + j;
    const real e = noise[n], log_std = clipped(log_stds[j], low, high);
    const real u = mean[j] + exp(log_std) * e, x = -2 * u;
    const real softplus = (x > 0 ? x : real(0)) + log1p(exp(-fabs(x)));
    a[n] = tanh(u);
    total += real(-0.5) * e * e - log_std - HALF_LOG_2PI - 2 * (LOG_2 - u - softplus);
  }
  total = row_sum(total, lanes);
  if (lane_of(lanes) == 0) logp[row] = total;
}

// One thread for each action component. Without da or dlogp, they are zeros.
extern "C" __global__ void squash_backward(const real *out, const real *noise, const real *a,
                                           const real *da, const real *dlogp, real *dout, int has_da,
                                           int has_dlogp, int n, int D, real low, real high) {
  const index_t i = THREAD;
  if (i >= n) return;
  const index_t row = i / D, mean = row * D + i, log_std = mean + D;  // in rows of 2 D
  const real g = has_da ? da[i] : real(0), h = has_dlogp ? dlogp[row] : real(0);
  const real du = g * (1 - a[i] * a[i]) + 2 * h * a[i];
  const bool used = g != 0 || h != 0, inside = low <= out[log_std] && out[log_std] <= high;
  dout[mean] = used ? du : real(0);
  dout[log_std] = used && inside ? du * exp(out[log_std]) * noise[i] - h : real(0);
}
